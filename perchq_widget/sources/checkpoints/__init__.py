"""Checkpoints that are already quantized: several raw tensors of a file are the codes and parameters of one weight."""
