"""Drain loops of the UDP sockets: what has a route goes straight on, all else to the rules. No rule of TURN in it."""

from collections.abc import Callable, Hashable

from media.relay.batch import Batch, best_batch
from media.relay.doors import FIRST_DOOR, Doors
from media.relay.udp import Outbox, UdpSocket, send_all
from media.turn import bindings, slots
from media.turn.address import SocketAddress
from media.turn.bindings import Bindings
from media.turn.effects import TurnStats
from media.turn.routes import DownRoute, UpRoute, Ups
from media.turn.server import Server
from media.turn.slots import CHANNEL_AT, CHANNEL_LENGTHS, HEADROOM, IN_MEMORY, LENGTH_AT, NUMBER_AT, SEND_HEAD_BYTES

BUDGET = 64
"""Datagrams per wake-up of one socket, so that timers and the other sockets live."""

MOST_REMEMBERED = 4096
"""Sources of a socket whose routes are remembered; one more, and remembering begins anew."""

Slow = Callable[[int, memoryview, SocketAddress, float], None]
"""Takes a datagram that has no route and sends what it leads to, or puts it into the outbox: number of the socket,
datagram, source, now."""

CHANNEL_HEAD_BYTES = 4
_NO_UPS: Ups = {}


class Source:
    """A UDP socket that is drained: its number, and the routes of those who sent to it by what the batch calls them.

    `busy` and `last_round` are those of `Rounds`.
    """

    __slots__ = ("addresses", "busy", "downs", "last_round", "number", "udp", "ups")

    def __init__(self, number: int, udp: UdpSocket) -> None:
        self.number = number
        self.udp = udp
        self.addresses: dict[Hashable, SocketAddress] = {}
        self.ups: dict[Hashable, Ups] = {}
        self.downs: dict[Hashable, DownRoute] = {}
        self.busy = 0
        self.last_round = -1


class Sockets:
    """Where packets leave: listeners and relay sockets by number, the doors, and the outbox of the slow way."""

    def __init__(self, doors: Doors, outbox: Outbox) -> None:
        self.listeners: list[UdpSocket] = []
        self.relays: dict[int, UdpSocket] = {}
        self.doors = doors
        self.outbox = outbox


class Drains:
    """Relays what waits at a socket in three steps: receive all, find the routes, send; `flush` sends the rest.

    What one client sends to one peer stays in order, and what one peer sends to one client.
    """

    def __init__(
        self,
        server: Server,
        sockets: Sockets,
        stats: TurnStats,
        flush: Callable[[], None],
        make_batch: Callable[[slots.Slots, int], Batch] = best_batch,
    ) -> None:
        self._routes = server.routes
        self._sockets = sockets
        self._stats = stats
        self._slots = slots.Slots(BUDGET)
        self.flush = flush
        self._bindings = Bindings(self._slots, server.may_answer_binding)
        self._of_clients = make_batch(self._slots, 0)
        self._of_peers = make_batch(self._slots, HEADROOM)
        self._ups: list[UpRoute] = []
        self._downs: list[DownRoute] = []
        self._answers: list[tuple[int, int]] = []

    def from_clients(self, source: Source, slow: Slow, now: float) -> None:
        """Relay what clients sent to a listener."""
        try:
            self._from_clients(source, slow, now)
        finally:
            self.flush()  # what is collected lies in the slots

    def from_peers(self, source: Source, slow: Slow, now: float) -> int:
        """Relay what peers sent to a relay socket, and return how much that was."""
        try:
            return self._from_peers(source, slow, now)
        finally:
            self.flush()  # likewise

    def from_door(self, number: int, message: memoryview, address: SocketAddress, now: float) -> bool:
        """Relay a ChannelData message that came through a door, if it has a route; `flush` must follow."""
        routes = self._routes
        if now >= routes.due_at:
            routes.expire(now)
        ups = routes.up.get(number)
        if ups is None or len(message) < CHANNEL_HEAD_BYTES:
            return False
        channel, size = message[0] << 8 | message[1], message[2] << 8 | message[3]
        route, data = ups.get(address, _NO_UPS).get(IN_MEMORY[channel]), message[4 : 4 + size]
        if route is None or len(data) != size or size > route.rate.left or size > routes.in_all.left:
            return False
        route.rate.left -= size
        route.rate.count(1, now)
        routes.in_all.left -= size
        self._stats.packets_to_peers += 1
        self._stats.bytes_to_peers += size
        self._sockets.outbox.send(self._sockets.relays[route.relay], route.peer_address, b"", data)
        return True

    def _from_clients(self, source: Source, slow: Slow, now: float) -> None:
        batch, views, known = self._of_clients, self._slots.views, source.ups
        count = self._receive(batch, source, now)
        numbers, declared = self._slots.halves(0, count), self._slots.halves(1, count)
        room, last, route, number, start, end = self._routes.in_all.left, None, None, 0, 0, 0
        for index, packet in enumerate(zip(batch.sources, batch.lengths, numbers, declared, strict=True)):
            if packet != last:
                # most often a client sends some packets of one size to one peer: they are looked up once
                last, (client, end, number, declared_length) = packet, packet
                ups = known.get(client, _NO_UPS)
                route, start = ups.get(number), 4
                if ups and (route is None or declared_length != CHANNEL_LENGTHS[end]):
                    route, start, end, last = *self._find_send(ups, index, end), None
            size = end - start
            if route is not None and size <= route.rate.left and size <= room:
                route.rate.left -= size
                room -= size
                if not route.packets:
                    self._ups.append(route)
                route.packets.append(views[index][start:end])
                continue
            if number == bindings.REQUEST and self._answer(index, packet[1], packet[0], now):
                continue
            if self._ups:
                self._send_up(room, now)
            if self._answers:
                self._send_back(source)
            client, last = packet[0], None
            address = source.addresses.get(client) or self._learn(source, client, batch.address(index))
            slow(source.number, views[index][: packet[1]], address, now)
            self._remember_client(source, client, address)
            room = self._routes.in_all.left
        self._send_up(room, now)
        self._send_back(source)

    def _from_peers(self, source: Source, slow: Slow, now: float) -> int:
        batch, views, known = self._of_peers, self._slots.views, source.downs
        count = self._receive(batch, source, now)
        room = self._routes.in_all.left
        for index, peer, size in zip(range(count), batch.sources, batch.lengths, strict=True):
            route = known.get(peer)
            if route is not None and size <= route.rate.left and size <= room:
                route.rate.left -= size
                room -= size
                if not route.packets:
                    self._downs.append(route)
                route.packets.append(self.wrap(self._slots, route, index, size))
                continue
            self._send_down(room, now)
            address = batch.address(index)
            slow(source.number, views[index][HEADROOM : HEADROOM + size], address, now)
            self._remember_peer(source, peer, address)
            room = self._routes.in_all.left
        self._send_down(room, now)
        return count

    def _answer(self, index: int, length: int, client: Hashable, now: float) -> bool:
        """Answer a Binding request at the end of the drain; False when it is left to the server."""
        size = self._bindings.answer(index, length, client, self._of_clients.address, now)
        if size > 0:
            self._answers.append((index, size))
        return size != bindings.NOT_COMMON

    def wrap(self, where: slots.Slots, route: DownRoute, index: int, size: int) -> memoryview:
        """Write in front of what a peer sent what the client wants to see there."""
        if route.number:
            half, at = where.half, index * slots.HALVES
            half[at + NUMBER_AT], half[at + LENGTH_AT] = route.number, IN_MEMORY[size]
            return where.views[index][CHANNEL_AT : HEADROOM + size]
        if route.head_size != size:
            route.head, route.head_size = slots.data_head(size, route.indication, self._routes.seed), size
        return slots.write_data(where, index, route.head, size, self._routes.next_serial())

    def _receive(self, batch: Batch, source: Source, now: float) -> int:
        if now >= self._routes.due_at:
            self._routes.expire(now)
        count = batch.receive(source.udp.handle)
        if batch.errors:
            # ICMP towards one peer or client: a lost packet, never the end of the socket
            self._stats.receive_errors += batch.errors
            batch.errors = 0
        return count

    def _find_send(self, ups: Ups, index: int, length: int) -> tuple[UpRoute | None, int, int]:
        """Find the route of a Send indication, and where its data begins and ends."""
        route = ups.get(self._slots.quad[index * slots.QUADS + 3]) if ups else None
        if route is not None:
            size = slots.send_size(self._slots, index, length)
            if size >= 0:
                return route, SEND_HEAD_BYTES, SEND_HEAD_BYTES + size
        return None, 0, length

    def _learn(self, source: Source, client: Hashable, address: SocketAddress) -> SocketAddress:
        """Remember the address of a client without routes: that of a DTLS client is asked for with each packet."""
        if len(source.addresses) >= MOST_REMEMBERED:
            source.addresses.clear()
        source.addresses[client] = address
        return address

    def _remember_client(self, source: Source, client: Hashable, address: SocketAddress) -> None:
        clients = self._routes.up.get(source.number)
        ups = None if clients is None else clients.get(address)
        if ups is not None:
            if len(source.ups) >= MOST_REMEMBERED:
                source.ups.clear()
            source.ups[client] = ups

    def _remember_peer(self, source: Source, peer: Hashable, address: SocketAddress) -> None:
        route = self._routes.down.get(source.number, {}).get(address)
        if route is not None:
            if len(source.downs) >= MOST_REMEMBERED:
                source.downs.clear()
            source.downs[peer] = route

    def _send_up(self, room: int, now: float) -> None:
        stats, relays = self._stats, self._sockets.relays
        stats.bytes_to_peers += self._routes.in_all.left - room
        self._routes.in_all.left = room
        if self._ups:
            self._sockets.outbox.flush()  # what came before took the slow way
        count = lost = 0
        for route in self._ups:
            packets = route.packets.copy()
            route.packets.clear()  # it may be that of another route as well
            count += len(packets)
            route.rate.count(len(packets), now)
            if len(packets) == 1:
                try:
                    relays[route.relay].sendto(packets[0], route.peer_address)
                except OSError:
                    lost += 1
            else:
                lost += send_all(relays[route.relay], route.peer_address, packets)
        self._ups.clear()
        stats.packets_to_peers += count
        stats.send_errors += lost

    def _send_back(self, source: Source) -> None:
        if self._answers:
            self._sockets.outbox.flush()  # answers leave in the order of their requests
            self._stats.send_errors += self._of_clients.send_back(source.udp.handle, self._answers)
            self._answers.clear()

    def _send_down(self, room: int, now: float) -> None:
        stats, listeners = self._stats, self._sockets.listeners
        stats.bytes_to_clients += self._routes.in_all.left - room
        self._routes.in_all.left = room
        if self._downs:
            self._sockets.outbox.flush()  # likewise
        for route in self._downs:
            packets, route.packets = route.packets, []
            stats.packets_to_clients += len(packets)
            route.rate.count(len(packets), now)
            if route.listener < FIRST_DOOR:
                stats.send_errors += send_all(listeners[route.listener], route.client_address, packets)
            else:
                for packet in packets:
                    self._sockets.doors.send(route.listener, b"", packet)
        self._downs.clear()
