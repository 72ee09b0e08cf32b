"""Where arrays lie, and what processes agree on."""

from typing import TYPE_CHECKING

from lstm_jax._lazy import lazy

if TYPE_CHECKING:
    from lstm_jax.distributed.bounded import bounded_jit as bounded_jit
    from lstm_jax.distributed.bounded import take_turns as take_turns
    from lstm_jax.distributed.host import keep_programs as keep_programs
    from lstm_jax.distributed.host import show_cores as show_cores
    from lstm_jax.distributed.host import worth_spreading as worth_spreading
    from lstm_jax.distributed.launch import joined as joined
    from lstm_jax.distributed.mesh import replicate as replicate
    from lstm_jax.distributed.mesh import row_mesh as row_mesh
    from lstm_jax.distributed.mesh import spread as spread
    from lstm_jax.distributed.mesh import spread_batch as spread_batch
    from lstm_jax.distributed.multihost import any_says as any_says
    from lstm_jax.distributed.multihost import leads as leads
else:
    __getattr__, __dir__, __all__ = lazy(__name__)
