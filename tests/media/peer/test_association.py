import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiortc import RTCConfiguration, RTCDataChannel, RTCPeerConnection, RTCSctpTransport
from aiortc.rtcsctptransport import DataChunk, serialize_packet

from media.control.share import Share
from media.peer import association
from media.peer.association import AssociationStats


class Pair:
    """A viewer's open channel, our guarded end of it, and what came."""

    def __init__(self) -> None:
        self.viewer, self.ours = (RTCPeerConnection(RTCConfiguration(iceServers=[])) for _ in range(2))
        self.channel: RTCDataChannel
        self.stats: AssociationStats
        self.share = Share(asyncio.get_running_loop().time())
        self.received: asyncio.Queue[str | bytes] = asyncio.Queue()
        self.opened: asyncio.Queue[RTCDataChannel] = asyncio.Queue()

    @property
    def sctp(self) -> RTCSctpTransport:
        assert self.viewer.sctp is not None
        return self.viewer.sctp

    async def connect(self) -> None:
        is_open = asyncio.Event()
        self.channel = self.viewer.createDataChannel("control")
        self.channel.on("open", is_open.set)
        self.ours.on("datachannel", self._opened)
        await self.viewer.setLocalDescription(await self.viewer.createOffer())
        await self.ours.setRemoteDescription(self.viewer.localDescription)
        assert self.ours.sctp is not None
        self.stats = association.guard(self.ours.sctp, self.share)
        await self.ours.setLocalDescription(await self.ours.createAnswer())
        await self.viewer.setRemoteDescription(self.ours.localDescription)
        await self.opened.get()
        await is_open.wait()

    def _opened(self, channel: RTCDataChannel) -> None:
        channel.on("message", self.received.put_nowait)
        self.opened.put_nowait(channel)

    async def is_served(self) -> bool:
        self.channel.send("still there")
        return await self.received.get() == "still there"


@asynccontextmanager
async def connected() -> AsyncIterator[Pair]:
    pair = Pair()
    try:
        async with asyncio.timeout(15):
            await pair.connect()
            yield pair
    finally:
        await pair.viewer.close()
        await pair.ours.close()


async def test_what_makes_the_library_raise_costs_only_itself() -> None:
    async with connected() as pair:
        stream = pair.channel.id
        assert stream is not None
        await pair.sctp._send(stream, 51, b"\xff\xfe")  # text that is not UTF-8
        await pair.sctp._send(stream, 50, b"\x03" + bytes(11))  # opens what is open
        await pair.sctp._send(stream, 50, b"\x02\x00")
        assert await pair.is_served()
        assert pair.stats.faults == 2
        assert pair.ours.connectionState == "connected"


async def test_channels_are_bounded() -> None:
    async with connected() as pair:
        for number in range(20):
            pair.viewer.createDataChannel(str(number))
        for _ in range(15):
            await pair.opened.get()
        assert await pair.is_served()
        assert pair.stats.channels_refused == 5


async def test_who_has_had_its_share_of_time_is_not_listened_to() -> None:
    async with connected() as pair:
        ours = pair.ours.sctp
        assert ours is not None
        pair.share.spend(60.0)
        chunk = DataChunk(flags=0x03)
        assert ours._last_received_tsn is not None
        chunk.tsn, chunk.stream_id, chunk.protocol, chunk.user_data = ours._last_received_tsn + 1, 1, 51, b"x"
        await ours._handle_data(packet(ours, chunk))
        assert (pair.received.empty(), pair.share.refused) == (True, 1)


@pytest.mark.parametrize(("flags", "streams"), [(0x02, 30), (0x00, 1)])
async def test_who_hoards_fragments_is_not_listened_to_any_more(flags: int, streams: int) -> None:
    """0x02 begins a message again and again and never ends it; 0x00 never begins one."""
    async with connected() as pair:
        ours = pair.ours.sctp
        assert ours is not None
        first = ours._last_received_tsn
        assert first is not None
        held = 0
        for number in range(1, 2000):
            chunk = DataChunk(flags=flags)
            chunk.tsn, chunk.stream_id, chunk.protocol, chunk.user_data = first + number, number % streams, 51, b"x"
            held = max(held, sum(len(stream.reassembly) for stream in ours._inbound_streams.values()))
            await ours._handle_data(packet(ours, chunk))
            if pair.stats.is_deaf:
                break
        assert pair.stats.is_deaf
        assert held <= 600
        assert sum(len(stream.reassembly) for stream in ours._inbound_streams.values()) == 0
        assert pair.ours.connectionState == "connected"


def packet(sctp: RTCSctpTransport, chunk: DataChunk) -> bytes:
    return serialize_packet(5000, 5000, sctp._local_verification_tag, chunk)
