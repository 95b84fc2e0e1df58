"""`heliograph version`."""

import argparse
import json
from importlib import metadata

from app.exits import Exit
from app.settings import Loaded


def version() -> str:
    """Return the version of the installed distribution."""
    return metadata.version("heliograph")


def run(arguments: argparse.Namespace, _: Loaded) -> Exit:
    """Print the version."""
    print(json.dumps({"version": version()}) if arguments.json else f"heliograph {version()}")
    return Exit.OK
