"""Sums that add up over batches and devices, divided once, at the end."""

from typing import TYPE_CHECKING

from lstm_jax._lazy import lazy

if TYPE_CHECKING:
    from lstm_jax.metrics.agreement import average_f_beta as average_f_beta
    from lstm_jax.metrics.agreement import cohen_kappa as cohen_kappa
    from lstm_jax.metrics.agreement import f_beta as f_beta
    from lstm_jax.metrics.agreement import matthews_correlation as matthews_correlation
    from lstm_jax.metrics.calibration import Reliability as Reliability
    from lstm_jax.metrics.calibration import brier_score as brier_score
    from lstm_jax.metrics.calibration import reliability as reliability
    from lstm_jax.metrics.classification import ClassCounts as ClassCounts
    from lstm_jax.metrics.classification import ClassReport as ClassReport
    from lstm_jax.metrics.classification import Confusion as Confusion
    from lstm_jax.metrics.classification import class_report as class_report
    from lstm_jax.metrics.classification import confusion as confusion
    from lstm_jax.metrics.classification import top_correct as top_correct
    from lstm_jax.metrics.edit_distance import Edits as Edits
    from lstm_jax.metrics.edit_distance import count_all_edits as count_all_edits
    from lstm_jax.metrics.edit_distance import count_edits as count_edits
    from lstm_jax.metrics.losses import LossSums as LossSums
    from lstm_jax.metrics.losses import Mean as Mean
    from lstm_jax.metrics.losses import binary_cross_entropy as binary_cross_entropy
    from lstm_jax.metrics.losses import cross_entropy as cross_entropy
    from lstm_jax.metrics.losses import loss_sums as loss_sums
    from lstm_jax.metrics.ranking import Interval as Interval
    from lstm_jax.metrics.ranking import Operation as Operation
    from lstm_jax.metrics.ranking import auroc as auroc
    from lstm_jax.metrics.ranking import auroc_interval as auroc_interval
    from lstm_jax.metrics.ranking import average_precision as average_precision
    from lstm_jax.metrics.ranking import bootstrap_interval as bootstrap_interval
    from lstm_jax.metrics.ranking import operation as operation
    from lstm_jax.metrics.ranking import sensitive_threshold as sensitive_threshold
else:
    __getattr__, __dir__, __all__ = lazy(__name__)
