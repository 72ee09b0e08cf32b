"""An engine for TPUs, written in Pallas: weights and state stay in VMEM."""
