"""Operations that XLA does badly if left to itself: products, look-up, argmax."""

from typing import TYPE_CHECKING

from lstm_jax._lazy import lazy

if TYPE_CHECKING:
    from lstm_jax.ops.lookup import embedding_lookup as embedding_lookup
    from lstm_jax.ops.matmul import rounded_products as rounded_products
else:
    __getattr__, __dir__, __all__ = lazy(__name__)
