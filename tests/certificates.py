"""Certificates for tests: a pair of the development CA in a folder, contexts of its clients and of TURN servers."""

import datetime
import ssl
from pathlib import Path

from app.certificates import DevelopmentFiles, make_development_files
from media.relay.certificate import ALPN, CertificatePair

NAMES = ("localhost", "127.0.0.1", "kvs.test")


def made(folder: Path, names: tuple[str, ...] = NAMES) -> DevelopmentFiles:
    """Return certificates that are good now."""
    return make_development_files(folder, names, datetime.datetime.now(datetime.UTC))


def trusting(ca: Path) -> ssl.SSLContext:
    """Return the context of a client that trusts `ca` alone."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(ca)
    return context


def tls_context(pair: CertificatePair) -> ssl.SSLContext:
    """Return the context of a TURN server, as the service makes it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(list(ALPN))
    context.load_cert_chain(pair.certificate, pair.key)
    return context
