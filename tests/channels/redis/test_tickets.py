"""A ticket opens one connect, once, in time, whichever node gave it and whichever takes it."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from channels.auth.grant import Grant, Statement
from channels.auth.ticket import Ticket
from channels.errors import ClientLimitExceededException, ServiceUnavailableException, UnrecognizedClientException
from channels.names import ChannelArn, Role
from channels.redis.commands import Commands
from channels.redis.settings import RedisSettings
from channels.redis.tickets import RedisTickets
from tests.redis_link import patient_settings
from tests.redis_server import RedisServer

ARN = ChannelArn("aws", "us-west-2", "0" * 12, "door", 1)


def ticket(subject: str = "s") -> Ticket:
    statements = (Statement(("kinesisvideo:*",), ("*",), sid="a"),)
    return Ticket(Grant(subject, "0" * 12, statements, 9e9, "v-1", credential_ids=("jti",)), ARN, Role.VIEWER, "v-1")


@pytest.fixture
async def commands(redis_server: RedisServer) -> AsyncIterator[Commands]:
    made = Commands(patient_settings(redis_server.url))
    yield made
    await made.aclose()


async def redeemed(tickets: RedisTickets, text: str) -> bool:
    try:
        return await tickets.redeem(text) == ticket()
    except UnrecognizedClientException:
        return False


async def test_of_twenty_connects_at_two_nodes_one_gets_the_ticket(commands: Commands, redis_prefix: str) -> None:
    nodes = [RedisTickets(commands, redis_prefix) for _ in range(2)]
    text = await nodes[0].issue(ticket())
    assert len(text) == 43
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(redeemed(nodes[number % 2], text)) for number in range(20)]
    assert [task.result() for task in tasks].count(True) == 1
    stats = [node.stats for node in nodes]
    assert (stats[0].issued, sum(s.redeemed for s in stats), sum(s.unknown for s in stats)) == (1, 1, 19)


async def test_a_ticket_of_another_version_opens_nothing(commands: Commands, redis_prefix: str) -> None:
    tickets = RedisTickets(commands, redis_prefix)
    text = await tickets.issue(ticket())
    (key,) = await commands.command("KEYS", f"{redis_prefix}:ticket:*")
    await commands.command("SET", key, b"\x01")
    assert not await redeemed(tickets, text)
    assert tickets.stats.unknown == 1


async def test_a_ticket_ends_by_itself_and_its_text_is_nowhere(
    commands: Commands, redis_prefix: str, redis_server: RedisServer
) -> None:
    tickets = RedisTickets(commands, redis_prefix)
    text = await tickets.issue(ticket())
    names = redis_server.command("KEYS", f"{redis_prefix}:*")
    assert isinstance(names, list)
    assert len(names) == 2
    for name in names:
        assert isinstance(name, bytes)
        left_ms = redis_server.command("PTTL", name)
        assert isinstance(left_ms, int)
        assert 0 < left_ms <= 30_000
        assert text.encode() not in name + (redis_server.command("DUMP", name) or b"")  # type: ignore[operator]
        redis_server.command("PEXPIRE", name, 0)
    assert not await redeemed(tickets, text)


@pytest.mark.parametrize("text", ["", "x", "x" * 10_000_000, "é", "\ud800"], ids=lambda text: f"{len(text)}")
async def test_other_text_is_refused(commands: Commands, redis_prefix: str, text: str) -> None:
    with pytest.raises(UnrecognizedClientException):
        await RedisTickets(commands, redis_prefix).redeem(text)


async def test_one_subject_cannot_have_more_out_than_its_share(commands: Commands, redis_prefix: str) -> None:
    tickets = RedisTickets(commands, redis_prefix, subject_limit=2)
    held = [await tickets.issue(ticket("greedy")) for _ in range(2)]
    with pytest.raises(ClientLimitExceededException) as refused:
        await tickets.issue(ticket("greedy"))
    assert refused.value.limit is not None
    assert refused.value.limit.name == "tickets_per_subject"
    assert refused.value.limit.retry_after_s == pytest.approx(30.0, abs=5.0)
    assert await tickets.issue(ticket("other"))
    await tickets.redeem(held[0])
    assert await tickets.issue(ticket("greedy"))
    assert tickets.stats.refused == 1


async def test_a_server_that_is_away_is_no_verdict_on_a_ticket() -> None:
    commands = Commands(RedisSettings.parse("redis://127.0.0.1:1"))
    for call in (RedisTickets(commands).issue(ticket()), RedisTickets(commands).redeem("x" * 43)):
        with pytest.raises(ServiceUnavailableException, match="try again"):
            await call
