"""The encrypted way to one viewer: SRTP of a DTLS transport and its selected candidate pair, direct or by a relay.

It knows private names of aiortc, aioice, asyncio and pylibsrtp; a test holds each to the library.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from struct import pack
from typing import Any

from aioice.ice import CandidatePair
from aioice.turn import TurnClientTcpProtocol, TurnTransport
from aiortc import RTCDtlsTransport
from pylibsrtp import SRTP_MAX_TRAILER_LEN, Session, _binding

from media.rtp.send import ROOM_BYTES, Offload


class DtlsPath:
    """SRTP and the selected candidate pair of one transport whose DTLS is up; raises ConnectionError without a pair.

    `room` is where packets are encrypted; all paths of one thread may share it, so that it stays in the cache.
    """

    def __init__(self, dtls: RTCDtlsTransport, room: bytearray | None = None) -> None:
        self._connection = dtls.transport._connection
        self._session = dtls._tx_srtp
        self._seal = _sealing(self._session, bytearray(ROOM_BYTES) if room is None else room)
        self._pair: CandidatePair | None = None
        self._relay: Any = None
        self._transport: Any = None
        self._offload = Offload()

    def send(self, heads: Sequence[bytes], payloads: Sequence[bytes]) -> tuple[int, bool]:
        """Encrypt one run of packets and hand them over in order; see `media/rtp/send.py`."""
        pair = self._select()
        sealed, ends = self._seal(heads, payloads)
        if self._relay is not None:
            return ends[-1], self._send_relayed(pair, sealed, ends)
        if len(ends) > 1 and self._sends_segments(sealed, ends[0], pair.remote_addr):
            return ends[-1], True
        for datagram in _cut(sealed, ends):
            self._transport.sendto(datagram, pair.remote_addr)
        return ends[-1], False

    def send_rtcp(self, packet: bytes) -> int:
        """Encrypt one compound RTCP packet and hand it over."""
        pair = self._select()
        sealed = self._session.protect_rtcp(packet)
        if self._relay is not None:
            self._send_relayed(pair, memoryview(sealed), [len(sealed)])
        else:
            self._transport.sendto(sealed, pair.remote_addr)
        return len(sealed)

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
            self._pair, self._offload = pair, Offload()
        return pair

    def _sends_segments(self, data: bytes | memoryview, segment: int, address: tuple[str, int] | None) -> bool:
        if self._transport.get_write_buffer_size():
            return False  # behind what waits
        handle = getattr(self._transport, "_sock", None)  # other event loops than asyncio's have none
        return handle is not None and self._offload.send(handle, data, segment, address)

    def _send_relayed(self, pair: CandidatePair, sealed: memoryview, ends: Sequence[int]) -> bool:
        """Send ChannelData straight while the channel is bound; aioice would start a task for each datagram."""
        relay, address = self._relay, pair.remote_addr
        number = relay.peer_to_channel.get(address)
        if number is None or relay.transport.is_closing() or time.time() > relay.channel_refresh_at[number]:
            for datagram in _cut(sealed, ends):
                pair.protocol.transport.sendto(bytes(datagram), address)
            return False
        frames = [pack("!HH", number, len(datagram)) + datagram for datagram in _cut(sealed, ends)]
        if isinstance(relay, TurnClientTcpProtocol):
            relay.transport.write(b"".join([frame + bytes(-len(frame) % 4) for frame in frames]))  # RFC 8656, 12.5
            return True
        if len(frames) > 1 and self._sends_segments(b"".join(frames), len(frames[0]), None):
            return True
        for frame in frames:
            relay.transport.sendto(frame)
        return False


def _cut(sealed: memoryview, ends: Sequence[int]) -> Iterator[memoryview]:
    begin = 0
    for end in ends:
        yield sealed[begin:end]
        begin = end


def _inner(transport: TurnTransport) -> Any:
    return transport._TurnTransport__inner_protocol  # type: ignore[attr-defined]


def _sealing(
    session: Session, room: bytearray
) -> Callable[[Sequence[bytes], Sequence[bytes]], tuple[memoryview, list[int]]]:
    """What `session.protect` does, for a run of packets side by side in one buffer; making buffers is half its cost."""
    library, context = _binding.lib, session._srtp[0]
    protect, ok = library.srtp_protect, library.srtp_err_status_ok
    start, view = _binding.ffi.from_buffer("char[]", room), memoryview(room)
    length, limit = _binding.ffi.new("int *"), len(room) - SRTP_MAX_TRAILER_LEN

    def seal(heads: Sequence[bytes], payloads: Sequence[bytes]) -> tuple[memoryview, list[int]]:
        at, ends = 0, []
        for head, payload in zip(heads, payloads, strict=True):
            middle = at + len(head)
            end = middle + len(payload)
            if end > limit:
                raise ValueError("more packets than there is room for")
            room[at:middle] = head
            room[middle:end] = payload
            length[0] = end - at
            if protect(context, start + at, length) != ok:
                raise ConnectionError("SRTP refused a packet")
            at += length[0]
            ends.append(at)
        return view[:at], ends

    return seal
