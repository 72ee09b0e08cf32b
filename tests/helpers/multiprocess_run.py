"""A short run on many devices, as a process of its own: what `test_launch` starts.

Arguments: a JSON object with `devices`, `shard_model`, `calls`, `run_dir`, `resume`,
`out` and, for several processes, `coordinator`, `processes` and `process`. Process 0
writes what came of it.
"""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np

from lstm_jax.config import ClusterConfig, RunConfig
from lstm_jax.data.text import encode_text
from lstm_jax.distributed.host import set_cpu_device_count
from lstm_jax.distributed.launch import joined
from lstm_jax.distributed.multihost import (
    any_process,
    broadcast,
    broadcast_number,
    gather_replicated,
    is_primary,
    settle,
)
from lstm_jax.lm.config import ModelConfig, OptimizerConfig, TrainConfig
from lstm_jax.lm.evaluation import all_scores, measure_ids
from lstm_jax.lm.run_directory import RunDirectory
from tests.helpers.tiny_models import create_run
from tests.helpers.tiny_runs import run_once

WORDS = "the cat sat on a mat and ate ham rice or jam with pie at noon by two".split()
TEXT = " ".join(np.random.default_rng(3).choice(WORDS, 900))
ROWS = 16
# Small steps: Adam divides by the size of a gradient, so where that is itself a matter
# of rounding, as it is for a weight here and there, so is the whole step.
CONFIG = TrainConfig(
    model=ModelConfig(layers=1, hidden=16, dropout=0.1),
    optimizer=OptimizerConfig(batch=ROWS, length=16, learning_rate=1e-3),
    run=RunConfig(epochs=1, evaluations=2, steps_per_call=4),
)
CORPUS, VOCAB = encode_text(TEXT, "char", 0.2)
NUMBERS = ("train_loss", "train_accuracy", "train_eval_loss", "val_loss")


def outcome(
    devices: int,
    shard_model: bool = False,
    calls: int | None = None,
    run_dir: str | None = None,
    resume: bool = False,
) -> dict[str, Any]:
    """Train, or a part of it; history, parameters and scores of the best model."""
    settings = dataclasses.replace(CONFIG.run, devices=devices, shard_model=shard_model)
    config = dataclasses.replace(CONFIG, run=settings)
    run = None
    if run_dir and is_primary():
        run = RunDirectory(Path(run_dir)) if resume else create_run(Path(run_dir))
        if not resume:
            run.start(config, VOCAB)
    done = run_once(run, config, calls=calls, resume=resume, corpus=CORPUS, vocab=VOCAB)
    found = measure_ids(done.model, CORPUS.validation)
    records = [line.record() for line in done.history]
    return {
        "lines": [[record[name] for name in NUMBERS] for record in records],
        "scores": {name: all_scores(each) for name, each in found.items()},
        "model": [leaf.tolist() for leaf in jax.tree.leaves(done.model)],
    }


def check_agreement() -> None:
    """Every process hears the same, and what process 0 has comes bit for bit."""
    index, last = jax.process_index(), jax.process_count() - 1
    assert any_process(index == last) and not any_process(False)
    assert broadcast_number(index + 1 / 3) == 1 / 3
    answers = settle((index == last, False), (index == 0, index == last))
    assert answers == [True, False, True, last == 0]
    mine = {
        "key": jax.random.key(index),
        "odd": np.array([-0.0, np.nan, index], np.float16),
        "flag": np.bool_(index == 0),
    }
    told = broadcast(mine)
    assert jax.random.key_data(told["key"])[1] == 0 and told["flag"]
    assert told["odd"].tobytes() == np.array([-0.0, np.nan, 0], np.float16).tobytes()
    assert gather_replicated(mine) is not None


def main() -> None:
    """Meet, run, write."""
    given = json.loads(sys.argv[1])
    out = Path(given.pop("out"))
    names = [field.name for field in dataclasses.fields(ClusterConfig)]
    cluster = ClusterConfig(**{n: given.pop(n) for n in names if n in given})
    set_cpu_device_count(given["devices"], cluster)
    with joined(cluster):
        check_agreement()
        found = outcome(**given)
        if is_primary():
            out.write_text(json.dumps(found))


if __name__ == "__main__":
    main()
