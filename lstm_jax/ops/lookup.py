"""Rows of a table by their ids, with a gradient that is one matrix product.

JAX's own gradient adds up row by row, which is slow for a small table and many ids.
"""

import functools

import jax
from jax import Array
from jax.sharding import NamedSharding, PartitionSpec
from jax.typing import DTypeLike

from lstm_jax.ops.matmul import factor_dtype, psum_over_replicas, summed_product
from lstm_jax.typing import Ids

# Up to this many symbols the table's gradient is a product with one-hot rows; beyond
# it, adding up row by row is the lesser work.
_ONE_HOT_LIMIT = 1024
_VECTOR = 8  # symbols, on a GPU


def embedding_lookup(table: Array, ids: Ids) -> Array:
    """table[ids], with a gradient that is one matrix product."""
    return _embedding_lookup(factor_dtype(table.dtype), table, ids)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _embedding_lookup(factors: DTypeLike, table: Array, ids: Ids) -> Array:
    return _gather_rows(table, ids)


def _gather_rows(table: Array, ids: Ids) -> Array:
    places = jax.typeof(ids).sharding
    if not any(places.spec):
        return table[ids]
    # Under explicit sharding the result has to be told to lie where the ids do.
    places = NamedSharding(places.mesh, PartitionSpec(*places.spec, None))
    return table.at[ids].get(out_sharding=places)


def _take_forward(
    factors: DTypeLike, table: Array, ids: Ids
) -> tuple[Array, tuple[Array, Array]]:
    return _gather_rows(table, ids), (table, ids)


def _take_backward(
    factors: DTypeLike, residuals: tuple[Array, Array], dz: Array
) -> tuple[Array, None]:
    table, ids = residuals
    if len(table) > _ONE_HOT_LIMIT:
        _, transposed = jax.vjp(lambda table: _gather_rows(table, ids), table)
        return *transposed(dz), None

    def product(dz: Array, multiple: int) -> Array:
        symbols = -(-len(table) // multiple) * multiple
        rows = jax.nn.one_hot(ids, symbols, dtype=factors)
        return summed_product(rows, dz, table, factors)[: len(table)]

    # Tensor cores take whole vectors of units, and XLA joins this to other products.
    padded = functools.partial(product, multiple=_VECTOR)
    total = jax.lax.platform_dependent(
        dz, cuda=padded, rocm=padded, default=functools.partial(product, multiple=1)
    )
    return psum_over_replicas(total, table), None


_embedding_lookup.defvjp(_take_forward, _take_backward)
