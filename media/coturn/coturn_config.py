"""The configuration of a coturn that stands in for our own relay, and which versions of it may. No I/O.

The names are those of turnserver.conf. Versions that do not know one say so in their log and go on.
"""

import ipaddress
import re
from collections.abc import Iterator

import msgspec

from media.coturn.peer_ranges import PeerRange, peer_lists
from media.turn import address
from media.turn.policy import PeerRules

Version = tuple[int, int, int]

OLDEST: Version = (4, 10, 0)
_DTLS_OPTION: Version = (4, 17, 0)
_VERSION = re.compile(r"\b([0-9]{1,3})\.([0-9]{1,3})(?:\.([0-9]{1,3}))?")
_UNSAFE = re.compile(r"[\s#\x00-\x1f\x7f]")


class CoturnRedisPlace(msgspec.Struct, frozen=True):
    """The Redis in which coturn finds more secrets and more denied peers, and tells its statistics."""

    ip: str
    port: int
    db: int = 0
    password: str = ""

    def __repr__(self) -> str:
        return f"CoturnRedisPlace({self.ip}:{self.port})"


class CoturnRules(msgspec.Struct, frozen=True):
    """What coturn must know.

    `listener_hosts` are addresses, no wildcards. Per family `relay_hosts` are where relays are bound, `advertised` what
    clients are told, packed. 0 is no limit. `folder` is where it may write.
    """

    listener_hosts: tuple[str, ...]
    port: int
    relay_hosts: dict[int, str]
    advertised: dict[int, bytes]
    min_port: int
    max_port: int
    realm: str
    secrets: tuple[str, ...]
    peers: PeerRules
    folder: str
    more_ports: tuple[int, ...] = ()
    has_tcp: bool = True
    certificate: tuple[str, str] | None = None
    allocations_per_user: int = 0
    bitrate_bps: int = 0
    total_bitrate_bps: int = 0
    threads: int = 0
    redis: "CoturnRedisPlace | None" = None

    def __repr__(self) -> str:
        return f"CoturnRules({self.listener_hosts!r}, {self.port}, {len(self.secrets)} secrets)"


def parse_version(text: str) -> Version | None:
    """Read what `turnserver --version` prints; None when there is no version in it."""
    match = _VERSION.search(text)
    return None if match is None else (int(match[1]), int(match[2]), int(match[3] or 0))


def refusal(version: Version) -> str | None:
    """Return why a version is not used, None when it may be."""
    if version >= OLDEST:
        return None
    return (
        f"coturn {shown(version)} is older than {shown(OLDEST)}: it does not apply its list of denied peers to IPv4 "
        "addresses in disguise as IPv6 (CVE-2026-27624), so that clients reach addresses that are closed to them"
    )


def shown(version: Version) -> str:
    """Return a version for eyes."""
    return ".".join(map(str, version))


def render(rules: CoturnRules, version: Version | None = None) -> str:
    """Return turnserver.conf. Raises: ValueError for a text that would end its line."""
    lines = [
        *_places(rules),
        *_credentials(rules),
        *_behaviour(rules),
        *_certificate(rules, version),
        *_peers(rules),
    ]
    for line in lines:
        if _UNSAFE.search(line):
            raise ValueError(f"{line.partition('=')[0]}: no blanks, # or control characters can stand in its value")
    return "\n".join((*lines, *_redis(rules))) + "\n"


def _places(rules: CoturnRules) -> Iterator[str]:
    for host in rules.listener_hosts:
        yield f"listening-ip={host}"
    yield f"listening-port={rules.port}"
    # every port of coturn takes plain and secure clients alike
    yield f"tls-listening-port={rules.port}"
    for port in rules.more_ports:
        for host in rules.listener_hosts:
            yield f"aux-server=[{host}]:{port}" if ":" in host else f"aux-server={host}:{port}"
    for family, host in rules.relay_hosts.items():
        yield f"relay-ip={host}"
        told = address.host_text(rules.advertised[family])
        if told != host:
            yield f"external-ip={told}/{host}"
    yield f"min-port={rules.min_port}"
    yield f"max-port={rules.max_port}"
    if not rules.has_tcp:
        yield "no-tcp"


def _credentials(rules: CoturnRules) -> Iterator[str]:
    yield f"realm={rules.realm}"
    yield "use-auth-secret"
    for secret in rules.secrets:
        yield f"static-auth-secret={secret}"
    yield "stale-nonce=3600"
    if rules.allocations_per_user:
        yield f"user-quota={rules.allocations_per_user}"
    # bytes per second there, each direction by itself
    if rules.bitrate_bps:
        yield f"max-bps={rules.bitrate_bps // 8}"
    if rules.total_bitrate_bps:
        yield f"bps-capacity={rules.total_bitrate_bps // 8}"


def _behaviour(rules: CoturnRules) -> Iterator[str]:
    yield from (
        "fingerprint",
        "no-cli",
        "no-multicast-peers",
        "no-tcp-relay",
        "no-software-attribute",
        # answers to anybody stay small: nothing to reflect with
        "no-rfc5780",
        "no-stun-backward-compatibility",
        "response-origin-only-with-rfc5780",
        "log-file=stdout",
        "simple-log",
        f"pidfile={rules.folder}/turnserver.pid",
        *(() if rules.redis else (f"userdb={rules.folder}/turndb",)),
    )
    if rules.threads:
        yield f"relay-threads={rules.threads}"


def _redis(rules: CoturnRules) -> Iterator[str]:
    """The only lines whose value holds blanks. Raises: ValueError."""
    place = rules.redis
    if place is None:
        return
    words = [f"ip={place.ip}", f"port={place.port}", f"dbname={place.db}", "connect_timeout=5"]
    if place.password:
        words.append(f"password={place.password}")
    if any(_UNSAFE.search(word) or '"' in word for word in words):
        raise ValueError('redis-userdb: no blanks, # or " can stand in the password of a Redis of coturn')
    for name in ("redis-userdb", "redis-statsdb"):
        yield f'{name}="{" ".join(words)}"'


def _certificate(rules: CoturnRules, version: Version | None) -> Iterator[str]:
    if rules.certificate is None:
        yield "no-tls"
        yield "no-dtls"
        return
    yield f"cert={rules.certificate[0]}"
    yield f"pkey={rules.certificate[1]}"
    yield "no-tlsv1"
    yield "no-tlsv1_1"
    if version is not None and version >= _DTLS_OPTION:
        yield "dtls"


def _peers(rules: CoturnRules) -> Iterator[str]:
    # coturn takes a peer at its external address for one at the relay's own, and judges that
    lists = peer_lists(rules.peers, frozenset(map(address.pack, rules.relay_hosts.values())))
    for kind, found in (("denied", lists.denied), ("allowed", lists.allowed)):
        for each in found:
            for written in _written(each):
                yield f"{kind}-peer-ip={written}"


def _written(found: PeerRange) -> Iterator[str]:
    """Write a range so that coturn understands it, whichever way its version compares addresses.

    Old ones compare IPv6 addresses byte by byte, each by itself, so a range must be one of a prefix. And they take a
    range that begins with the unspecified address for one of all addresses; that address itself passes nowhere.
    """
    if found.width == 32:
        yield str(msgspec.structs.replace(found, first=max(found.first, 1)))
        return
    first, last = ipaddress.IPv6Address(found.first), ipaddress.IPv6Address(found.last)
    for network in ipaddress.summarize_address_range(first, last):
        span = PeerRange(int(network[0]), int(network[-1]), found.width)
        if span.first:
            yield str(span)
        else:
            yield from _beside_the_unspecified(span)


def _beside_the_unspecified(span: PeerRange) -> Iterator[str]:
    """Write all addresses from `::` on but itself: those whose n-th byte is not 0, for each byte."""
    for place in range(0, span.width, 8):
        first = 1 << place
        if first <= span.last:
            yield str(msgspec.structs.replace(span, first=first))
