"""What a failed step of a TURN check means, and the usual fix, in words a person can act on. No I/O, no clock."""

import enum
import re
from collections.abc import Iterable

import msgspec

from media.turn import address
from media.turn_check.uri import Way

_EXPIRY = re.compile(r"([0-9]{9,12})(:.*)?", re.ASCII | re.DOTALL)
OTHER_NAME = 62
_ADVERTISE = "set --turn-advertised-address (coturn: external-ip) to the address at which clients reach the server"


class Advice(msgspec.Struct, frozen=True):
    """The usual cause of a failure and its fix, one or two sentences each."""

    cause: str
    fix: str


class Trouble(enum.Enum):
    """How a connection fails before anything is said on it."""

    SILENT = "no answer"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    CLOSED = "closed by the server"
    NOT_STUN = "not STUN"
    TLS = "TLS failed"
    CERTIFICATE = "certificate refused"


class LinkError(Exception):
    """The connection does not come about or breaks. `detail` was seen, `verify_code` is OpenSSL's (X509_V_ERR_*)."""

    def __init__(self, trouble: Trouble, detail: str = "", verify_code: int = 0) -> None:
        super().__init__(detail or trouble.value)
        self.trouble = trouble
        self.verify_code = verify_code
        self.certificate = b""  # in DER form, where it is what is wrong


class Asked(msgspec.Struct, frozen=True):
    """Where a check goes: the host of the URI, the address that it resolved to, the port, the way."""

    host: str
    ip: str
    port: int
    way: Way

    @property
    def transport(self) -> str:
        """The protocol below, as firewalls and Docker call it."""
        return "tcp" if self.way.is_stream else "udp"


def unreached(error: LinkError, asked: Asked, step: str) -> Advice:
    """Return why nothing comes of a connection, or of the first words on it."""
    port, transport = asked.port, asked.transport
    if error.trouble is Trouble.CERTIFICATE:
        return _certificate(error.verify_code, asked.host)
    if error.trouble is Trouble.TLS:
        plain = f"turn:{asked.host}:{port}?transport={transport}"
        return Advice(f"The port does not speak {asked.way.value}.", f"Use {plain}, or give the server a certificate.")
    if error.trouble is Trouble.REFUSED:
        return Advice(
            f"Nothing listens on {transport.upper()} port {port} there.",
            f"Start the server, or check host and port. With Docker, publish the port: -p {port}:{port}/{transport}.",
        )
    if error.trouble is Trouble.UNREACHABLE:
        return Advice("There is no route to this address.", "Check the address and the network of this machine.")
    if error.trouble is Trouble.CLOSED and step == "tls":
        return Advice(
            f"The server ends the {asked.way.value} handshake: it has no certificate, or is another program.",
            f"Give the server a certificate, or use turn:{asked.host}:{port}?transport={transport}.",
        )
    if error.trouble in (Trouble.CLOSED, Trouble.NOT_STUN):
        other = "" if asked.way.is_secure else f" If it is a port for TLS, use turns:{asked.host}:{port}."
        return Advice("Something else than a STUN server answers on this port.", f"Check the port.{other}")
    return _silent(asked, step)


def _silent(asked: Asked, step: str) -> Advice:
    port, transport = asked.port, asked.transport
    if step == "tls" and asked.way.is_stream:
        return Advice(
            "The port accepts connections but does not answer the TLS handshake.",
            f"Check that TLS is served on it; without TLS use turn:{asked.host}:{port}?transport=tcp.",
        )
    if asked.way is Way.DTLS:
        return Advice(
            f"Nothing on UDP port {port} answers a DTLS handshake: the server speaks no DTLS, or a firewall drops UDP.",
            f"Check turn:{asked.host}:{port}?transport=udp: if it works, give the server a certificate for DTLS.",
        )
    if step == "stun" and asked.way.is_stream:
        return Advice(
            "The port accepts connections but no STUN server answers: a proxy without its server, or another program.",
            "Check that the server runs and that the proxy leads to it.",
        )
    if step == "challenge":
        return Advice("The server answers STUN but not TURN.", "Switch TURN on there, or take a TURN server.")
    return Advice(
        f"A firewall drops {transport.upper()} port {port}, here or in front of the server, or nothing is there.",
        f"Let {transport.upper()} port {port} in (firewall, security group). With Docker, publish it: "
        f"-p {port}:{port}/{transport}" + (", since without /udp only TCP is." if transport == "udp" else "."),
    )


def _certificate(code: int, host: str) -> Advice:
    # OpenSSL: X509_V_ERR_CERT_NOT_YET_VALID 9, _HAS_EXPIRED 10, HOSTNAME_MISMATCH 62, IP_ADDRESS_MISMATCH 64
    if code == 10:
        return Advice(
            "The certificate has expired.", "Renew it. Heliograph takes new files up by itself, coturn at SIGUSR2."
        )
    if code == 9:
        return Advice("The certificate is not valid yet.", "Check the clocks of the server and of this machine.")
    if code in (OTHER_NAME, 64):
        return Advice(
            f"The certificate is not for {host}.", "Use a name that it has in the URI, or get one with this name in it."
        )
    return Advice(
        "The certificate is signed by nobody whom this machine trusts; browsers refuse it, too.",
        "Use one of a public CA with its intermediate certificates, or name your CA with --ca-file.",
    )


def is_named(names: Iterable[str], host: str) -> bool:
    """Tell whether a certificate with these names is one for the host (RFC 6125, 6.4)."""
    wanted, parent = host.lower(), host.lower().partition(".")[2]
    lowered = [name.lower() for name in names]
    return wanted in lowered or (bool(parent) and not _is_address(host) and f"*.{parent}" in lowered)


def _is_address(host: str) -> bool:
    try:
        address.pack(host)
    except ValueError:
        return False
    return True


def refused(code: int, username: str, now_wall: float, realm: str) -> Advice:
    """Return why a server refuses an allocation with this error code. `now_wall` is epoch seconds."""
    if code == 401:
        return _unauthorized(username, now_wall, realm)
    return _REFUSALS.get(code, Advice("The server refuses with an error of its own.", "Its log says more."))


def shown(socket_address: address.SocketAddress) -> str:
    """Return host and port for eyes."""
    host, port = socket_address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def expiry_of(username: str) -> int | None:
    """Return the end of a time-limited credential in epoch seconds, None for another username."""
    match = _EXPIRY.fullmatch(username)
    return int(match[1]) if match else None


def _unauthorized(username: str, now_wall: float, realm: str) -> Advice:
    expiry = expiry_of(username)
    if expiry is not None and expiry <= now_wall:
        return Advice(
            f"The credential expired {span(now_wall - expiry)} ago by the clock of this machine.",
            "Fetch a new one. If it is new, set the clock of the machine that made it.",
        )
    if expiry is not None:
        return Advice(
            "The password does not fit the username: the secret it was made with is not the server's, or the server's "
            f"clock is ahead (the credential lasts {span(expiry - now_wall)}).",
            "Give both sides the same secret and clock; heliograph keeps it in the data folder (turn.secret).",
        )
    return Advice(
        f"Username or password are wrong in the realm {realm}.",
        "Check both; servers with time-limited credentials want EXPIRY:NAME as username.",
    )


def span(seconds: float) -> str:
    """Return a duration for eyes."""
    return f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 60:.0f} min" if seconds < 7200 else _hours(seconds)


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.0f} h" if seconds < 2 * 86400 else f"{seconds / 86400:.0f} days"


_REFUSALS = {
    300: Advice("The server sends clients to another one: it drains, or balances load.", "Check that one instead."),
    400: Advice("The server does not understand the request.", "Check that it is a TURN server, and not an old one."),
    403: Advice("The server forbids relays to this client.", "Check its access rules, and its log."),
    437: Advice("The server still has an allocation of these addresses.", "Try again in a minute."),
    438: Advice(
        "The server calls each nonce stale: several servers behind one address do not share their state.",
        "Have the load balancer keep each client on one server.",
    ),
    440: Advice("The server has no relay address of this family.", "Give it one, or ask over the other family."),
    441: Advice("The server knows this client by another username.", "Try again in a minute."),
    442: Advice("The server relays no UDP.", "Switch UDP relays on (coturn: no-udp-relay)."),
    486: Advice(
        "The channel, user or address has as many allocations as it may.",
        "Wait until old ones end (10 minutes at most), or raise the quota (--turn-allocations-per-channel, "
        "--turn-allocations-per-source; coturn: user-quota).",
    ),
    500: Advice("The server failed.", "Its log says more."),
    508: Advice(
        "The server has no relay port left, or stops and takes no more.",
        "Widen the range --turn-min-port to --turn-max-port, or wait until it runs again.",
    ),
}


def peer_refused(ip: str) -> Advice:
    """Return why a permission for the relay's own address is refused."""
    return Advice(
        f"The server refuses {ip} as a peer, so relay to relay does not work: two clients that both need the relay "
        "never meet.",
        "Allow it: --allow-peer-cidrs (coturn: allowed-peer-ip), or advertise a public address.",
    )


def misplaced(relayed: bytes, asked: bytes) -> Advice | None:
    """Return what is wrong with a relayed address, seen from who came to `asked`; None for nothing."""
    text = address.host_text(relayed)
    if address.is_loopback(relayed) and not address.is_loopback(asked):
        return Advice(f"The server advertises {text}, which only programs on its own machine reach.", _sentence())
    special = address.special_range(relayed)
    if special is not None and not special.is_openable:
        return Advice(f"The server advertises {text} ({special.name}), which nobody reaches.", _sentence())
    if special is not None and address.special_range(asked) is None:
        return Advice(
            f"The server advertises {text} ({special.name}), though it is reached at a public address: it is behind "
            "NAT, or in a container, and does not know the address of its outside.",
            _sentence(),
        )
    return None


def other_address(relayed: bytes, asked: bytes) -> str:
    """Return a note when relays are at another address than the server; empty when it is the same."""
    if relayed == asked or address.family(relayed) != address.family(asked):
        return ""
    if is_from_inside(relayed, asked) or address.is_loopback(asked):
        return ""
    return f"not the address that we asked ({address.host_text(asked)}): clients must reach this one, too"


def is_from_inside(relayed: bytes, asked: bytes) -> bool:
    """Tell whether we ask a server behind NAT from behind that NAT: its relays are at its outside."""
    return address.special_range(relayed) is None and address.special_range(asked) is not None


def _sentence() -> str:
    return _ADVERTISE[0].upper() + _ADVERTISE[1:] + "."


def hidden_source(mapped: bytes, asked: bytes) -> str:
    """Return a note when the server does not see this client's own address; empty when it may."""
    special = address.special_range(mapped)
    if special is None or address.special_range(asked) is not None:
        return ""
    return (
        f"the server sees us as {address.host_text(mapped)} ({special.name}), though it has a public address: a proxy "
        "in front (Docker's, a load balancer) hides clients, and the addresses that STUN tells them are of no use"
    )


def closed_ports(relayed_port: int, *, is_from_inside: bool) -> Advice:
    """Return why nothing from this machine arrives at a relay port."""
    if is_from_inside:
        return Advice(
            "We are in the server's own network, and its NAT does not lead back what is sent to its outside.",
            "Run the check from another network to be sure.",
        )
    return Advice(
        f"The relay port (UDP {relayed_port}) is closed: the firewall lets in the server's port but not the range of "
        "relay ports, Docker does not publish it, or the advertised address leads elsewhere.",
        "Let in UDP on the whole range, --turn-min-port to --turn-max-port (49160-49559 by default), and publish it.",
    )


UNSIGNED = Advice(
    "The answers are not signed with this password: something between us and the server changes or makes them up.",
    "Try over TLS, or from another network.",
)
LOST_INSIDE = Advice(
    "What one relay sends to the other, on the same server, is lost.",
    "Look at the server's log; its bit rate limit (--turn-bitrate-bps; coturn: max-bps), or a firewall between its own "
    "addresses, may drop it.",
)
LOST_OUTWARD = Advice(
    "Data of peers arrives, but what we send through the relay does not leave it.",
    "Let the server send UDP from its relay ports.",
)
NO_CHALLENGE = Advice(
    "The server gives relays to anybody, without a password: it will be abused.",
    "Switch authentication on (coturn: use-auth-secret).",
)
