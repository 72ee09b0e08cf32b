"""Models trained as one program are those that were trained one by one."""

import dataclasses

import jax
import numpy as np
import pytest

from lstm_jax.config import RegularizerConfig, RunConfig
from lstm_jax.data.text import encode_text
from lstm_jax.errors import InputError
from lstm_jax.lm.config import ModelConfig, OptimizerConfig, TrainConfig
from lstm_jax.lm.joint_training import Job, train_jointly
from lstm_jax.lm.task import build_optimizer, set_up
from lstm_jax.lm.training import train_text
from lstm_jax.models.language import language_loss
from lstm_jax.training.compiled import CompiledSteps

TEXT = "the cat sat on the mat. a dog ran to the tree; "
CONFIG = TrainConfig(
    model=ModelConfig(layers=1, hidden=6, dropout=0.2),
    optimizer=OptimizerConfig(batch=2, length=5, learning_rate=0.02),
    run=RunConfig(epochs=2, evaluations=0, steps_per_call=4),
)


def job(text: str, config: TrainConfig = CONFIG, seed: int = 0) -> Job:
    config = dataclasses.replace(config, run=dataclasses.replace(config.run, seed=seed))
    return Job(config, *encode_text(text, "char", 0.0))


MASKED = dataclasses.replace(
    CONFIG, regularizer=RegularizerConfig(recurrent_dropout=0.2, weight_drop=0.2)
)


@pytest.mark.slow  # tests/lm/test_cross_validation.py has the same in small
@pytest.mark.parametrize("config", [CONFIG, MASKED], ids=["fused", "scan"])
def test_together_is_one_by_one(config: TrainConfig) -> None:
    """Another seed, and a text with fewer symbols, hence of another shape."""
    jobs = [
        job(TEXT, config),
        job("a b a b c " * 4, config),
        job(TEXT, config, seed=4),
    ]
    found = [jax.tree.leaves(model) for model in train_jointly(jobs)]
    compiled = CompiledSteps(language_loss, build_optimizer(config))
    for one, leaves in zip(jobs, found, strict=True):
        setup = set_up(one.config, one.corpus, one.vocab)
        alone = jax.tree.leaves(train_text(setup, compiled=compiled).model)
        for a, b in zip(leaves, alone, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-6)
    sizes = [len(leaves[0]) for leaves in found]
    assert sizes[0] != sizes[1], "two shapes, hence two programs"
    assert np.abs(found[0][0] - found[2][0]).max() > 0.01, "seeds do differ"


def test_a_budget_in_seconds_is_refused() -> None:
    timed = dataclasses.replace(CONFIG, run=RunConfig(max_seconds=1.0))
    with pytest.raises(InputError, match="expected --epochs, found --max-seconds"):
        train_jointly([job(TEXT, timed)])
