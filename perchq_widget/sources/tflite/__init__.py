"""TFLite models, read in place with every offset checked."""
