"""What a run on digits leaves, without the training."""

from pathlib import Path

import jax
import numpy as np

from experiments.digits import TrainingSetup
from lstm_jax.models import save_model


def save_random_networks(
    path: Path, application: str, isolated: TrainingSetup, joined: TrainingSetup
) -> None:
    """Save networks of both kinds, of random weights, as a run does in its folder."""
    for place, setup in ((path / "isolated", isolated), (path, joined)):
        rng = np.random.default_rng(0)
        shapes = jax.eval_shape(setup.spec.build, jax.random.key(0))
        model = jax.tree.map(
            lambda a, rng=rng: np.float32(rng.normal(size=a.shape)), shapes
        )
        save_model(place, application, setup.spec, model)
