"""Looks at runs and networks: numbers, advice, pictures.

The only importer of matplotlib.
"""

from typing import TYPE_CHECKING

from lstm_jax._lazy import lazy

if TYPE_CHECKING:
    from lstm_jax.report.activities import Activity as Activity
    from lstm_jax.report.activities import activity as activity
    from lstm_jax.report.confusion import draw_confusion as draw_confusion
    from lstm_jax.report.curves import draw_curves as draw_curves
    from lstm_jax.report.inspection import Layer as Layer
    from lstm_jax.report.inspection import gradient_by_lag as gradient_by_lag
    from lstm_jax.report.inspection import layers_of as layers_of
    from lstm_jax.report.page.write import try_to_report as try_to_report
    from lstm_jax.report.page.write import write_report as write_report
    from lstm_jax.report.parameters import parameter_table as parameter_table
    from lstm_jax.report.progress import Progress as Progress
    from lstm_jax.report.run import report_run as report_run
    from lstm_jax.report.style import TRAINING as TRAINING
    from lstm_jax.report.style import VALIDATION as VALIDATION
    from lstm_jax.report.style import add_fallback_fonts as add_fallback_fonts
    from lstm_jax.report.style import check_picture as check_picture
    from lstm_jax.report.style import drawable as drawable
    from lstm_jax.report.style import new_figure as new_figure
    from lstm_jax.report.style import save_figure as save_figure
    from lstm_jax.report.summary import summarize as summarize
else:
    __getattr__, __dir__, __all__ = lazy(__name__)
