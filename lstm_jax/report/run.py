"""What a training run leaves to be looked at: its curves, summary and report."""

from pathlib import Path

from lstm_jax.distributed.multihost import is_primary
from lstm_jax.report.curves import draw_curves
from lstm_jax.report.page.write import try_to_report
from lstm_jax.report.summary import summarize
from lstm_jax.storage.files import replace_json
from lstm_jax.training.loop import Task
from lstm_jax.training.trainer import Trained


def report_run(folder: Path, trained: Trained, task: Task) -> None:
    """Draw the curves of a run, write its summary and its page into its folder.

    They are `curves.png`, `summary.json` and `report.html`. Of several processes the
    first one does.

    Args:
        folder: of the run.
        trained: what came of it.
        task: what was learned, for the unit of the loss.
    """
    if not is_primary():
        return
    if trained.history:
        draw_curves(trained.history, folder / "curves.png", task.unit)
    summary = {**summarize(trained), "loss_unit": task.unit}
    replace_json(folder / "summary.json", summary)
    try_to_report(folder)
