"""What a training run came to, for `summary.json`."""

import importlib.metadata
import platform

import jax

import lstm_jax
from lstm_jax.storage.files import Fields
from lstm_jax.training.trainer import Trained

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")


def summarize(trained: Trained) -> Fields:
    """Say how a run ended, how far it came, where its seconds went, with what software.

    Seconds are those of all attempts, resumed ones included; `items_per_second` is
    that of the optimizer steps, without compilation, validation and saving. Of a run
    whose history is lost, how far it came is not known.
    """
    timer, last = trained.timer, trained.history[-1] if trained.history else None
    besides = timer.compiling + timer.evaluating + timer.saving
    training = timer.seconds() - besides
    return {
        "ended": trained.ended,
        "best_step": trained.step,
        "steps": last and last.step,
        "epochs": last and last.epoch,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(trained.model)),
        "seconds": {
            "loop": timer.seconds(),
            "compile": timer.compiling,
            "train": training,
            "evaluate": timer.evaluating,
            "save": timer.saving,
            "final_evaluation": timer.final,
        },
        "items_per_second": last and last.items / training,
        "device": f"{jax.devices()[0].device_kind}",
        "versions": {
            "python": platform.python_version(),
            "lstm_jax": lstm_jax.__version__,
            **{name: importlib.metadata.version(name) for name in _PACKAGES},
        },
    }
