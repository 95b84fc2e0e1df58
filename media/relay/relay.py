"""The TURN relay of one process: opens sockets, feeds the core, performs its effects, keeps its timer."""

import asyncio
import contextlib
import functools
import logging
import secrets
import typing
from collections.abc import Callable, Sequence

import msgspec

from media.relay.acceptor import Acceptor
from media.relay.board import Board
from media.relay.doors import DOOR_TRANSPORTS, FIRST_DOOR, Doors
from media.relay.drains import Drains, Sockets, Source
from media.relay.hall import Hall
from media.relay.interfaces import Interfaces, read_interfaces
from media.relay.listeners import Listeners, Ports, open_listeners
from media.relay.placement import WILDCARDS, PlacementError
from media.relay.readiness import Readiness
from media.relay.relay_settings import (
    RelaySettings,
    choose_places,
    every_port,
    last_channel_number,
    server_rules,
    siblings,
    stranger_bounds,
)
from media.relay.rounds import Rounds
from media.relay.tcp_relay import TcpRelays
from media.relay.udp import Outbox, UdpSocket, family_of, open_socket
from media.turn import address
from media.turn.address import IPV4, SocketAddress, parse_range
from media.turn.admission import Admission
from media.turn.credential import KeyFor, UsernameFor
from media.turn.dtls_records import FIRST_BYTE, LAST_BYTE
from media.turn.effects import (
    ClosePeer,
    CloseRelay,
    ConnectPeer,
    Effect,
    JoinPeer,
    OpenRelay,
    PeerRefused,
    ToClient,
    ToPeer,
    TurnStats,
)
from media.turn.policy import PeerRules
from media.turn.server import Server
from media.turn.usage import Usage

if typing.TYPE_CHECKING:
    from media.relay.dtls import Sessions

log = logging.getLogger(__name__)

TICK_S = 1.0
INTERFACES_S = 30.0
MOST_LINES = 20
"""Lines of log for refused peers in a tick: whoever allocates again and again would else fill the disk."""


class RelayAddress(msgspec.Struct, frozen=True):
    """Where clients reach the relay: for a wildcard host the advertised address.

    `served` is every port with its transport, "udp" or "tcp".
    """

    host: str
    port: int
    served: tuple[tuple[int, str], ...] = ()


class Relay:
    """STUN and TURN over UDP, DTLS, TCP and TLS, until `stopping` is set. One `run` per object.

    With `username_for` clients are told that they may send a USERHASH for their name.
    """

    def __init__(self, settings: RelaySettings, key_for: KeyFor, username_for: UsernameFor | None = None) -> None:
        self.stats = TurnStats()
        self._settings = settings
        self._key_for = key_for
        self._username_for = username_for
        self._outbox = Outbox(self.stats)
        self._doors = Doors(self.stats)
        self._sockets = Sockets(self._doors, self._outbox)
        self._listeners = Listeners()
        self._dtls: Sessions | None = None
        self._relays = self._sockets.relays
        self._is_idle = asyncio.Event()
        self._lines_left = MOST_LINES
        self._board = settings.board or Board()

    async def run(self, ready: Callable[[RelayAddress], None], stopping: asyncio.Event) -> None:
        """Serve: call `ready` once all listeners are bound, return when drained after `stopping`.

        Raises: OSError when a listener cannot be bound; ssl.SSLError for a certificate that cannot be used;
        PlacementError or ValueError for settings that do not fit.
        """
        interfaces = read_interfaces()
        self._loop = asyncio.get_running_loop()
        self._readiness = Readiness(self._loop)
        self._placement = choose_places(self._settings, interfaces)
        self._tcp_relays = TcpRelays(self, self._loop)
        try:
            self._listeners = open_listeners(self._ports(), interfaces)
            self._server = Server(
                server_rules(self._settings, self._placement),
                self._peer_rules(interfaces),
                self._key_for,
                secrets.token_bytes(32),
                self.stats,
                self._username_for,
            )
            self._sockets.listeners = self._listeners.udp
            self._drains = Drains(self._server, self._sockets, self.stats, self.flush)
            rounds = Rounds(self._server, self._sockets, self.stats, self._drains)
            self._read_relays = functools.partial(rounds.from_peers, self._from_peer)
            self._dtls = self._sessions()
            self._hall = self._make_hall()
            self._server.connections.streams = self._hall.connections
            self._acceptor = Acceptor(self._hall, self._listeners.tcp)
            self._watch_listeners()
            ready(self._address())
            await self._serve(stopping)
        finally:
            self._close_all()

    def transports(self) -> dict[str, int]:
        """Return how many allocations there are now of clients that came by each transport."""
        counts = dict.fromkeys(("udp", *DOOR_TRANSPORTS), 0)
        for number, _ in self._server.clients():
            transport = "udp" if number < FIRST_DOOR else self._doors.transport(number)
            if transport in counts:
                counts[transport] += 1
        return counts

    def usage(self) -> dict[bytes, Usage]:
        """Return what each quota key used."""
        return self._server.usage()

    def revoke(self, quota_key: bytes) -> None:
        """End all allocations of a quota key now and accept none of its credentials any more."""
        self._perform(self._server.revoke(quota_key))
        self.flush()

    def revoke_holder(self, holder: bytes) -> None:
        """End all allocations by credentials of a holder now and accept none of them any more."""
        self._perform(self._server.revoke_holder(holder))
        self.flush()

    def reload_certificate(self) -> None:
        """Read the certificate for DTLS again: handshakes to come use it, sessions that there are go on.

        Raises: ssl.SSLError when it cannot be used; the one of before stays then.
        """
        if self._dtls is not None and self._settings.certificate is not None:
            self._dtls.load(self._settings.certificate)

    async def _serve(self, stopping: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as group:
            ticker = group.create_task(self._tick())
            await stopping.wait()
            self._server.drain(self._alternate())
            await self._drained()
            ticker.cancel()

    def _alternate(self) -> tuple[bytes, int] | None:
        alternate = self._settings.alternate_server
        return None if alternate is None else (address.pack(alternate[0]), alternate[1])

    async def _drained(self) -> None:
        if not self._relays and not self._tcp_relays:
            return
        allocations = sum(self.transports().values())
        log.info("draining", extra={"allocations": allocations, "limit_s": self._settings.drain_s})
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.drain_s):
                await self._is_idle.wait()

    async def _tick(self) -> None:
        interfaces_at = self._loop.time() + INTERFACES_S
        while True:
            await asyncio.sleep(TICK_S)
            now = self._loop.time()
            self._lines_left = MOST_LINES
            self._perform(self._server.expire(now))
            if self._dtls is not None:
                self._dtls.expire(now)
            self._acceptor.tick(now)
            self.flush()
            if now >= interfaces_at:
                interfaces_at = now + INTERFACES_S
                await self._look_around()

    async def _look_around(self) -> None:
        try:
            self._settle(await asyncio.to_thread(read_interfaces))
        except (OSError, RuntimeError) as error:
            # no descriptor or no thread is left, maybe by somebody's will: what was known of this machine goes on
            log.warning("the addresses of this machine cannot be read", extra={"reason": str(error)})

    def _settle(self, interfaces: Interfaces) -> None:
        # A laptop changes networks: relay sockets to come sit on the address that there is now.
        with contextlib.suppress(PlacementError):
            placement = choose_places(self._settings, interfaces)
            if placement.relay_hosts.keys() == self._placement.relay_hosts.keys():
                self._placement = placement
        self._server.replace_addresses(self._peer_rules(interfaces), self._placement.advertised)

    def _ports(self) -> Ports:
        settings = self._settings
        return Ports(
            hosts=self._placement.listener_hosts,
            port=settings.port,
            more=settings.more_ports,
            has_tcp=settings.has_tcp,
            is_shared=settings.workers > 1,
            kept_free=every_port(settings),
        )

    def _sessions(self) -> "Sessions | None":
        pair = self._settings.certificate
        if pair is None:
            return None
        from media.relay.dtls import Parts, Sessions  # OpenSSL doubles what a start takes, and only DTLS needs it

        admission = Admission(stranger_bounds(self._settings, self._placement))
        return Sessions(pair, Parts(self, self._doors, self._listeners.udp, self._outbox, self.stats, admission))

    def _make_hall(self) -> Hall:
        bounds = stranger_bounds(self._settings, self._placement)
        return Hall(
            relay=self,
            doors=self._doors,
            stats=self.stats,
            admission=Admission(bounds),
            bounds=bounds,
            loop=self._loop,
            readiness=self._readiness,
            tls=self._settings.tls,
            last_of_channels=last_channel_number(self._settings) >> 8,
        )

    def _watch_listeners(self) -> None:
        self._acceptor.start()
        for number, listener in enumerate(self._listeners.udp):
            drain = functools.partial(self._drains.from_clients, Source(number, listener), self._from_client)
            self._readiness.add(listener.handle, drain)

    def _from_client(self, number: int, datagram: memoryview, source: SocketAddress, now: float) -> None:
        if self._dtls is None or not datagram or not FIRST_BYTE <= datagram[0] <= LAST_BYTE:
            self._perform(self._server.receive(number, datagram, source, now))
        else:
            self._dtls.receive(number, datagram, source, now)

    def _from_peer(self, relay: int, data: memoryview, source: SocketAddress, now: float) -> None:
        self._perform(self._server.relayed(relay, data, source, now))

    def receive(self, number: int, message: memoryview, source: SocketAddress, now: float) -> None:
        """Take one whole message that came through a door; `flush` must follow the last one."""
        if not self._drains.from_door(number, message, source, now):
            self._perform(self._server.receive(number, message, source, now))

    def flush(self) -> None:
        """Send all that is collected for peers and clients."""
        self._outbox.flush()
        self._doors.flush()

    def gone(self, number: int, source: SocketAddress, now: float) -> None:
        """Take note that the client behind a door went away: its allocation ends."""
        self._perform(self._server.client_gone((number, source), now))

    def has_allocation(self, number: int, source: SocketAddress) -> bool:
        """Tell whether the client behind a door has an allocation."""
        return self._server.has_allocation((number, source))

    def peer_connected(self, connection: int, is_open: bool) -> None:
        """Take the result of connecting to a peer by TCP."""
        self._perform(self._server.connections.connected(connection, is_open, self._loop.time()))

    def peer_attempted(self, relay: int, source: SocketAddress) -> int:
        """Return the number of a connection that a peer opened, 0 to refuse it."""
        number, effects = self._server.connections.attempted(relay, source, self._loop.time())
        self._perform(effects)
        return number

    def peer_closed(self, connection: int) -> None:
        """Take note that a peer's TCP connection is closed."""
        self._server.connections.closed(connection)

    def stream_passes(self, connection: int, size: int, *, is_upward: bool) -> bool:
        """Count bytes of a peer's TCP connection; False when they must wait."""
        return self._server.stream_passes(connection, size, self._loop.time(), is_upward=is_upward)

    def _perform(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            if type(effect) is ToPeer:
                self._outbox.send(self._relays[effect.relay], effect.peer_address, b"", effect.data)
            elif type(effect) is ToClient:
                if effect.listener < FIRST_DOOR:
                    listener = self._listeners.udp[effect.listener]
                    self._outbox.send(listener, effect.client_address, effect.head, effect.data)
                else:
                    self._doors.send(effect.listener, effect.head, effect.data)
            elif type(effect) is OpenRelay:
                self._open(effect)
            elif type(effect) is CloseRelay:
                self._close(effect.relay)
            elif type(effect) is PeerRefused:
                if self._lines_left > 0:
                    self._lines_left -= 1
                    log.info("peer refused", extra={"relay": effect.relay, "reason": effect.reason})
            else:
                self._perform_on_peers(effect)

    def _perform_on_peers(self, effect: Effect) -> None:
        if type(effect) is ConnectPeer:
            self._tcp_relays.connect(effect.relay, effect.connection, effect.peer_address)
        elif type(effect) is JoinPeer:
            stream = self._hall.connections[effect.listener]
            peer = self._tcp_relays.join(effect.connection, stream)
            if peer is None:
                stream.end()
            else:
                stream.join(peer)
        elif type(effect) is ClosePeer:
            self._tcp_relays.close_peer(effect.connection)

    def _open(self, effect: OpenRelay) -> None:
        host = self._placement.relay_hosts[effect.family]
        try:
            if effect.is_tcp:
                self._tcp_relays.open(effect.relay, host, effect.port)
            else:
                self._open_udp(effect, host)
            is_open = True
            self._is_idle.clear()
        except OSError:
            is_open = False
        self._perform(self._server.relay_opened(effect.relay, is_open, self._loop.time()))

    def _open_udp(self, effect: OpenRelay, host: str) -> None:
        handle = open_socket(host, effect.port, is_unfragmented=effect.is_unfragmented)
        udp = self._relays[effect.relay] = UdpSocket(handle, family_of(host))
        self._board.opened(effect.port)
        self._readiness.add_together(Source(effect.relay, udp), self._read_relays)

    def _close(self, relay: int) -> None:
        if relay in self._tcp_relays:
            self._tcp_relays.close(relay)
        else:
            udp = self._relays.pop(relay)
            self._outbox.flush_from(udp)
            self._board.closed(udp.handle.getsockname()[1])
            self._readiness.remove(udp.handle)
            udp.handle.close()
        if not self._relays and not self._tcp_relays:
            self._is_idle.set()

    def _close_all(self) -> None:
        if self._dtls is not None:
            self._dtls.close_all()
            self._outbox.flush()
        for handle in self._listeners.tcp:
            self._loop.remove_reader(handle)
        self._doors.close_all()
        self._tcp_relays.close_all()
        self._readiness.close()
        for udp in self._relays.values():
            udp.handle.close()
        self._listeners.close()
        self._relays.clear()

    def _address(self) -> RelayAddress:
        host = self._placement.listener_hosts[0]
        if host in WILDCARDS:
            advertised = self._placement.advertised
            host = address.host_text(advertised.get(IPV4) or next(iter(advertised.values())))
        return RelayAddress(host, self._listeners.port, self._listeners.served)

    def _listener_ips(self) -> frozenset[bytes]:
        hosts = (host for host in self._placement.listener_hosts if host not in WILDCARDS)
        return frozenset(map(address.pack, hosts))

    def _peer_rules(self, interfaces: Interfaces) -> PeerRules:
        return PeerRules(
            own=interfaces.own | self._listener_ips(),
            own_ranges=interfaces.ranges,
            broadcasts=interfaces.broadcasts,
            advertised=frozenset(self._placement.advertised.values()),
            allowed=tuple(parse_range(text, is_openable=True) for text in self._settings.allow_peer_cidrs),
            is_loopback_only=self._placement.is_loopback_only,
            listener_ports=self._listeners.ports,
            sibling_ports=siblings(self._settings, self._board),
        )
