"""`python -m app`: the command line, also how a parent starts its children."""

import sys

from app.cli import main

if __name__ == "__main__":
    sys.exit(main())
