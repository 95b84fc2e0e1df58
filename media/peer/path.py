"""The encrypted way to one viewer: SRTP of a DTLS transport and its selected candidate pair, direct or by a relay.

It knows private names of aiortc, aioice, asyncio and pylibsrtp; a test holds each to the library.
"""

import time
from collections.abc import Callable, Sequence
from struct import pack
from typing import Any

from aioice.ice import CandidatePair
from aioice.turn import TurnClientTcpProtocol, TurnTransport
from aiortc import RTCDtlsTransport
from pylibsrtp import SRTP_MAX_TRAILER_LEN, Session, _binding

from media.rtp.send import Offload

_LARGEST_PACKET = 1500


class DtlsPath:
    """SRTP and the selected candidate pair of one transport whose DTLS is up; raises ConnectionError without a pair."""

    def __init__(self, dtls: RTCDtlsTransport) -> None:
        self._connection = dtls.transport._connection
        self.protect = _protection(dtls._tx_srtp)
        self.protect_rtcp = dtls._tx_srtp.protect_rtcp
        self._pair: CandidatePair | None = None
        self._relay: Any = None
        self._transport: Any = None
        self._offload = Offload()

    def write(self, datagrams: Sequence[bytes]) -> bool:
        """Hand datagrams to the selected pair's socket or TURN allocation, in order; see `media/rtp/send.py`."""
        pair = self._select()
        address = pair.remote_addr
        if self._relay is not None:
            return self._write_relayed(pair, datagrams)
        if len(datagrams) > 1 and self._sends_segments(datagrams, len(datagrams[0]), address):
            return True
        for datagram in datagrams:
            self._transport.sendto(datagram, address)
        return False

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

    def _sends_segments(self, buffers: Sequence[bytes], segment: int, address: tuple[str, int] | None) -> bool:
        if self._transport.get_write_buffer_size():
            return False  # behind what waits
        handle = getattr(self._transport, "_sock", None)  # other event loops than asyncio's have none
        return handle is not None and self._offload.send(handle, buffers, segment, address)

    def _write_relayed(self, pair: CandidatePair, datagrams: Sequence[bytes]) -> bool:
        """Send ChannelData straight while the channel is bound; aioice would start a task for each datagram."""
        relay, address = self._relay, pair.remote_addr
        number = relay.peer_to_channel.get(address)
        if number is None or relay.transport.is_closing() or time.time() > relay.channel_refresh_at[number]:
            for datagram in datagrams:
                pair.protocol.transport.sendto(datagram, address)
            return False
        frames = [pack("!HH", number, len(datagram)) + datagram for datagram in datagrams]
        if isinstance(relay, TurnClientTcpProtocol):
            relay.transport.write(b"".join([frame + bytes(-len(frame) % 4) for frame in frames]))  # RFC 8656, 12.5
            return True
        if len(frames) > 1 and self._sends_segments(frames, len(frames[0]), None):
            return True
        for frame in frames:
            relay.transport.sendto(frame)
        return False


def _inner(transport: TurnTransport) -> Any:
    return transport._TurnTransport__inner_protocol  # type: ignore[attr-defined]


def _protection(session: Session) -> Callable[[bytes], bytes]:
    """What `session.protect` does, with the same buffer for each packet; half of its cost is making them."""
    library, context = _binding.lib, session._srtp[0]
    protect, ok = library.srtp_protect, library.srtp_err_status_ok
    room = _binding.ffi.new("char[]", _LARGEST_PACKET + SRTP_MAX_TRAILER_LEN)
    view, length = _binding.ffi.buffer(room), _binding.ffi.new("int *")

    def protect_packet(packet: bytes) -> bytes:
        size = len(packet)
        if size > _LARGEST_PACKET:
            raise ValueError("packet is too long")
        view[0:size] = packet
        length[0] = size
        if protect(context, room, length) != ok:
            raise ConnectionError("SRTP refused a packet")
        protected: bytes = view[0 : length[0]]
        return protected

    return protect_packet
