"""`python -m app`: the command line, also how a parent starts its children."""

import importlib
import sys


def main() -> int:
    """Run the command line; a Ctrl-C while its code is still loading ends it without a traceback, too."""
    try:
        run = importlib.import_module("app.cli").main
    except KeyboardInterrupt:
        return 0
    return int(run())


if __name__ == "__main__":
    sys.exit(main())
