"""Ways to clients other than the UDP listeners: each stream and each DTLS session is a door with a number of its own.

To the core a door is one more listener; what lies behind it, it never learns.
"""

import typing
from collections import deque
from collections.abc import Callable

from media.turn.address import SocketAddress
from media.turn.effects import Buffer, TurnStats

FIRST_DOOR = 1 << 20
"""Numbers of UDP listeners are smaller."""

DOOR_TRANSPORTS = ("tcp", "tls", "dtls")


class Door(typing.Protocol):
    """The one client behind a stream or a DTLS session; `transport` is one of DOOR_TRANSPORTS, or empty yet."""

    transport: str

    def send(self, head: bytes, data: Buffer) -> None:
        """Take one whole message for the client; it is lost and counted when the way is full. Never blocks.

        `data` is good until the flush: a door that keeps it longer must copy it.
        """

    def close(self) -> None:
        """End the way to the client, without another word to the relay."""


class Inside(typing.Protocol):
    """The relay as the doors see it."""

    def receive(self, number: int, message: memoryview, source: SocketAddress, now: float) -> None:
        """Take one whole message that came through a door, or to a UDP listener; `flush` must follow the last one."""

    def flush(self) -> None:
        """Send all that is collected; until then every message received must stay as it is."""

    def gone(self, number: int, source: SocketAddress, now: float) -> None:
        """Take note that the client behind a door went away: its allocation ends."""

    def has_allocation(self, number: int, source: SocketAddress) -> bool:
        """Tell whether the client behind a door has an allocation."""


class Doors:
    """All open doors by number. Numbers count on and are never used again."""

    def __init__(self, stats: TurnStats) -> None:
        self._stats = stats
        self._open: dict[int, Door] = {}
        self._last = FIRST_DOOR - 1
        self._waiting: deque[Callable[[], None]] = deque()

    def __len__(self) -> int:
        return len(self._open)

    def open(self, door: Door) -> int:
        """Return the number of a new door."""
        self._last += 1
        self._open[self._last] = door
        return self._last

    def close(self, number: int) -> None:
        """Forget a door."""
        self._open.pop(number, None)

    def get(self, number: int) -> Door | None:
        """Return the door, None when it closed meanwhile."""
        return self._open.get(number)

    def transport(self, number: int) -> str:
        """Return how the client behind a door came; empty when it closed meanwhile."""
        door = self._open.get(number)
        return "" if door is None else door.transport

    def send(self, number: int, head: bytes, data: Buffer) -> None:
        """Send through a door; the packet is lost when it closed meanwhile."""
        door = self._open.get(number)
        if door is None:
            self._stats.drop("door-closed")
        else:
            door.send(head, data)

    def at_flush(self, send: Callable[[], None]) -> None:
        """Have `send` called once, when the drain that is going on has ended: a door sends all it took at once."""
        self._waiting.append(send)

    def flush(self) -> None:
        """Let the doors send what they took."""
        while self._waiting:
            self._waiting.popleft()()  # a fault in one leaves the others where they are, for the next flush

    def close_all(self) -> None:
        """Close every door."""
        doors, self._open = self._open, {}
        self._waiting.clear()
        for door in doors.values():
            door.close()
