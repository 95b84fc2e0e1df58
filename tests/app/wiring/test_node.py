import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import msgspec
import pytest

from app.cli_token import token_settings
from app.exits import Exit
from app.listen import listen
from app.processes import Child, Ending
from app.server import Parts
from app.settings import Settings, SettingsError
from app.wiring.access import AccessOrder
from app.wiring.listeners import Listeners
from app.wiring.node import Node, NodeOrder, Twists
from app.wiring.orders import Revoked, TurnOrder
from app.wiring.redis_start import places
from channels import ice
from channels.auth import token
from channels.auth.grant import Statement
from channels.auth.key_ring import AccessKey
from channels.control import public_version
from channels.embedded.store import MEMORY
from channels.errors import UnrecognizedClientException
from channels.names import Role
from channels.signaling.client import ClientSettings, ConnectionEndedError, SignalingClient
from channels.signaling.limits import Limits
from tests import signer
from tests.redis_server import RedisServer

pytestmark = pytest.mark.slow
SETTINGS = Settings(turn_port=0, drain_s=0.05)
KEY = token.new_es256_key()
SECRET = b"s" * 64


@asynccontextmanager
async def running(ending: Ending) -> AsyncIterator[tuple[Node, SignalingClient, Child]]:
    """Run a node with its relay, and make a client for the master of its channel."""
    turn = Child("turn")
    with listen("127.0.0.1", 0, "http_port") as http, listen("127.0.0.1", 0, "ops_port") as ops:
        node = Node(NodeOrder(SETTINGS, MEMORY, (KEY,), (SECRET,)), turn)
        await node.control.create(SETTINGS.account, "demo")
        turn.configure(TurnOrder(SETTINGS, (SECRET.decode(),)))
        async with node.running(Listeners(http, ops), ending):
            text = token.mint(
                KEY,
                token_settings(SETTINGS),
                subject="test",
                actions=["*"],
                channels=["*"],
                now_wall=time.time(),
                lifetime_s=60,
            )
            endpoint = f"http://127.0.0.1:{http.getsockname()[1]}"
            client = SignalingClient(
                ClientSettings(endpoint=endpoint, access=text, channel_name="demo", role=Role.MASTER, client_id=None)
            )
            yield node, client, turn


def test_a_catalog_that_is_no_database_is_told_once(tmp_path: Path) -> None:
    file = tmp_path / "catalog.sqlite"
    file.write_text("no database " * 99)
    child = Child("turn")
    try:
        with pytest.raises(SettingsError, match=r"DATA_DIR: .*is not a database; --data-dir") as caught:
            Node(NodeOrder(SETTINGS, str(file), (KEY,), (SECRET,)), child)
    finally:
        child.abandon()
    assert str(caught.value).count(str(file)) == 1


async def test_the_ice_answer_names_the_relay_of_this_node() -> None:
    async with running(Ending()) as (node, client, _):
        servers = await client.ice_servers()
    assert [server.uris for server in servers] == [node.turn_uris]


async def test_a_drain_tells_the_clients_to_come_back() -> None:
    async with running(Ending()) as (_, client, _):
        connection = await client.open()
    with pytest.raises(ConnectionEndedError):
        await connection.send("SDP_OFFER", b"{}")
    async for _ in connection:
        pass
    assert connection.close_code == 1001


async def test_a_deleted_channel_closes_its_sockets() -> None:
    async with running(Ending()) as (node, client, _):
        connection = await client.open()
        channel = await node.control.describe(SETTINGS.account, "demo")
        await node.control.delete(channel.arn, SETTINGS.account)
        async for _ in connection:
            pass
    assert (connection.close_code, connection.close_reason) == (1001, "the channel was deleted")


async def test_a_revoked_token_closes_its_sockets_and_opens_no_more() -> None:
    async with running(Ending()) as (node, client, _):
        connection = await client.open()
        grant = token.TokenVerifier((KEY,), token_settings(SETTINGS)).verify(str(client.settings.access), time.time())
        node.key_ring.revoke(grant.token_id or "", time.time())
        async with asyncio.timeout(15):
            async for _ in connection:
                pass
        with pytest.raises(UnrecognizedClientException, match="was revoked"):
            await client.ice_servers()
    assert (connection.close_code, connection.close_reason) == (1008, "the credential was revoked")


async def test_the_end_of_the_relay_ends_everything_in_order() -> None:
    ending = Ending()
    async with running(ending) as (_, client, turn):
        connection = await client.open()
        await turn.stop()
        await ending.event.wait()
        assert ending.reason is not None
        assert ending.reason.code is Exit.PART_ENDED
    async for _ in connection:
        pass
    assert connection.close_code == 1001


async def test_an_end_before_the_relay_is_ready_is_not_held_up() -> None:
    turn = Child("turn", (sys.executable, "-c", "import time; time.sleep(60)"))
    ending = Ending()
    with listen("127.0.0.1", 0, "http_port") as http, listen("127.0.0.1", 0, "ops_port") as ops:
        node = Node(NodeOrder(SETTINGS, MEMORY, (KEY,), (SECRET,)), turn)
        turn.configure(TurnOrder(SETTINGS, (SECRET.decode(),)))
        asyncio.get_running_loop().call_later(0.1, ending.event.set)
        async with asyncio.timeout(15), node.running(Listeners(http, ops), ending):
            assert ending.event.is_set()
            assert node.turn_uri == ""
    assert not turn.is_alive


def test_a_key_store_that_cannot_be_opened_is_told_by_its_setting(tmp_path: Path) -> None:
    turn = Child("turn")
    access = msgspec.structs.replace(AccessOrder.in_memory(), store=str(tmp_path / "nowhere" / "keys.sqlite"))
    try:
        with pytest.raises(SettingsError, match=r"DATA_DIR: the key store .*keys\.sqlite cannot be used"):
            Node(NodeOrder(SETTINGS, MEMORY, (KEY,), (SECRET,), access), turn)
    finally:
        turn.abandon()


async def test_a_catalog_that_cannot_be_opened_is_told_by_its_setting(tmp_path: Path) -> None:
    turn = Child("turn")
    try:
        with pytest.raises(SettingsError, match="DATA_DIR: the catalog"):
            Node(NodeOrder(SETTINGS, str(tmp_path / "nowhere" / "catalog.sqlite"), (KEY,), (SECRET,)), turn)
    finally:
        await asyncio.to_thread(turn.abandon)


def test_secrets_do_not_show() -> None:
    assert SECRET.decode() not in repr(NodeOrder(SETTINGS, MEMORY, (KEY,), (SECRET,)))


async def test_what_happens_to_a_channel_reaches_its_open_sockets() -> None:
    async with running(Ending()) as (node, client, _):
        channel = await node.control.describe(SETTINGS.account, "demo")
        heard: list[int] = []
        node.control.on_updated.append(lambda changed: heard.append(changed.message_ttl_s))
        assert node.hub.update_channel in node.control.on_updated
        await node.control.update(channel.arn, SETTINGS.account, public_version(channel), message_ttl_s=5)
        connection = await client.open()
        async with asyncio.timeout(15):
            await node.control.delete(channel.arn, SETTINGS.account)
            assert [message async for message in connection] == []
    assert heard == [5]
    assert connection.close_code == 1001


async def test_a_twist_gets_the_parts_and_sets_the_time_of_the_hub() -> None:
    turn = Child("turn", (sys.executable, "-c", ""))
    seen: list[Parts] = []

    def note(parts: Parts) -> Parts:
        seen.append(parts)
        return parts

    try:
        node = Node(NodeOrder(SETTINGS, MEMORY, (KEY,), (SECRET,)), turn, Twists(now=lambda: 5.0, parts=note))
        node.store.close()
    finally:
        await asyncio.to_thread(turn.abandon)
    assert "CreateSignalingChannel" in {operation.name for operation in seen[0].operations}
    assert node.hub._now() == 5.0
    assert node.hub.limits.lifetime_jitter_s == 0.0


@pytest.mark.parametrize(
    ("settings", "limits"),
    [
        (SETTINGS, Limits.aws()),
        (Settings(limits_profile="relaxed"), Limits.relaxed()),
        (Settings(control_messages=True), Limits(go_away_s=60.0)),
    ],
)
async def test_the_limits_are_those_of_the_settings(settings: Settings, limits: Limits) -> None:
    turn = Child("turn", (sys.executable, "-c", ""))
    try:
        node = Node(NodeOrder(settings, MEMORY, (KEY,), (SECRET,)), turn)
        node.store.close()
    finally:
        await asyncio.to_thread(turn.abandon)
    assert node.hub.limits == limits


@pytest.mark.parametrize(
    ("further", "heard"),
    [((), {"us-west-2"}), (("eu-west-1",), {"us-west-2", "eu-west-1"}), (("*",), {"us-west-2", "eu-west-1", "mars-1"})],
)
async def test_signatures_may_name_the_region_and_those_that_are_listed(
    further: tuple[str, ...], heard: set[str]
) -> None:
    settings = msgspec.structs.replace(SETTINGS, signing_regions=further)
    turn = Child("turn")
    node = Node(NodeOrder(settings, MEMORY, (KEY,), (SECRET,)), turn)
    key = AccessKey(signer.KEY_ID, settings.account, signer.SECRET, (Statement(("*",), ("*",)),))
    node.key_ring.add(key)
    statuses = {}
    try:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(node.application), base_url="http://kvs") as http:
            for region in ("us-west-2", "eu-west-1", "mars-1"):
                url = "http://kvs/listSignalingChannels"
                signed = signer.header_signed(url, b"{}", time.time(), region=region)
                answer = await http.post(url, content=b"{}", headers=list(signed.headers))
                statuses[region] = answer.status_code
    finally:
        node.close()
        turn.abandon()
    assert {region for region, status in statuses.items() if status == 200} == heard
    assert set(statuses.values()) <= {200, 403}


async def test_what_one_node_deletes_or_changes_reaches_the_relay_and_the_sockets_of_the_other(
    redis_server: RedisServer, redis_prefix: str
) -> None:
    settings = msgspec.structs.replace(SETTINGS, redis_url=redis_server.url, redis_prefix=redis_prefix)
    order = NodeOrder(settings, "", (KEY,), (SECRET,), AccessOrder.in_memory(), places(settings))
    children = [Child("turn", (sys.executable, "-c", "")) for _ in range(2)]
    one, other = (Node(order, child) for child in children)
    told: asyncio.Queue[msgspec.Struct] = asyncio.Queue(2)
    changed: asyncio.Queue[int] = asyncio.Queue(2)
    children[1].tell = lambda news: told.put_nowait(news) is None  # type: ignore[method-assign]  # no relay
    other._news.on_updated.append(lambda channel: changed.put_nowait(channel.message_ttl_s))
    try:
        async with asyncio.timeout(15), asyncio.TaskGroup() as group:
            working = [group.create_task(node.work()) for node in (one, other)]
            channel = await one.control.create(settings.account, "demo")
            topic = f"{redis_prefix}:catalog"
            while redis_server.command("PUBSUB", "NUMSUB", topic) != [topic.encode(), 2]:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            updated = await one.control.update(channel.arn, settings.account, public_version(channel), message_ttl_s=5)
            assert await changed.get() == 5
            await one.control.delete(channel.arn, settings.account, public_version(updated))
            assert await told.get() == Revoked(channels=(ice.channel_digest(channel.arn).hex(),))
            for task in working:
                task.cancel()
    finally:
        for node, child in zip((one, other), children, strict=True):
            node.close()
            await asyncio.to_thread(child.abandon)


async def test_a_relay_hears_of_what_was_revoked_before_the_start() -> None:
    turn = Child("turn", (sys.executable, "-c", ""))
    node = Node(NodeOrder(SETTINGS, MEMORY, (KEY,), (SECRET,)), turn)
    told: asyncio.Queue[msgspec.Struct] = asyncio.Queue(2)
    turn.tell = told.put_nowait  # type: ignore[method-assign]  # there is no relay
    node.key_ring.revoke("AKIA234567ABCDEFGHIJ", time.time())
    try:
        async with asyncio.timeout(15), asyncio.TaskGroup() as group:
            working = group.create_task(node.work())
            tag = ice.holder_tag("AKIA234567ABCDEFGHIJ").hex()
            assert await told.get() == Revoked(holders=(tag,))
            working.cancel()
    finally:
        node.close()
        await asyncio.to_thread(turn.abandon)


def test_a_folder_of_recordings_that_there_is_not_is_named(tmp_path: Path) -> None:
    settings = msgspec.structs.replace(SETTINGS, recordings=str(tmp_path / "nowhere"))
    turn = Child("turn", ("true",))
    with pytest.raises(SettingsError, match=r"RECORDINGS: there is no folder .*nowhere"):
        Node(NodeOrder(settings, MEMORY, (KEY,), (SECRET,)), turn)
    turn.abandon()
