"""An engine for NVIDIA's Hopper GPUs, written in Pallas: w_h stays in shared memory."""
