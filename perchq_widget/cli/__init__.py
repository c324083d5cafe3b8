"""The ``perchq`` command. :func:`main` is its entry point."""

from perchq_widget.cli.run import main

__all__ = ["main"]
