"""Half an hour of training with evaluation and checkpoints: nothing grows.

`SOAK_SECONDS=600 python -m pytest -m slow -s tests/training/test_soak.py` takes ten
minutes.
"""

import dataclasses
import json
import os
import statistics
from pathlib import Path

import jax
import pytest

from lstm_jax.lm.task import set_up
from lstm_jax.lm.training import train_text
from lstm_jax.training.callbacks import Callback
from lstm_jax.training.history import HistoryRow
from tests.helpers.tiny_runs import CONFIG, CORPUS, VOCAB, new_run

SECONDS = float(os.environ.get("SOAK_SECONDS", "1800"))
COMPILED = "/jax/core/compile/backend_compile_duration"
WARM_UP = 0.2  # of the run; what is compiled and cached is there by then
GROWTH = 8.0  # MiB that the resident set may grow by from then to the end


@dataclasses.dataclass(frozen=True)
class Sample:
    """What a process holds at a line of history that was validated and saved."""

    seconds: float
    resident: float  # MiB
    files: int
    compiled: int


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no /proc here")
def test_nothing_grows(tmp_path: Path) -> None:
    compiled: list[str] = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, duration_secs, **_: compiled.append(event)
    )
    settings = dataclasses.replace(
        CONFIG.run,
        epochs=None,
        max_seconds=SECONDS,
        evaluations=200,
        patience=10**6,
        steps_per_call=100,
        checkpoint_seconds=1.0,
    )
    config = dataclasses.replace(CONFIG, run=settings)
    samples: list[Sample] = []

    class Sampler(Callback):
        def on_row(self, row: HistoryRow) -> None:
            if row.val_loss is not None:
                pages = int(Path("/proc/self/statm").read_text().split()[1])
                resident = pages * os.sysconf("SC_PAGE_SIZE") / 2**20
                files = len(os.listdir("/proc/self/fd"))
                count = compiled.count(COMPILED)
                samples.append(Sample(row.seconds, resident, files, count))

    run = new_run(tmp_path / "run", config)
    outcome = train_text(set_up(config, CORPUS, VOCAB), run, callbacks=[Sampler()])
    warm = [one for one in samples if one.seconds > WARM_UP * SECONDS]
    first, last = warm[: len(warm) // 4], warm[-len(warm) // 4 :]
    grown = statistics.median(s.resident for s in last) - statistics.median(
        s.resident for s in first
    )
    found = {
        "seconds": outcome.timer.seconds(),
        "steps": outcome.history[-1].step,
        "validations": len(samples),
        "resident_mib": [round(s.resident, 1) for s in (samples[0], warm[0], warm[-1])],
        "grown_mib": round(grown, 2),
        "history_lines": len(outcome.history),
        "files": sorted({s.files for s in warm}),
        "compiled_after_warm_up": warm[-1].compiled - warm[0].compiled,
        "saving_share": outcome.timer.saving / outcome.timer.seconds(),
    }
    print(json.dumps(found))
    assert found["compiled_after_warm_up"] == 0 and warm[0].compiled > 0
    assert max(found["files"]) - min(found["files"]) <= 3, "one save may be under way"
    # The history itself is kept in memory: about a kilobyte for each of its lines.
    assert grown < GROWTH + len(outcome.history) / 1024
    on_disk = {path.name for path in run.checkpoint_path.iterdir()}
    assert len(on_disk) <= 3
