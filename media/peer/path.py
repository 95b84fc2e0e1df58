"""The encrypted way to one viewer: SRTP of a DTLS transport and its selected candidate pair, direct or by a relay.

It knows private names of aiortc, aioice, asyncio and pylibsrtp; a test holds each to the library.
"""

import socket
import time
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import repeat
from struct import Struct, pack
from typing import Any

from aioice.ice import CandidatePair
from aioice.turn import TurnClientTcpProtocol, TurnTransport
from aiortc import RTCDtlsTransport
from pylibsrtp import SRTP_MAX_TRAILER_LEN, Session, _binding

from media.rtp.header import Heads
from media.rtp.packetize import RUN_PACKETS
from media.rtp.send import ROOM_BYTES, Offload, Sealed

_WORD = 4


class DtlsPath:
    """SRTP and the selected candidate pair of one transport whose DTLS is up; raises ConnectionError without a pair.

    `room` is where packets are encrypted; all paths of one thread may share it, so that it stays in the cache.
    """

    def __init__(self, dtls: RTCDtlsTransport, room: bytearray | None = None) -> None:
        self._connection = dtls.transport._connection
        self._session = dtls._tx_srtp
        self._seal = Seal(self._session, bytearray(ROOM_BYTES) if room is None else room)
        self._pair: CandidatePair | None = None
        self._relay: Any = None
        self._transport: Any = None
        self._handle: socket.socket | None = None
        self._address: tuple[str, int] = ("", 0)
        self._offload = Offload()

    def seal(self, heads: Sequence[bytes], payloads: Sequence[bytes], at: int) -> Sealed:
        """Encrypt one run of packets in the room, from `at` on; see `media/rtp/send.py`."""
        return self._seal.run(heads, payloads, at)

    def send(self, sealed: Sealed) -> bool:
        """Hand a sealed run over in order; see `media/rtp/send.py`."""
        pair = self._select()
        packets, size = sealed
        if self._relay is not None:
            return self._send_relayed(pair, packets, size)
        if len(packets) > size and self._sends_segments(packets, size, self._address):
            return True
        for datagram in _cut(packets, size):
            self._transport.sendto(datagram, self._address)
        return False

    def send_rtcp(self, packet: bytes) -> None:
        """Encrypt one compound RTCP packet and hand it over."""
        pair = self._select()
        sealed = self._session.protect_rtcp(packet)
        if self._relay is not None:
            self._send_relayed(pair, memoryview(sealed), len(sealed))
        else:
            self._transport.sendto(sealed, self._address)

    def waiting_bytes(self) -> int:
        """Bytes in the socket's send buffer on our side."""
        self._select()
        return int(self._transport.get_write_buffer_size())

    def _select(self) -> CandidatePair:
        pair = self._connection._nominated.get(1)
        if pair is None:
            raise ConnectionError("no candidate pair is selected")
        if pair is not self._pair:
            transport: Any = pair.protocol.transport
            self._relay = _inner(transport) if isinstance(transport, TurnTransport) else None
            self._transport = transport if self._relay is None else self._relay.transport
            # Other event loops than asyncio's have none. One that was closed refuses, and then the transport raises.
            self._handle = getattr(self._transport, "_sock", None)
            self._address = pair.remote_addr
            self._pair, self._offload = pair, Offload()
        return pair

    def _sends_segments(self, data: bytes | memoryview, segment: int, address: tuple[str, int] | None) -> bool:
        if self._handle is None or self._transport.get_write_buffer_size():
            return False  # behind what waits
        return self._offload.send(self._handle, data, segment, address)

    def _send_relayed(self, pair: CandidatePair, sealed: memoryview, size: int) -> bool:
        """Send ChannelData straight while the channel is bound; aioice would start a task for each datagram."""
        relay, address = self._relay, self._address
        number = relay.peer_to_channel.get(address)
        if number is None or relay.transport.is_closing() or time.time() > relay.channel_refresh_at[number]:
            for datagram in _cut(sealed, size):
                pair.protocol.transport.sendto(bytes(datagram), address)
            return False
        frames = [pack("!HH", number, len(datagram)) + datagram for datagram in _cut(sealed, size)]
        if isinstance(relay, TurnClientTcpProtocol):
            relay.transport.write(b"".join([frame + bytes(-len(frame) % 4) for frame in frames]))  # RFC 8656, 12.5
            return True
        if len(frames) > 1 and self._sends_segments(b"".join(frames), len(frames[0]), None):
            return True
        for frame in frames:
            relay.transport.sendto(frame)
        return False


def _cut(sealed: memoryview, size: int) -> Iterator[memoryview]:
    for begin in range(0, len(sealed), size):
        yield sealed[begin : begin + size]


def _inner(transport: TurnTransport) -> Any:
    return transport._TurnTransport__inner_protocol  # type: ignore[attr-defined]


@lru_cache(maxsize=32)
def _layout(count: int, size: int, last: int, rest: int, tag: int) -> tuple[Struct, bytes, int, int]:
    """How a run lies in the room: what packs it, lengths and whole length before encryption, and from one to the next.

    `count` packets of `size` bytes of payload, the last one of `last`, with `rest` bytes of head behind the first word.
    """
    stride = _WORD + rest + size + tag
    form = Struct("!" + f"L{rest}s{size}s{tag}x" * (count - 1) + f"L{rest}s{last}s")
    lengths = [stride - tag] * (count - 1) + [_WORD + rest + last]
    return form, pack(f"@{count}i", *lengths), form.size, stride


class Seal:
    """What `session.protect` does, for a run of packets side by side in one buffer; making buffers is half its cost."""

    def __init__(self, session: Session, room: bytearray) -> None:
        library, ffi = _binding.lib, _binding.ffi
        self._session = session  # whose end would free what the library works on
        self._context = repeat(session._srtp[0])
        self._protect = library.srtp_protect
        self._room, self._view = room, memoryview(room)
        self._start = ffi.from_buffer("char[]", room)
        self._limit = len(room) - SRTP_MAX_TRAILER_LEN
        lengths = ffi.new("int[]", RUN_PACKETS)
        self._lengths = [lengths + number for number in range(RUN_PACKETS)]
        self._length_bytes = memoryview(ffi.buffer(lengths))
        self._tag: int | None = None

    def run(self, heads: Sequence[bytes], payloads: Sequence[bytes], at: int) -> Sealed:
        """Seal one run from `at` on; see `runs` in `media/rtp/packetize.py`."""
        count, tag = len(payloads), self._tag
        if type(heads) is not Heads or tag is None:
            return self._one_by_one(heads, payloads, at)
        rest, last = heads.rest, len(payloads[-1])
        form, lengths, total, stride = _layout(count, len(payloads[0]), last, len(rest), tag)
        self._check(count, at + total)
        values: list[int | bytes] = [rest] * (3 * count)
        values[::3], values[2::3] = heads.words, payloads
        form.pack_into(self._room, at, *values)
        self._length_bytes[: len(lengths)] = lengths
        self._seal(range(at, at + count * stride, stride))
        return self._view[at : at + total + tag], stride

    def _one_by_one(self, heads: Sequence[bytes], payloads: Sequence[bytes], at: int) -> Sealed:
        """The same for heads of any kind; it learns how long the tag of this session is."""
        begin, stride = at, 0
        for head, payload in zip(heads, payloads, strict=True):
            middle, size = at + len(head), len(head) + len(payload)
            self._check(1, at + size)
            self._room[at:middle], self._room[middle : at + size] = head, payload
            self._length_bytes[:_WORD] = pack("@i", size)
            self._seal(range(at, at + 1))
            sealed = self._lengths[0][0]
            self._tag, at, stride = sealed - size, at + sealed, stride or sealed
        return self._view[begin:at], stride

    def _check(self, count: int, end: int) -> None:
        if count > RUN_PACKETS or end > self._limit:
            raise ValueError("more packets than there is room for")

    def _seal(self, begins: range) -> None:
        # Without a line of Python for each packet; srtp_err_status_ok is 0.
        if any(map(self._protect, self._context, map(self._start.__add__, begins), self._lengths)):
            raise ConnectionError("SRTP refused a packet")
