"""The type in which a loss is computed; parameters are always kept in float32."""

import jax
import jax.numpy as jnp

from lstm_jax.config import Precision
from lstm_jax.distributed.host import multiplies_bfloat16
from lstm_jax.metrics.losses import LossSums
from lstm_jax.ops.matmul import rounded_products
from lstm_jax.training.step import Loss
from lstm_jax.typing import Batch, Carry, Model, PRNGKey


def with_precision(loss: Loss, precision: Precision | None) -> Loss:
    """Compute a loss and its gradient in a type.

    Args:
        loss: of a model in float32.
        precision: "float32", or None; "bfloat16" for all of the arithmetic; or "mixed"
            for the factors of matrix products alone, where this machine multiplies
            bfloat16 faster.
    """
    if precision == "mixed" and multiplies_bfloat16():
        return rounded_products(loss)
    return _in_bfloat16(loss) if precision == "bfloat16" else loss


def _in_bfloat16(loss: Loss) -> Loss:
    def rounded(
        model: Model, carry: Carry, batch: Batch, key: PRNGKey | None
    ) -> tuple[LossSums, Carry]:
        model, carry, batch = jax.tree.map(_round, (model, carry, batch))
        return loss(model, carry, batch, key)

    return rounded


def _round(array: jax.Array) -> jax.Array:
    return array.astype(jnp.bfloat16) if array.dtype == jnp.float32 else array
