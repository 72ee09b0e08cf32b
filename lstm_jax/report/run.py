"""What a training run leaves to be looked at: `curves.png` and `summary.json`."""

from pathlib import Path

from lstm_jax.distributed.multihost import is_primary
from lstm_jax.report.curves import draw_curves
from lstm_jax.report.summary import summarize
from lstm_jax.storage.files import replace_json
from lstm_jax.training.loop import Task
from lstm_jax.training.trainer import Trained


def report_run(folder: Path, trained: Trained, task: Task) -> None:
    """Draw the curves of a run and write its summary into its folder.

    Of several processes the first one does.

    Args:
        folder: of the run.
        trained: what came of it.
        task: what was learned, for the unit of the loss.
    """
    if not is_primary():
        return
    draw_curves(trained.history, folder / "curves.png", task.unit)
    replace_json(folder / "summary.json", summarize(trained))
