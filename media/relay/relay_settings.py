"""Settings of the relay, and what each part of it is told by them."""

import socket
import ssl

import msgspec

from media.relay.board import Board, Siblings
from media.relay.certificate import CertificatePair
from media.relay.interfaces import Interfaces, detect
from media.relay.placement import Placement, place
from media.turn.address import IPV4
from media.turn.admission import StreamBounds
from media.turn.channel_data import LAST_LEGACY_NUMBER, LAST_NUMBER
from media.turn.rules import ServerRules


class RelaySettings(msgspec.Struct, frozen=True):
    """Settings of the relay. Hosts are IP addresses; port 0 is any free one; `bitrate_bps` 0 is no limit.

    `advertised_address` is what clients are told; without it the address of the listener is told, or the one from
    which this machine talks to the world. `drain_s` is how long allocations may go on after the stop.
    `more_ports` are pairs of a port and "udp", "tcp" or "both". `tls` and `certificate` serve TLS and DTLS on every
    port. `worker` of `workers` processes shares the ports with the others. 0 allocations in all is no bound.
    `has_tcp_relays` lets relays connect to peers by TCP (RFC 6062), with one worker alone: the second connection of a
    client may come to another.
    """

    host: str = "127.0.0.1"
    port: int = 3478
    realm: str = "heliograph"
    min_port: int = 49160
    max_port: int = 49559
    advertised_address: str | None = None
    allow_peer_cidrs: tuple[str, ...] = ()
    advertised_address_v6: str | None = None
    more_hosts: tuple[str, ...] = ()
    allocations_per_channel: int = 50
    bitrate_bps: int = 5_000_000
    max_lifetime_s: int = 3600
    replies_per_s: float = 10.0
    replies_burst: float = 100.0
    has_legacy_channel_numbers: bool = False
    drain_s: float = 0.0
    more_ports: tuple[tuple[int, str], ...] = ()
    has_tcp: bool = True
    tls: ssl.SSLContext | None = None
    certificate: CertificatePair | None = None
    worker: int = 0
    workers: int = 1
    alternate_server: tuple[str, int] | None = None
    allocations_per_source: int = 100
    allocations_in_all: int = 0
    total_bitrate_bps: int = 0
    has_mobility: bool = False
    stream_bounds: StreamBounds = StreamBounds()
    has_tcp_relays: bool = False
    board: Board | None = None


def choose_places(settings: RelaySettings, interfaces: Interfaces) -> Placement:
    """Choose the addresses of listeners and relay sockets. Raises: PlacementError."""
    families = {IPV4: socket.AF_INET}
    advertised = (settings.advertised_address, settings.advertised_address_v6)
    return place(
        (settings.host, *settings.more_hosts),
        tuple(text for text in advertised if text is not None),
        interfaces,
        lambda family: detect(families.get(family, socket.AF_INET6)),
    )


def server_rules(settings: RelaySettings, placement: Placement) -> ServerRules:
    """Return what the core is told."""
    # Nobody outside can send to loopback: without spoofed sources there is nothing to reflect, and one source is all.
    is_limited = not placement.is_loopback_only
    ports = ports_of_worker(settings)
    return ServerRules(
        realm=settings.realm,
        relay_ips=placement.advertised,
        first_port=ports[0],
        last_port=ports[-1],
        allocations_per_key=settings.allocations_per_channel,
        allocations_per_source=settings.allocations_per_source if is_limited else 0,
        allocations_in_all=settings.allocations_in_all,
        max_lifetime_s=settings.max_lifetime_s,
        bitrate_bps=settings.bitrate_bps,
        total_bitrate_bps=settings.total_bitrate_bps,
        worker=settings.worker,
        has_mobility=settings.has_mobility,
        replies_per_s=settings.replies_per_s if is_limited else 1e9,
        replies_burst=settings.replies_burst if is_limited else 1e9,
        last_channel_number=last_channel_number(settings),
        has_tcp_relays=settings.has_tcp_relays and settings.workers == 1,
    )


def every_port(settings: RelaySettings) -> range:
    """Return the relay ports of all workers."""
    return range(settings.min_port, settings.max_port + 1)


def ports_of_worker(settings: RelaySettings) -> range:
    """Return the relay ports of this worker: an even share, so that none opens the port of another."""
    every, worker, workers = every_port(settings), settings.worker, settings.workers
    return every[len(every) * worker // workers : len(every) * (worker + 1) // workers]


def siblings(settings: RelaySettings, board: Board) -> Siblings:
    """Return the ports of live relays of other workers."""
    return Siblings(frozenset(every_port(settings)) - frozenset(ports_of_worker(settings)), board)


def last_channel_number(settings: RelaySettings) -> int:
    """Return the last channel number that a client may bind."""
    return LAST_LEGACY_NUMBER if settings.has_legacy_channel_numbers else LAST_NUMBER


def stranger_bounds(settings: RelaySettings, placement: Placement) -> StreamBounds:
    """Return the bounds for clients on streams and DTLS."""
    if not placement.is_loopback_only:
        return settings.stream_bounds
    # every client is this machine: only the bound in all counts
    unbounded = {"unauthenticated_per_source": 1 << 30, "arrivals_per_s": 1e9, "arrivals_burst": 1e9}
    return msgspec.structs.replace(settings.stream_bounds, **unbounded)
