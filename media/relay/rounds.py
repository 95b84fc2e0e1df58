"""One datagram of each relay socket that can be read, to the clients at once: no drain of its own for each."""

from collections.abc import Sequence

from media.relay.batch import Posts, best_posts
from media.relay.doors import FIRST_DOOR
from media.relay.drains import BUDGET, CHANNEL_HEAD_BYTES, Drains, Slow, Sockets, Source
from media.turn import slots
from media.turn.effects import TurnStats
from media.turn.routes import DownRoute, Downs
from media.turn.server import Server
from media.turn.slots import CHANNEL_AT, DATA_AT, HALVES, HEADROOM, IN_MEMORY, LENGTH_AT, NUMBER_AT

STAYS_BUSY = 8
"""So many drains of a relay socket may find a single datagram before it is read in rounds again."""

_NO_DOWNS: Downs = {}


class Rounds:
    """Reads relay sockets: those with single datagrams in a round, those with many waiting in drains.

    A socket that is ready in two rounds that follow one another has many waiting, until drains do not find them. One
    round takes one datagram of a socket, so what one peer sends to one client stays in order.
    """

    def __init__(
        self, server: Server, sockets: Sockets, stats: TurnStats, drains: Drains, posts: type[Posts] | None = None
    ) -> None:
        self._routes = server.routes
        self._sockets = sockets
        self._stats = stats
        self._drains = drains
        self._slots = slots.Slots(BUDGET)
        self._buffers = [view[HEADROOM:] for view in self._slots.views]
        self._posts = best_posts(self._slots) if posts is None else posts(self._slots)
        self._number = 0
        self._listener = 0
        self._half = self._slots.half

    def from_peers(self, slow: Slow, sources: Sequence[Source], now: float) -> None:
        """Relay what peers sent to relay sockets that can be read, at most BUDGET of them."""
        self._number += 1
        if now >= self._routes.due_at:
            self._routes.expire(now)
        busy: list[Source] = []
        try:
            self._round(sources, busy, slow, now)
        finally:
            if len(busy) < len(sources):
                self._drains.flush()  # what is collected lies in the slots
        for source in busy:
            if self._sockets.relays.get(source.number) is source.udp:
                count = self._drains.from_peers(source, slow, now)
                source.busy = STAYS_BUSY if count > 1 else max(0, source.busy - 1)

    def _round(self, sources: Sequence[Source], busy: list[Source], slow: Slow, now: float) -> None:
        buffers, downs_of, in_all, number = self._buffers, self._routes.down, self._routes.in_all, self._number
        room = in_all.left
        for index, source in enumerate(sources):
            if source.busy or source.last_round == number - 1:
                busy.append(source)
                continue
            source.last_round = number
            try:
                size, peer = source.udp.handle.recvfrom_into(buffers[index])
            except OSError as error:
                self._failed(source, error)
                continue
            route = downs_of.get(source.number, _NO_DOWNS).get(peer)
            if route is not None and size <= route.rate.left and size <= room:
                route.rate.left -= size
                room -= size
                route.rate.count(1, now)
                self._post(route, index, size)
                continue
            self._send(room)
            slow(source.number, buffers[index][:size], peer, now)
            room = in_all.left
        self._send(room)

    def _post(self, route: DownRoute, index: int, size: int) -> None:
        if route.listener != self._listener or route.listener >= FIRST_DOOR:
            self._post_elsewhere(route, index, size)
            return
        if route.number:
            at, half = index * HALVES, self._half
            half[at + NUMBER_AT], half[at + LENGTH_AT] = route.number, IN_MEMORY[size]
            self._posts.add(index, CHANNEL_AT, size + CHANNEL_HEAD_BYTES, route)
        else:
            self._posts.add(index, DATA_AT, len(self._drains.wrap(self._slots, route, index, size)), route)

    def _post_elsewhere(self, route: DownRoute, index: int, size: int) -> None:
        """Post to a client of another listener than the last one's, or of a door."""
        self._send_posts()
        self._listener = route.listener
        if route.listener < FIRST_DOOR:
            self._post(route, index, size)
        else:
            self._stats.packets_to_clients += 1
            self._sockets.doors.send(route.listener, b"", self._drains.wrap(self._slots, route, index, size))

    def _send(self, room: int) -> None:
        """Send what is posted and take note of it; `room` is what is left of all that may be relayed."""
        self._stats.bytes_to_clients += self._routes.in_all.left - room
        self._routes.in_all.left = room
        self._send_posts()

    def _send_posts(self) -> None:
        count = self._posts.count
        if count:
            self._stats.packets_to_clients += count
            self._stats.send_errors += self._posts.send(self._sockets.listeners[self._listener].handle)

    def _failed(self, source: Source, error: OSError) -> None:
        # ICMP towards one peer is a lost packet; one that went before may have closed the socket
        if not isinstance(error, BlockingIOError) and self._sockets.relays.get(source.number) is source.udp:
            self._stats.receive_errors += 1
