import asyncio
from collections.abc import Sequence
from struct import pack

from media.peer.incoming import IncomingStream
from media.rtp.assemble import Frame
from media.rtp.feedback import Goodbye, KeyframeRequest, Nack, Remb, SenderReport, parse
from media.rtp.receive import Incoming, IncomingCodec
from media.rtp.send import Sealed

VIDEO = Incoming("video", 1, "us", {96: IncomingCodec("VP8", 90000)})


class Wire:
    """A path that keeps what is sent and says when."""

    def __init__(self) -> None:
        self.sent: asyncio.Queue[bytes] = asyncio.Queue()
        self.is_broken = False

    def seal(self, heads: Sequence[bytes], payloads: Sequence[bytes], at: int) -> Sealed:
        raise AssertionError("a receiver sends no RTP")

    def send(self, sealed: Sealed) -> bool:
        raise AssertionError("a receiver sends no RTP")

    def send_rtcp(self, packet: bytes) -> None:
        if self.is_broken:
            raise AttributeError("'NoneType' object has no attribute 'sendto'")
        self.sent.put_nowait(packet)

    def waiting_bytes(self) -> int:
        return 0

    async def heard(self) -> list[object]:
        async with asyncio.timeout(15):
            return list(parse(await self.sent.get()))


def packet(sequence: int, payload: bytes = b"\x10\x00") -> bytes:
    return pack("!BBHLL", 0x80, 0xE0, sequence, sequence, 2) + payload


async def test_frames_come_out_and_feedback_goes_back_also_with_time() -> None:
    wire, frames = Wire(), list[Frame]()
    stream = IncomingStream(VIDEO, wire, frames.append)
    stream.packet_received(packet(1))
    assert len(frames) == 1
    assert isinstance((await wire.heard())[0], Remb)
    stream.packet_received(packet(3))
    assert await wire.heard() == [Nack(2, (2,))]
    assert await wire.heard() == [Nack(2, (2,))]  # again, by the timer
    stream.packet_received(packet(2))
    assert [frame.timestamp for frame in frames] == [1, 2, 3]
    stream.request_keyframe()
    assert await wire.heard() == [KeyframeRequest(2)]
    stream.close()


async def test_a_path_that_is_gone_does_not_raise() -> None:
    wire = Wire()
    wire.is_broken = True
    frames: list[Frame] = []
    stream = IncomingStream(VIDEO, wire, frames.append)
    stream.packet_received(packet(1))
    assert len(frames) == 1
    stream.close()
    stream.packet_received(packet(2))
    stream.request_keyframe()
    assert len(frames) == 1


async def test_a_goodbye_is_told_and_a_report_is_taken() -> None:
    ends: list[None] = []
    stream = IncomingStream(VIDEO, Wire(), lambda _: None, lambda: ends.append(None))
    stream.packet_received(packet(1))
    stream.rtcp_received(SenderReport(2, 1 << 40, 0))
    stream.rtcp_received(Goodbye((9,)))
    assert not ends
    stream.rtcp_received(Goodbye((2,)))
    assert ends
    stream.close()
