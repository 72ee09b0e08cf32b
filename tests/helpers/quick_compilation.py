"""How XLA compiles for the tests: programs that run for an instant, and then no more.

Most of the tests' time would go into LLVM's optimizations, and into the newer of two
ways in which XLA writes down fused loops for LLVM. XLA's own optimizations are made.
Commands in processes of their own have all of it, and so have tests with XLA_FLAGS in
their environment, `XLA_FLAGS= python -m pytest` for one.
"""

import importlib.metadata

XLA_FLAGS = "--xla_backend_optimization_level=0"
# Later ones have the newer way alone, and end at a flag that they do not know.
if importlib.metadata.version("jaxlib").startswith("0.10."):
    XLA_FLAGS += " --xla_cpu_use_fusion_emitters=false"

# A GPU's own code is under test, as it is for users; which of several products is
# fastest, which XLA would find out at every compilation, is not.
ON_A_DEVICE = "--xla_gpu_autotune_level=0"
