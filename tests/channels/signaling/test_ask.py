"""An offer asked as one call: who answers, who does not, and what is left afterwards."""

import asyncio
from typing import Any

import pytest

from channels.errors import (
    ClientLimitExceededException,
    InvalidArgumentException,
    ResourceNotFoundException,
    ServiceError,
    ServiceUnavailableException,
    UnrecognizedClientException,
)
from channels.names import Role
from channels.signaling.ask import AskerLeftError, Asks
from channels.signaling.limits import Limits
from channels.signaling.members import Connect
from tests.channels.signaling.rig import Node, channel, cluster, running

OFFER, ANSWER = "b2ZmZXI=", "YW5zd2Vy"


class Asked:
    """One ask that runs as a task of the block, until somebody answers."""

    def __init__(self, group: asyncio.TaskGroup, node: Node, client_id: str = "echo", **more: Any) -> None:
        self.left = asyncio.Event()
        connect = Connect(more.pop("to", None) or channel(), Role.VIEWER, client_id, **more)
        self.task = group.create_task(self._run(node, connect))

    async def _run(self, node: Node, connect: Connect) -> str | Exception:
        try:
            return await Asks(node.hub).ask(connect, OFFER, self._gone)
        except (ServiceError, AskerLeftError) as error:
            return error

    async def _gone(self) -> None:
        await self.left.wait()

    async def outcome(self) -> Any:
        async with asyncio.timeout(15):
            return await self.task


async def turns(node: Node, count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)
    await node.settle()


@pytest.fixture(params=["one node", "two nodes"])
def nodes(request: pytest.FixtureRequest) -> tuple[Node, Node]:
    made = cluster(names=("a",) if request.param == "one node" else ("a", "b"))
    return made[0], made[-1]


async def empty(*nodes: Node) -> bool:
    """Whether every slot was given back."""
    count = await nodes[0].hub._presence.count(str(channel().arn))
    return count + sum(node.hub.stats.viewers for node in nodes) == 0


async def test_the_master_answers_wherever_it_is(nodes: tuple[Node, Node]) -> None:
    a, b = nodes
    async with running(*dict.fromkeys(nodes)), asyncio.TaskGroup() as group:
        master, at_master = await a.master()
        asked = Asked(group, b)
        (offer,) = await at_master.wait_for(1)
        assert offer == {"messagePayload": OFFER, "messageType": "SDP_OFFER", "senderClientId": "echo"}
        assert b.hub.stats.viewers == 1, "it takes the place of a viewer while it waits"
        a.say(master, "YQ==", "ICE_CANDIDATE", recipientClientId="echo")
        a.say(master, ANSWER, "SDP_ANSWER", recipientClientId="echo")
        assert await asked.outcome() == ANSWER
        assert await empty(a, b)


async def test_an_offer_waits_for_its_master(nodes: tuple[Node, Node]) -> None:
    a, b = nodes
    async with running(*dict.fromkeys(nodes)), asyncio.TaskGroup() as group:
        asked = Asked(group, b)
        await turns(b)
        master, at_master = await a.master()
        await at_master.wait_for(1)
        a.say(master, ANSWER, "SDP_ANSWER", recipientClientId="echo")
        assert await asked.outcome() == ANSWER


@pytest.mark.parametrize("is_there", [False, True])
async def test_without_an_answer_it_ends_with_the_time_to_live(is_there: bool) -> None:
    (node,) = cluster()
    async with running(node), asyncio.TaskGroup() as group:
        if is_there:
            await node.master(to=channel(ttl_s=30))
        asked = Asked(group, node, to=channel(ttl_s=30))
        await turns(node)
        node.clock.now += 29.9
        node.hub.clock_moved(29.9)
        await turns(node)
        assert not asked.task.done()
        node.clock.now += 0.1
        node.hub.clock_moved(0.1)
        error = await asked.outcome()
        assert isinstance(error, ResourceNotFoundException)
        assert error.message == "no master answered within 30 s (MessageTtlSeconds)"
        assert await empty(node)


async def test_an_asker_that_leaves_gives_its_place_back(nodes: tuple[Node, Node]) -> None:
    a, b = nodes
    async with running(*dict.fromkeys(nodes)), asyncio.TaskGroup() as group:
        await a.master()
        asked = Asked(group, b)
        await turns(b)
        asked.left.set()
        assert isinstance(await asked.outcome(), AskerLeftError)
        assert await empty(a, b)


async def test_a_drain_ends_it() -> None:
    (node,) = cluster()
    async with running(node), asyncio.TaskGroup() as group:
        asked = Asked(group, node)
        await turns(node)
        await node.hub.drain(0.0)
        assert isinstance(await asked.outcome(), ServiceUnavailableException)


async def test_a_newer_connection_of_its_client_id_ends_it() -> None:
    (node,) = cluster()
    async with running(node), asyncio.TaskGroup() as group:
        asked = Asked(group, node)
        await turns(node)
        await node.viewer("echo")
        error = await asked.outcome()
        assert isinstance(error, InvalidArgumentException)
        assert "newer connection" in error.message
        assert node.hub.stats.viewers == 1


async def test_a_revoked_credential_and_a_deleted_channel_end_it() -> None:
    (node,) = cluster()
    async with running(node), asyncio.TaskGroup() as group:
        first, second = Asked(group, node, "one", credential_ids=("key",)), Asked(group, node, "two")
        await turns(node)
        node.hub.close_credentials(frozenset(("key",)))
        assert isinstance(await first.outcome(), UnrecognizedClientException)
        node.hub.close_channel(channel().arn)
        error = await second.outcome()
        assert isinstance(error, ResourceNotFoundException)
        assert error.message == "no master answered: the channel was deleted"
        assert await empty(node)


async def test_a_full_channel_takes_no_asker() -> None:
    (node,) = cluster()
    async with running(node), asyncio.TaskGroup() as group:
        for number in range(10):
            await node.viewer(f"v{number}")
        error = await Asked(group, node).outcome()
        assert isinstance(error, ClientLimitExceededException)
        assert error.limit is not None
        assert error.limit.name == "viewers_per_channel"


async def test_a_refused_offer_is_told() -> None:
    (node,) = cluster(Limits(payload_characters=4))
    async with running(node), asyncio.TaskGroup() as group:
        error = await Asked(group, node).outcome()
        assert isinstance(error, InvalidArgumentException)
        assert "payload_characters is 4" in error.message


async def test_an_answer_to_an_earlier_asker_is_not_taken_for_its_own() -> None:
    (node,) = cluster()
    async with running(node), asyncio.TaskGroup() as group:
        master, at_master = await node.master()
        first = Asked(group, node)
        await at_master.wait_for(1)
        first.left.set()
        await first.outcome()
        node.say(master, "bGF0ZQ==", "SDP_ANSWER", recipientClientId="echo")
        await node.settle()
        second = Asked(group, node)
        await at_master.wait_for(2)
        assert not second.task.done()
        node.say(master, ANSWER, "SDP_ANSWER", recipientClientId="echo")
        assert await second.outcome() == ANSWER
