"""The certificate that TLS and DTLS clients see. Files are read here, never watched."""

from pathlib import Path

import msgspec

ALPN = ("stun.turn", "stun.nat-discovery")
"""Application protocols of RFC 7443."""


class CertificatePair(msgspec.Struct, frozen=True):
    """Paths of a certificate chain and its private key, PEM."""

    certificate: Path
    key: Path
