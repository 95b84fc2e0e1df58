"""Certificates for tests: a pair of the development CA in a folder, and contexts of clients that trust it."""

import datetime
import ssl
from pathlib import Path

from app.certificates import DevelopmentFiles, make_development_files

NAMES = ("localhost", "127.0.0.1", "kvs.test")


def made(folder: Path, names: tuple[str, ...] = NAMES) -> DevelopmentFiles:
    """Return certificates that are good now."""
    return make_development_files(folder, names, datetime.datetime.now(datetime.UTC))


def trusting(ca: Path) -> ssl.SSLContext:
    """Return the context of a client that trusts `ca` alone."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(ca)
    return context
