import asyncio
import gc
import json
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription

from channels.errors import ResourceNotFoundException
from channels.service import EndpointUnreachableError
from channels.signaling.client import Message
from media import master as master_module
from media.encoders.encoder import EncoderSettings
from media.feed import Feed
from media.master import REPLACED_CODE, REPLACED_REASON, Master, MasterSettings, ReplacedError
from media.peer import gather
from media.peer.description import Description, read_description, write_description
from media.peer.peer import End, PeerSettings
from media.sources.open import open_source
from tests.media.line import Line, LineClient, LineConnection
from tests.media.stage import SMALL, running_feed, running_master

pytestmark = pytest.mark.skipif(
    not gather.has_host_addresses(), reason="this machine has no address besides loopback: no host candidates"
)
FAST = MasterSettings(backoff_first_s=0.01, backoff_last_s=0.02, persist_after_s=0.02, peer=PeerSettings(report_s=0.1))


class Guest:
    """A viewer by hand: a stock aiortc connection on the line."""

    def __init__(self, line: Line, client_id: str) -> None:
        self.line = line
        self.client_id = client_id
        self.connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.connection.addTransceiver("video", "recvonly")
        self.connection.on("track", lambda track: self.track.set_result(track))
        self.track: asyncio.Future = asyncio.get_running_loop().create_future()  # type: ignore[type-arg]
        self.signaling: LineConnection

    async def offer(self, change: Callable[[str], str] = lambda sdp: sdp) -> None:
        self.signaling = await LineClient(self.line, self.client_id).open()
        await self.connection.setLocalDescription(await self.connection.createOffer())
        await self.send("SDP_OFFER", write_description(Description("offer", change(self.sdp))))

    @property
    def sdp(self) -> str:
        return self.connection.localDescription.sdp

    async def send(self, kind: str, payload: bytes) -> None:
        await self.signaling.send(kind, payload)

    async def answer(self) -> bytes:
        async with asyncio.timeout(15):
            async for message in self.signaling:
                if message.type == "SDP_ANSWER":
                    return message.payload
        raise AssertionError("signaling ended")

    async def frame(self) -> None:
        async with asyncio.timeout(15):
            await (await self.track).recv()

    async def watch(self) -> None:
        await self.offer()
        sdp = read_description(await self.answer(), "answer").sdp
        await self.connection.setRemoteDescription(RTCSessionDescription(sdp, "answer"))
        await self.frame()


@asynccontextmanager
async def guests(line: Line, *names: str) -> AsyncIterator[list[Guest]]:
    made = [Guest(line, name) for name in names]
    try:
        yield made
    finally:
        for guest in made:
            await guest.connection.close()


async def test_several_viewers_watch_one_encode() -> None:
    line = Line()
    async with running_master(line, FAST) as master, guests(line, "v1", "v2", "v3") as everybody:
        async with asyncio.TaskGroup() as group:
            for guest in everybody:
                group.create_task(guest.watch())
        assert master.viewers == 3
        assert master.fanout.stats.failed == 0
        assert master.stats.offers == 3
        told = master.report().viewers
        assert [viewer.client_id for viewer in told] == ["v1", "v2", "v3"]
        for viewer in told:
            came = viewer.milestones
            moments = [came.answered_ms, came.ice_ms, came.dtls_ms, came.first_packet_ms]
            assert None not in moments
            assert moments == sorted(moments)  # type: ignore[type-var]
            assert viewer.path is not None
            assert viewer.streams[0].mode == "live"
        sent = master.sent
        assert sent.units >= 3 * 1
    assert master.sent.packets >= sent.packets, "those that left are counted still"
    assert master.relays_in_use == 0


async def test_a_viewer_closed_in_mid_frame_leaves_the_others_their_picture() -> None:
    line = Line()
    async with running_master(line, FAST) as master, guests(line, "v1", "v2") as (leaving, staying):
        await leaving.watch()
        await staying.watch()
        ice = leaving.connection.getTransceivers()[0].receiver.transport.transport
        theirs = next(iter(master._peers["v1"].streams.by_ssrc.values()))
        assert theirs.path is not None
        await ice.stop()  # gone without a word
        for protocol in theirs.path._path._connection._protocols:  # type: ignore[attr-defined]
            protocol.transport.abort()  # and our own socket under the running fan-out too
        for _ in range(10):
            await staying.frame()
        assert master.stats.faults == 0


async def test_what_viewers_held_is_freed_when_they_have_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(master_module, "COLLECT_AFTER", 2)
    gc.disable()
    try:
        line = Line()
        async with running_master(line, FAST) as master, guests(line, "v1", "v2") as (first, second):
            await first.watch()
            freed = asyncio.Event()
            gone = weakref.ref(master._peers["v1"], lambda _: freed.set())
            await second.watch()
            for guest in (first, second):
                await guest.connection.close()
            async with asyncio.timeout(15):
                await freed.wait()
            assert gone() is None
    finally:
        gc.enable()


async def test_a_master_that_is_replaced_ends_with_its_viewers() -> None:
    line = Line()
    async with running_feed() as feed, guests(line, "v1") as (guest,):
        master = Master(line.client(), feed, FAST)  # type: ignore[arg-type]
        ready = asyncio.Event()

        async def replace() -> None:
            await ready.wait()
            await guest.watch()
            assert line.master is not None
            line.master.end(REPLACED_CODE, REPLACED_REASON)

        async with asyncio.TaskGroup() as group:
            group.create_task(replace())
            with pytest.raises(ReplacedError):
                await master.run(ready.set)
        assert master.viewers == 0
        assert master.stats.ends == {"stopped": 1}


async def test_a_persistent_master_tries_again_after_it_was_replaced() -> None:
    line = Line()
    settings = MasterSettings(persist=True, persist_after_s=0.02, backoff_first_s=0.01)
    async with running_master(line, settings) as master:
        assert line.master is not None
        line.master_opened.clear()
        line.master.end(REPLACED_CODE, REPLACED_REASON)
        async with asyncio.timeout(15):
            await line.master_opened.wait()
        assert master.stats.replaced == 1


@pytest.mark.parametrize(("code", "reason"), [(1001, "drain"), (1006, ""), (1000, "bye"), (1008, "too slow")])
async def test_any_other_close_opens_again_and_keeps_the_picture(code: int, reason: str) -> None:
    line = Line()
    async with running_master(line, FAST) as master, guests(line, "v1") as (guest,):
        await guest.watch()
        assert line.master is not None
        line.master_opened.clear()
        line.master.end(code, reason)
        async with asyncio.timeout(15):
            await line.master_opened.wait()
        await guest.frame()
        assert master.viewers == 1
        assert master.stats.replaced == 0


async def test_a_service_that_is_down_is_tried_again_until_it_is_back() -> None:
    class Flaky(LineClient):
        tries = 0

        async def open(self) -> LineConnection:
            self.tries += 1
            if 1 < self.tries < 4:
                raise EndpointUnreachableError("nobody there")
            return await super().open()

    line = Line()
    client = Flaky(line, None)
    async with running_feed() as feed, asyncio.TaskGroup() as group:
        master = Master(client, feed, FAST)  # type: ignore[arg-type]
        task = group.create_task(master.run(lambda: None))
        await line.master_opened.wait()
        line.master_opened.clear()
        assert line.master is not None
        line.master.end(1006)
        async with asyncio.timeout(15):
            await line.master_opened.wait()
        assert client.tries == 4
        task.cancel()


async def test_a_first_connection_that_is_refused_is_an_error() -> None:
    class Refused(LineClient):
        async def open(self) -> LineConnection:
            raise ResourceNotFoundException("no such channel")

    async with running_feed() as feed:
        with pytest.raises(ResourceNotFoundException):
            await Master(Refused(Line(), None), feed, FAST).run(lambda: None)  # type: ignore[arg-type]


async def test_candidates_that_come_before_their_offer_are_kept_for_it() -> None:
    def without_candidates(sdp: str) -> str:
        return "".join(line for line in sdp.splitlines(keepends=True) if not line.startswith("a=candidate"))

    line = Line()
    async with running_master(line, FAST), guests(line, "v1") as (guest,):
        guest.signaling = await LineClient(line, "v1").open()
        await guest.connection.setLocalDescription(await guest.connection.createOffer())
        for text in guest.sdp.splitlines():
            if text.startswith("a=candidate"):
                init = {"candidate": text.removeprefix("a="), "sdpMid": "0", "sdpMLineIndex": 0}
                await guest.send("ICE_CANDIDATE", json.dumps(init).encode())
        await guest.send("SDP_OFFER", write_description(Description("offer", without_candidates(guest.sdp))))
        sdp = read_description(await guest.answer(), "answer").sdp
        # Without its own candidates in the answer either, only the early ones can make the connection.
        await guest.connection.setRemoteDescription(RTCSessionDescription(without_candidates(sdp), "answer"))
        await guest.frame()


async def test_a_second_offer_of_the_same_viewer_takes_the_place_of_the_first() -> None:
    line = Line()
    async with running_master(line, FAST) as master, guests(line, "v1", "v1") as (first, second):
        await first.watch()
        old = master._peers["v1"]
        await second.watch()
        assert master._peers["v1"] is not old
        assert master.viewers == 1
        assert old.end is not None


async def test_of_two_offers_at_once_only_the_newer_is_answered() -> None:
    line = Line()
    async with running_master(line, FAST) as master, guests(line, "v1", "v1", "v1") as (first, second, third):
        await first.watch()
        before = master._peers["v1"]
        assert line.master is not None
        sent = line.master.sent
        stop, answers_at_end = before.stop, []

        def note(end: End) -> None:
            answers_at_end.append(len(sent))
            stop(end)

        before.stop = note  # type: ignore[method-assign]
        for guest in (second, third):
            guest.signaling = await LineClient(line, "v1").open()
            await guest.connection.setLocalDescription(await guest.connection.createOffer())
        for guest in (second, third):
            await guest.send("SDP_OFFER", write_description(Description("offer", guest.sdp)))
        sdp = read_description(await third.answer(), "answer").sdp
        await third.connection.setRemoteDescription(RTCSessionDescription(sdp, "answer"))
        await third.frame()
        assert [kind for kind, _, _ in sent] == ["SDP_ANSWER"] * 2
        assert answers_at_end[0] == 2, "the old picture stays until the newest offer is answered"


async def test_an_offer_repeated_before_its_answer_is_answered_once() -> None:
    line = Line()
    async with running_master(line, FAST) as master, guests(line, "v1") as (guest,):
        guest.signaling = await LineClient(line, "v1").open()
        await guest.connection.setLocalDescription(await guest.connection.createOffer())
        for _ in range(2):
            await guest.send("SDP_OFFER", write_description(Description("offer", guest.sdp)))
        sdp = read_description(await guest.answer(), "answer").sdp
        await guest.connection.setRemoteDescription(RTCSessionDescription(sdp, "answer"))
        await guest.frame()
        assert line.master is not None
        assert [kind for kind, _, _ in line.master.sent].count("SDP_ANSWER") == 1
        assert master.stats.offers_repeated == 1


async def test_peers_of_viewers_that_come_and_go_are_bounded() -> None:
    line = Line()
    settings = MasterSettings(peers_limit=2)
    async with running_master(line, settings) as master, guests(line, "v1", "v2", "v3") as everybody:
        for guest in everybody:
            await guest.offer()
        await everybody[1].answer()
        assert set(master._peers) == {"v1", "v2"}
        assert master.stats.offers_refused == 1


async def test_the_same_offer_twice_gets_the_same_answer() -> None:
    line = Line()
    async with running_master(line, FAST) as master, guests(line, "v1") as (guest,):
        await guest.offer()
        first = await guest.answer()
        await guest.send("SDP_OFFER", write_description(Description("offer", guest.sdp)))
        assert await guest.answer() == first
        assert master.stats.offers_repeated == 1


def test_a_master_is_made_before_its_event_loop() -> None:
    feed = Feed(open_source(SMALL), EncoderSettings())
    assert Master(Line().client(), feed, FAST).viewers == 0  # type: ignore[arg-type]


async def test_a_flood_of_offers_is_counted_and_not_looked_at() -> None:
    line = Line()
    async with running_master(line, FAST) as master:
        assert line.master is not None
        for _ in range(1_000):
            line.master.receive(Message("SDP_OFFER", b"x" * 60_000, "v1"))
        line.master.receive(Message("SDP_OFFER", b"{}", "v2"))
        line.master_opened.clear()
        line.master.end(1006)
        async with asyncio.timeout(15):
            await line.master_opened.wait()
        assert (master.stats.offers_refused, master.stats.offers_too_many) == (2, 999)


async def test_broken_messages_are_counted_and_nothing_else() -> None:
    line = Line()
    async with running_master(line, FAST) as master, guests(line, "v2") as (guest,):
        assert line.master is not None
        for kind, payload in (
            ("SDP_OFFER", b"\xff"),
            ("SDP_OFFER", b'{"type":"offer","sdp":"nonsense"}'),
            ("SDP_OFFER", b'{"type":"answer","sdp":""}'),
            ("SDP_OFFER", b'{"x":' + b"[" * 10_000),
            ("ICE_CANDIDATE", b'{"x":' + b"[" * 10_000),
            ("ICE_CANDIDATE", b"[]"),
            ("ICE_CANDIDATE", b'{"candidate":"candidate:x"}'),
            ("SDP_ANSWER", b"{}"),
            ("UNHEARD_OF", b""),
        ):
            line.master.receive(Message(kind, payload, "v1"))
        line.master.receive(Message("SDP_OFFER", b"{}", None))
        line.master.receive(Message("ICE_CANDIDATE", 0, "v1"))  # type: ignore[arg-type]  # a fault of our own
        await guest.watch()
        assert master.stats.offers_refused == 4
        assert master.stats.messages_ignored == 6
        assert master.stats.faults == 1


async def test_the_servers_are_asked_for_again_before_their_credential_expires() -> None:
    from channels.ice import IceServer

    class Counting(LineClient):
        calls = 0

        async def ice_servers(self) -> tuple[IceServer, ...]:
            self.calls += 1
            return (IceServer((), "u", "p", 0 if self.calls == 1 else 300),)

    client = Counting(Line(), None)
    async with running_feed() as feed:
        master = Master(client, feed, FAST)  # type: ignore[arg-type]
        for _ in range(4):
            await master._ice_servers()
    assert client.calls == 2


async def test_without_the_ice_operation_viewers_still_get_host_candidates() -> None:
    class Without(LineClient):
        async def ice_servers(self) -> tuple[object, ...]:
            raise EndpointUnreachableError("down")

    line = Line()
    async with running_feed() as feed, asyncio.TaskGroup() as group, guests(line, "v1") as (guest,):
        master = Master(Without(line, None), feed, FAST)  # type: ignore[arg-type]
        task = group.create_task(master.run(lambda: None))
        await line.master_opened.wait()
        await guest.watch()
        task.cancel()
