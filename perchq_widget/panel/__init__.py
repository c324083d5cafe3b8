"""The live notebook panel: what you touch."""
