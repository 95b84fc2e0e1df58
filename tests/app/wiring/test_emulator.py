import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest

from app.processes import Child
from app.settings import Settings
from app.wiring.emulator import ACCESS_KEY_ID, SECRET_ACCESS_KEY, Emulator
from app.wiring.memory import in_memory
from app.wiring.orders import Revoked
from channels import ice
from channels.auth.grant import decide
from channels.channel import Channel
from channels.errors import InvalidArgumentException, ResourceNotFoundException
from channels.names import Role
from channels.signaling.members import Connect
from channels.signaling.messages import Event
from tests.channels.signaling.rig import Recorder

SETTINGS = Settings(drain_s=0.0)
ACCOUNT = SETTINGS.account


@asynccontextmanager
async def working() -> AsyncIterator[Emulator]:
    """An emulator without its port, beside a relay that does nothing."""
    turn = Child("turn", (sys.executable, "-S", "-c", ""))
    emulator = Emulator(in_memory(SETTINGS, "test"), turn)
    try:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(emulator._work())
            await asyncio.sleep(0)
            yield emulator
            task.cancel()
    finally:
        emulator.node.close()
        await asyncio.to_thread(turn.abandon)


async def join(emulator: Emulator, channel: Channel, role: Role, client_id: str = "") -> Recorder:
    recorder = Recorder()
    await emulator.node.hub.connect(Connect(channel, role, client_id), recorder)
    return recorder


async def test_a_reset_puts_an_empty_node_in_the_place_of_the_old_one() -> None:
    async with working() as emulator:
        emulator.turn_uris = ("turn:127.0.0.1:3478?transport=udp",)
        old = emulator.node
        channel = await old.control.create(ACCOUNT, "demo")
        master = await join(emulator, channel, Role.MASTER)
        await emulator.advance(60.0)
        emulator.fail("CreateSignalingChannel", "ServiceUnavailableException", 3)
        told: list[msgspec.Struct] = []
        emulator._turn.tell = lambda news: told.append(news) is None  # type: ignore[method-assign]  # no relay
        await emulator.reset()
        await emulator.reset()
        assert told == [Revoked(channels=(ice.channel_digest(channel.arn).hex(),))]
        assert master.closed is not None
        assert master.closed[0] == 1001
        assert emulator.node is not old
        assert (await emulator.node.control.list(ACCOUNT)).channels == ()
        assert (emulator.clock.offset_s, emulator.faults.take("CreateSignalingChannel")) == (0.0, None)
        assert emulator.node.turn_uris == emulator.turn_uris
        again = await emulator.node.control.create(ACCOUNT, "demo")
        await join(emulator, again, Role.MASTER)
        await emulator.advance(3600.0)


async def test_the_public_key_is_good_after_each_reset_and_no_other() -> None:
    async with working() as emulator:
        public = emulator.node.key_ring.find(ACCESS_KEY_ID)
        assert public is not None
        assert (public.secret, public.account) == (SECRET_ACCESS_KEY, ACCOUNT)
        assert decide(public.grant(), "CreateSignalingChannel", "*").is_allowed
        emulator.node.key_ring.add(msgspec.structs.replace(public, id="AKIAIOSFODNN7EXAMPLE"))
        emulator.node.key_ring.revoke(ACCESS_KEY_ID, 1.0)
        await emulator.reset()
        assert emulator.node.key_ring.find(ACCESS_KEY_ID) == public
        assert emulator.node.key_ring.find("AKIAIOSFODNN7EXAMPLE") is None


async def test_what_comes_due_is_done_when_the_clock_answers() -> None:
    async with working() as emulator:
        channel = await emulator.node.control.create(ACCOUNT, "demo")
        viewer = await join(emulator, channel, Role.VIEWER, "v1")
        (member,) = emulator.node.hub._members
        offer = '{"action":"SDP_OFFER","messagePayload":"AAAA","correlationId":"c1"}'
        emulator.node.hub.receive(member, offer)
        assert await emulator.advance(59.0) == 59.0
        assert viewer.statuses == []
        assert await emulator.advance(1.0) == 60.0
        assert [status["correlationId"] for status in viewer.statuses] == ["c1"]
        assert viewer.closed is None
        await emulator.advance(3600.0)
        assert viewer.closed == (1001, "the lifetime of a connection is over")


async def test_a_cut_closes_the_sockets_of_that_channel_only() -> None:
    async with working() as emulator:
        channel, other = [await emulator.node.control.create(ACCOUNT, name) for name in ("demo", "other")]
        here, there = await join(emulator, channel, Role.MASTER), await join(emulator, other, Role.MASTER)
        await emulator.cut(channel.arn, 1011, "as asked")
        assert (here.closed, there.closed) == ((1011, "as asked"), None)
        await emulator.node.control.delete(other.arn, ACCOUNT)
        with pytest.raises(ResourceNotFoundException):
            await emulator.cut(other.arn, 1011, "as asked")


async def test_an_event_is_told_to_the_sockets_of_that_channel() -> None:
    async with working() as emulator:
        channel, other = [await emulator.node.control.create(ACCOUNT, name) for name in ("demo", "other")]
        here, there = await join(emulator, channel, Role.MASTER), await join(emulator, other, Role.MASTER)
        assert await emulator.send(channel.arn, Event.RECONNECT_ICE_SERVER) == 1
        assert [frame["messageType"] for frame in here.frames] == ["RECONNECT_ICE_SERVER"]
        assert there.frames == []
        await emulator.node.control.delete(other.arn, ACCOUNT)
        with pytest.raises(ResourceNotFoundException):
            await emulator.send(other.arn, Event.GO_AWAY)


async def test_every_operation_and_connect_can_be_told_to_fail() -> None:
    async with working() as emulator:
        for operation in ("GetIceServerConfig", "DeleteSignalingChannel", "ConnectAsMaster", "ConnectAsViewer"):
            emulator.fail(operation, "ServiceUnavailableException", 1)
        with pytest.raises(InvalidArgumentException):
            emulator.fail("ResetEmulator", "ServiceUnavailableException", 1)


def test_the_keys_have_the_form_that_clients_know() -> None:
    assert (len(ACCESS_KEY_ID), len(SECRET_ACCESS_KEY)) == (20, 40)
    assert ACCESS_KEY_ID.startswith("AKIA")
    assert (ACCESS_KEY_ID + SECRET_ACCESS_KEY).isalnum()
