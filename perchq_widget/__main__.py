"""``python -m perchq_widget`` is the ``perchq`` command."""

import sys

from perchq_widget.cli import main

if __name__ == "__main__":
    sys.exit(main())
