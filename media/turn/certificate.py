"""The certificate that TLS and DTLS clients see. Files are read here, never watched."""

import ssl
from pathlib import Path

import msgspec

ALPN = ("stun.turn", "stun.nat-discovery")
"""Application protocols of RFC 7443."""


class CertificatePair(msgspec.Struct, frozen=True):
    """Paths of a certificate chain and its private key, PEM."""

    certificate: Path
    key: Path


def tls_context(pair: CertificatePair) -> ssl.SSLContext:
    """Return a server's context: TLS 1.2 and later, the application protocols of STUN.

    Raises: OSError or ssl.SSLError when the files cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION  # a client could have us work without end
    context.set_alpn_protocols(list(ALPN))
    context.load_cert_chain(pair.certificate, pair.key, password="")  # never ask at a terminal
    return context
