"""GGUF files: header, names, split files, and every block type with its own codes and scales."""
