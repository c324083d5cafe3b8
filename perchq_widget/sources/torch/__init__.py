"""torch: checkpoints with weights only, modules, tensors, and what torch quantized. Only recognised, not imported."""
