"""What the TCP and TLS connections of clients share, and what may stand behind one of them."""

import asyncio
import ssl
import typing

import msgspec

from media.relay.doors import Doors, Inside
from media.relay.readiness import Readiness
from media.relay.tls import MOST_RECORD_BYTES
from media.turn.admission import Admission, StreamBounds
from media.turn.effects import Buffer, TurnStats
from media.turn.framing import MOST_BYTES

if typing.TYPE_CHECKING:
    from media.relay.stream import Connection

READ_BYTES = 65536


class Hall(msgspec.Struct):
    """What all connections share. `room` and `encrypted` are where each of them reads: good until the flush."""

    relay: Inside
    doors: Doors
    stats: TurnStats
    admission: Admission
    bounds: StreamBounds
    loop: asyncio.AbstractEventLoop
    readiness: Readiness
    tls: ssl.SSLContext | None
    last_of_channels: int
    connections: dict[int, "Connection"] = {}
    room: memoryview = memoryview(b"")
    encrypted: memoryview = memoryview(b"")

    def __post_init__(self) -> None:
        self.room = memoryview(bytearray(MOST_BYTES + READ_BYTES + MOST_RECORD_BYTES))
        self.encrypted = memoryview(bytearray(READ_BYTES))


class Pipe(typing.Protocol):
    """The other half of a connection whose bytes pass raw (RFC 6062, 5.4)."""

    def take(self, data: Buffer) -> None:
        """Take bytes of the client."""

    def client_took_all(self) -> None:
        """Take note that nothing waits any more on its way to the client."""

    def client_ended(self) -> None:
        """Take note that the client sends no more; `end` follows."""

    def close(self) -> None:
        """Close both halves."""
