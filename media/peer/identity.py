"""Who we are to other peers: one DTLS certificate for all of a process, and connections that are made with it.

aiortc makes a key, a certificate, its digests and a TLS context for each connection. A device has one identity, and
what can be made before a viewer's offer comes does not hold its answer back. Touches private names of aiortc.
"""

import contextlib
from collections.abc import Iterator
from types import ModuleType
from typing import Any, Self

from aiortc import RTCCertificate, RTCConfiguration, RTCDtlsFingerprint, RTCPeerConnection, rtcpeerconnection
from aiortc.rtcdtlstransport import SRTPProtectionProfile, certificate_digest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

RENEW_S = 86_400.0
"""A certificate of aiortc's is good for thirty days."""
_SESS_CACHE_OFF = 0
"""SSL_SESS_CACHE_OFF of OpenSSL."""
_CIPHERS = b":".join(
    (
        b"ECDHE-ECDSA-AES128-GCM-SHA256",
        b"ECDHE-ECDSA-CHACHA20-POLY1305",
        b"ECDHE-RSA-AES128-GCM-SHA256",
        b"ECDHE-RSA-CHACHA20-POLY1305",
        b"ECDHE-ECDSA-AES128-SHA",
        b"ECDHE-ECDSA-AES256-SHA",
        b"ECDHE-RSA-AES128-SHA",
        b"ECDHE-RSA-AES256-SHA",
    )
)


class Identity(RTCCertificate):
    """A certificate with its sha-256 fingerprint and its TLS context; peers with an RSA certificate are let in too."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, cert: x509.Certificate) -> None:
        super().__init__(key, cert)
        self._fingerprint = RTCDtlsFingerprint("sha-256", certificate_digest(cert, "sha-256"))
        self._context: Any = None

    @classmethod
    def new(cls) -> Self:
        """Make a key and a certificate for it."""
        return cls.generateCertificate()

    def getFingerprints(self) -> list[RTCDtlsFingerprint]:  # noqa: N802 - the name is of W3C WebRTC
        """The one of sha-256: the KVS C SDK keeps the last one it reads and knows no other."""
        return [self._fingerprint]

    def _create_ssl_context(self, srtp_profiles: list[SRTPProtectionProfile]) -> Any:  # pyOpenSSL's, at home elsewhere
        if self._context is None:
            # All transports have the same profiles: those that the library was built with.
            context = super()._create_ssl_context(srtp_profiles)
            context.set_cipher_list(_CIPHERS)
            context.set_session_cache_mode(_SESS_CACHE_OFF)  # no peer may go on where another one stopped
            self._context = context
        return self._context


class Identities:
    """The identity of this moment; `now` is monotonic seconds."""

    def __init__(self) -> None:
        self._identity: Identity | None = None
        self._until = 0.0

    def current(self, now: float) -> Identity:
        """The same for a day, then a new one; peers that are connected keep theirs."""
        if self._identity is None or now >= self._until:
            self._identity, self._until = Identity.new(), now + RENEW_S
        return self._identity


class _Given:
    """In the place of aiortc's certificate class while a connection is made."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity

    def generateCertificate(self) -> Identity:  # noqa: N802 - the name is of W3C WebRTC
        return self._identity


def open_connection(configuration: RTCConfiguration, identity: Identity) -> RTCPeerConnection:
    """A connection of this identity; aiortc has no parameter for one."""
    with in_place_of(rtcpeerconnection, "RTCCertificate", _Given(identity)):
        return RTCPeerConnection(configuration)


@contextlib.contextmanager
def in_place_of(module: ModuleType, name: str, value: object) -> Iterator[None]:
    """Let `module` find `value` under `name`; nothing may be awaited meanwhile."""
    kept = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, kept)
