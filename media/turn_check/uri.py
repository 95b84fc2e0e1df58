"""URIs of STUN and TURN servers: text to value and back, and the ways to reach them (RFC 7064, RFC 7065). No I/O."""

import enum
import ipaddress
import re

import msgspec

PORT, TLS_PORT = 3478, 5349

_URI = re.compile(
    r"(?P<scheme>stuns?|turns?):(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:(?P<port>[0-9]{1,5}))?"
    r"(\?transport=(?P<transport>udp|tcp))?",
    re.ASCII | re.IGNORECASE,
)


class UriError(ValueError):
    """The text is no URI of a STUN or TURN server; the sentence says what one looks like."""


class Way(enum.Enum):
    """How a client speaks to a server."""

    UDP = "UDP"
    TCP = "TCP"
    TLS = "TLS"
    DTLS = "DTLS"

    @property
    def is_stream(self) -> bool:
        """Whether messages follow each other in a stream of bytes."""
        return self in (Way.TCP, Way.TLS)

    @property
    def is_secure(self) -> bool:
        """Whether the server shows a certificate."""
        return self in (Way.TLS, Way.DTLS)


class TurnUri(msgspec.Struct, frozen=True):
    """One URI; `host` is a name or an address without brackets, `transport` "udp", "tcp" or empty."""

    scheme: str
    host: str
    port: int
    transport: str = ""

    @classmethod
    def parse(cls, text: str) -> "TurnUri":
        """Read a URI. Raises: UriError."""
        match = _URI.fullmatch(text)
        if match is None:
            raise UriError(f"{text} is no URI of a TURN server{_hint(text)}")
        scheme, host = match["scheme"].lower(), match["host"].strip("[]")
        port = int(match["port"]) if match["port"] else TLS_PORT if scheme.endswith("s") else PORT
        if not 0 < port < 65536:
            raise UriError(f"{text}: a port is a number from 1 to 65535")
        if match["host"].startswith("[") and not _is_ipv6(host):
            raise UriError(f"{text}: {host} is no IPv6 address")
        return cls(scheme, host, port, (match["transport"] or "").lower())

    @property
    def is_relay(self) -> bool:
        """Whether it is a TURN server; a STUN server only tells addresses."""
        return self.scheme.startswith("turn")

    @property
    def ways(self) -> tuple[Way, ...]:
        """The ways that the URI means; without a transport all that a server may offer under it.

        STUN without TLS is tried over UDP alone: clients use no other, and public servers offer no other.
        """
        secure = self.scheme.endswith("s")
        datagrams, stream = (Way.DTLS, Way.TLS) if secure else (Way.UDP, Way.TCP)
        if self.transport:
            return (datagrams,) if self.transport == "udp" else (stream,)
        if secure:
            return (stream, datagrams)
        return (datagrams, stream) if self.is_relay else (datagrams,)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}:{host}:{self.port}" + (f"?transport={self.transport}" if self.transport else "")


def _hint(text: str) -> str:
    scheme, _, rest = text.partition(":")
    if rest.startswith("//") and scheme.lower() in ("turn", "turns", "stun", "stuns"):
        return f": leave out the slashes, {scheme}:{rest.lstrip('/')}"
    if rest.count(":") > 1 and "[" not in rest:
        return ": an IPv6 address stands in brackets, turn:[2001:db8::7]:3478"
    return ": one looks like turn:relay.example.org:3478 or turns:relay.example.org:5349?transport=tcp"


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True
