"""Where arrays lie, and what processes agree on."""

from typing import TYPE_CHECKING

from lstm_jax._lazy import lazy

if TYPE_CHECKING:
    from lstm_jax.distributed.bounded import bounded_jit as bounded_jit
    from lstm_jax.distributed.bounded import take_turns as take_turns
    from lstm_jax.distributed.host import (
        enable_compilation_cache as enable_compilation_cache,
    )
    from lstm_jax.distributed.host import keep_freed_memory as keep_freed_memory
    from lstm_jax.distributed.host import set_cpu_device_count as set_cpu_device_count
    from lstm_jax.distributed.launch import joined as joined
    from lstm_jax.distributed.mesh import replicate as replicate
    from lstm_jax.distributed.mesh import row_mesh as row_mesh
    from lstm_jax.distributed.mesh import shard_batch as shard_batch
    from lstm_jax.distributed.mesh import shard_rows as shard_rows
    from lstm_jax.distributed.multihost import any_process as any_process
    from lstm_jax.distributed.multihost import is_primary as is_primary
else:
    __getattr__, __dir__, __all__ = lazy(__name__)
