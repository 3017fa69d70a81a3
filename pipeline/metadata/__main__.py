"""python -m pipeline.metadata."""

import sys

from pipeline.metadata.cli import main

if __name__ == "__main__":
    sys.exit(main())
