import asyncio
import socket
from collections.abc import Callable
from unittest.mock import patch

import pytest

from channels.errors import AccessDeniedException, ClientLimitExceededException, Limit, ResourceNotFoundException
from channels.ice import IceServer
from channels.service import EndpointUnreachableError
from channels.signaling.client import Message, RefusedError
from channels.signaling.messages import Status
from media.master import Master, MasterSettings
from media.peer import gather
from media.peer.peer import End, PeerSettings
from media.relay.relay import Relay, RelayAddress
from media.relay.relay_settings import RelaySettings
from media.turn.credential import Keys
from media.viewer import ViewerError, ViewerSettings, watch
from tests.media.line import Line, LineClient, LineConnection
from tests.media.stage import running_feed, running_master
from tests.media.watching import until

pytestmark = pytest.mark.skipif(
    not gather.has_host_addresses(), reason="this machine has no address besides loopback: no host candidates"
)


async def failure(client: LineClient, **settings: object) -> ViewerError:
    with pytest.raises(ViewerError) as caught:
        await watch(client, ViewerSettings(**{"timeout_s": 15.0, **settings}))  # type: ignore[arg-type]
    return caught.value


async def failure_at(step: str, client: LineClient, timeout_s: float, **settings: object) -> ViewerError:
    """The failure of this step, with time for the steps before it, which a busy machine needs."""
    for _ in range(4):
        found = await failure(client, timeout_s=timeout_s, **settings)
        if found.step == step:
            return found
        timeout_s *= 3
    raise AssertionError(found)


async def given_up(client: LineClient, is_time: Callable[[], bool]) -> ViewerError:
    """What a viewer says whose time is over once `is_time`, however slow the machine is."""
    loop = asyncio.get_running_loop()
    watching = loop.create_task(failure(client, timeout_s=600.0))
    await until(is_time)
    now = loop.time
    with patch.object(loop, "time", lambda: now() + 600.0):
        return await watching


@pytest.mark.parametrize("codec", ["H264", "VP8"])
async def test_the_report_tells_how_the_picture_came(codec: str) -> None:
    line = Line()
    async with running_master(line):
        report = await watch(line.client("v1"), ViewerSettings(frames=5, codec=codec, timeout_s=60))  # type: ignore[arg-type]
    assert (report.frames, report.codec, report.path) == (5, codec, "host")
    assert (report.width, report.height) == (320, 180)
    assert report.first_frame_ms > 0
    assert report.counter_first is not None
    assert report.counter_last is not None
    assert report.counter_last > report.counter_first
    assert report.latency is not None
    assert (report.latency.pictures, report.latency.clocks) == (5, "one machine")
    assert 0 <= report.latency.min_ms <= report.latency.p95_ms
    assert report.stream is not None
    assert (report.stream.packets > 0, report.stream.packets_lost, report.stream.malformed) == (True, 0, 0)


@pytest.mark.parametrize("is_master_relaying", [False, True])
async def test_a_viewer_may_be_held_to_relays(is_master_relaying: bool) -> None:
    line, stopping = Line(), asyncio.Event()
    ready: asyncio.Future[RelayAddress] = asyncio.get_running_loop().create_future()
    relay = Relay(RelaySettings(port=0), lambda _: Keys(("secret",), b"channel", 1e12))
    settings = MasterSettings(peer=PeerSettings(is_relay_only=is_master_relaying))
    async with asyncio.TaskGroup() as group:
        group.create_task(relay.run(ready.set_result, stopping))
        address = await ready
        line.servers = (IceServer((f"turn:{address.host}:{address.port}?transport=udp",), "user", "secret", 300),)
        async with running_master(line, settings) as master:
            report = await watch(line.client("v1"), ViewerSettings(frames=5, relay=True, timeout_s=60))  # type: ignore[arg-type]
            assert report.path == "relay"
            assert relay.stats.packets_to_clients > 5
            assert master.stats.faults == 0
        stopping.set()


@pytest.mark.slow
async def test_a_viewer_whose_peer_ends_offers_again() -> None:
    line = Line()
    async with running_master(line) as master, asyncio.TaskGroup() as group:
        watching = group.create_task(watch(line.client("v1"), ViewerSettings(frames=15, timeout_s=60)))  # type: ignore[arg-type]
        await line.answered.wait()
        assert await master._peers["v1"].connected()
        master._peers["v1"].stop(End.STOPPED)
        report = await watching
        assert report.frames == 15
        assert master.stats.offers == 2


@pytest.mark.slow
async def test_a_viewer_offers_to_the_next_master() -> None:
    line = Line()
    async with asyncio.TaskGroup() as group:
        async with running_master(line) as first:
            watching = group.create_task(watch(line.client("v1"), ViewerSettings(frames=15, timeout_s=30)))  # type: ignore[arg-type]
            await line.answered.wait()
            assert await first._peers["v1"].connected()
        async with running_master(line):
            assert (await watching).frames == 15


@pytest.mark.slow
async def test_a_viewer_whose_signaling_ends_too_comes_back_when_the_service_does() -> None:
    line = Line()
    client = line.client("v1")
    plain, opened = client.open, 0

    async def open_flaky() -> LineConnection:
        nonlocal opened
        opened += 1
        if opened == 2:
            raise EndpointUnreachableError("away")
        return await plain()

    client.open = open_flaky  # type: ignore[method-assign]
    async with running_master(line), asyncio.TaskGroup() as group:
        master = line.master
        assert master is not None
        line.master = None  # the first offer goes nowhere
        watching = group.create_task(watch(client, ViewerSettings(frames=3, timeout_s=30)))  # type: ignore[arg-type]
        async with asyncio.timeout(15):
            await line.viewer_opened.wait()
        line.viewers["v1"].end(1001)
        line.master = master
        assert (await watching).frames == 3
    assert opened == 3


@pytest.mark.parametrize(
    ("error", "step", "words"),
    [
        (ResourceNotFoundException("no"), "no-channel", "create"),
        (RefusedError(404, "ResourceNotFoundException", "no such channel"), "no-channel", "no such channel"),
        (EndpointUnreachableError("no service answers at x: check"), "unreachable", "check"),
        (AccessDeniedException("ConnectAsViewer is not allowed"), "refused", "AccessDeniedException"),
        (
            RefusedError(
                400, "ClientLimitExceededException", "the channel has 10 viewers", Limit("viewers_per_channel", 10)
            ),
            "refused",
            "viewers_per_channel = 10",
        ),
        (ClientLimitExceededException("too fast", Limit("connects_per_second", 3, 0.5)), "refused", "in 0.5 s"),
    ],
)
async def test_a_refusal_says_which_step_and_why(error: Exception, step: str, words: str) -> None:
    class Refusing(LineClient):
        async def open(self) -> LineConnection:
            raise error

    found = await failure(Refusing(Line(), "v1"))
    assert found.step == step
    assert words in found.message
    assert found.message.count("viewers") <= 1


async def test_without_a_master_the_viewer_says_so() -> None:
    line = Line()
    found = await given_up(line.client("v1"), lambda: "v1" in line.viewers and bool(line.viewers["v1"].sent))
    assert found.step == "no-master"
    assert "heliograph master" in found.message


async def test_an_offer_that_could_not_be_delivered_says_so() -> None:
    line = Line()
    client = line.client("v1")

    class Undelivered(LineConnection):
        async def send(self, *args: object, **kwargs: object) -> None:
            status = Status("offer", "ResourceNotFoundException", "404", "expired")
            self.receive(Message("STATUS_RESPONSE", b"", None, status))

    async def open_undelivered() -> LineConnection:
        return Undelivered(line, "v1")

    client.open = open_undelivered  # type: ignore[method-assign]
    found = await failure(client)
    assert (found.step, "expired" in found.message) == ("no-master", True)


async def test_a_master_that_speaks_but_does_not_answer_is_told_from_none() -> None:
    line = Line()
    client = line.client("v1")
    plain = client.open

    async def open_heard() -> LineConnection:
        connection = await plain()
        connection.receive(Message("ICE_CANDIDATE", b'{"candidate":""}'))
        return connection

    def has_heard() -> bool:
        at_viewer = line.viewers.get("v1")
        return at_viewer is not None and bool(at_viewer.sent) and at_viewer._inbox.empty()

    client.open = open_heard  # type: ignore[method-assign]
    assert (await given_up(client, has_heard)).step == "no-answer"


async def test_an_answer_that_cannot_be_used_is_no_answer() -> None:
    line = Line()
    client = line.client("v1")
    plain = client.open

    async def open_answered() -> LineConnection:
        connection = await plain()
        connection.receive(Message("SDP_ANSWER", b'{"type":"answer","sdp":"nonsense"}'))
        return connection

    client.open = open_answered  # type: ignore[method-assign]
    found = await failure(client)
    assert found.step == "no-answer"
    assert "cannot be used" in found.message


@pytest.mark.slow
async def test_a_way_that_does_not_open_names_the_candidates() -> None:
    def cut(text: bytes) -> bytes:
        return text.replace(b" typ host", b" typ x").replace(b"a=candidate", b"a=x")

    line = Line()
    async with running_feed() as feed, asyncio.TaskGroup() as group:

        class Mute(LineConnection):
            async def send(self, type: str, payload: bytes, *args: str | None, **kwargs: str | None) -> None:
                await super().send(type, cut(payload), *args, **kwargs)

            def receive(self, message: Message) -> None:
                super().receive(Message(message.type, cut(message.payload), message.sender_client_id))

        client = line.client()

        async def open_mute() -> LineConnection:
            line.master = Mute(line, None)
            return line.master

        client.open = open_mute  # type: ignore[method-assign]
        task = group.create_task(Master(client, feed, MasterSettings()).run(lambda: None))  # type: ignore[arg-type]
        found = await failure_at("ice-failed", line.client("v1"), 0.6)
        assert found.step == "ice-failed"
        assert "host " in found.message
        task.cancel()


async def test_a_viewer_that_gets_no_servers_to_relay_through_closes_its_websocket() -> None:
    class Without(LineClient):
        async def ice_servers(self) -> tuple[IceServer, ...]:
            raise AccessDeniedException("GetIceServerConfig is not allowed")

    line = Line()
    found = await failure(Without(line, "v1"), relay=True)
    assert (found.step, "GetIceServerConfig" in found.message) == ("refused", True)
    assert line.viewers["v1"].close_code == 1000


async def test_a_channel_that_goes_while_it_is_watched_is_told_as_such() -> None:
    class Gone(LineClient):
        async def ice_servers(self) -> tuple[IceServer, ...]:
            raise ResourceNotFoundException("no")

    found = await failure(Gone(Line(), "v1"), relay=True)
    assert (found.step, "There is no channel" in found.message) == ("no-channel", True)


async def test_no_relay_is_an_ice_failure_that_names_the_server() -> None:
    line = Line()
    found = await failure(line.client("v1"), relay=True)
    assert found.step == "ice-failed"
    assert "none on the list" in found.message
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        line.servers = (IceServer((f"turn:127.0.0.1:{closed.getsockname()[1]}?transport=tcp",), "u", "p", 300),)
        found = await failure(line.client("v1"), relay=True, timeout_s=6.0)
    assert found.step == "ice-failed"
    assert "127.0.0.1" in found.message


@pytest.mark.slow
async def test_too_few_frames_in_time_is_told_with_their_number() -> None:
    line = Line()
    async with running_master(line):
        found = await failure_at("no-frame", line.client("v1"), 0.8, frames=10_000)
    assert "of 10000 frames" in found.message
