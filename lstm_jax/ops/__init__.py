"""What JAX and XLA do badly if left to themselves: products, look-up, argmax, seeds."""

from typing import TYPE_CHECKING

from lstm_jax._lazy import lazy

if TYPE_CHECKING:
    from lstm_jax.ops.lookup import embedding_lookup as embedding_lookup
    from lstm_jax.ops.matmul import rounded_products as rounded_products
    from lstm_jax.ops.seeds import seed_key as seed_key
else:
    __getattr__, __dir__, __all__ = lazy(__name__)
