"""How much of one client's stream is taken at a time, and how much of a stranger's in all."""

import asyncio
from pathlib import Path

import pytest

from media.relay.certificate import CertificatePair
from media.relay.stream import MOST_MESSAGES, MOST_OF_STRANGER_BYTES, MOST_STRANGER_MESSAGES
from media.turn.address import SocketAddress
from tests import certificates
from tests.media.relay.hallway import REPLY, REQUEST, Caller, TlsCaller, channel, entrance

ALL_THAT_MAY_BE_ASKED = MOST_OF_STRANGER_BYTES // len(REQUEST)


async def most_in_a_turn(messages: list[bytes], count: int) -> int:
    """Let the loop turn until so many messages have come; return the most that came in one turn."""
    most = before = 0
    while before < count:
        await asyncio.sleep(0)
        most, before = max(most, len(messages) - before), len(messages)
    return most


@pytest.mark.parametrize("is_tls", [False, True])
async def test_small_messages_of_one_client_leave_turns_to_the_others(tmp_path: Path, is_tls: bool) -> None:
    files = certificates.made(tmp_path)
    tls = certificates.tls_context(CertificatePair(files.pair.certificate, files.pair.key))
    async with entrance(tls, write_buffer_bytes=1 << 20) as entered:
        caller = TlsCaller(entered, certificates.trusting(files.ca)) if is_tls else Caller(entered)
        with caller:
            if isinstance(caller, TlsCaller):
                await caller.shake_hands()
            await caller.allocates(entered)
            entered.relay.messages.clear()
            sent = [channel(count.to_bytes(4)) for count in range(5000)]
            async with asyncio.TaskGroup() as group:
                group.create_task(caller.send(b"".join(sent) + REQUEST[:10]))
                assert await most_in_a_turn(entered.relay.messages, len(sent)) <= MOST_MESSAGES
            assert entered.relay.messages == sent
            await caller.send(REQUEST[10:])
            await most_in_a_turn(entered.relay.messages, len(sent) + 1)
            assert entered.relay.messages[-1] == REQUEST


async def test_strangers_get_shorter_turns_since_there_may_be_many() -> None:
    async with entrance() as entered:
        with Caller(entered) as stranger:
            await stranger.send(REQUEST * 100)
            assert await most_in_a_turn(entered.relay.messages, 100) <= MOST_STRANGER_MESSAGES
            assert await stranger.receive(100 * len(REPLY)) == 100 * REPLY


async def test_stranger_that_says_too_much_is_closed() -> None:
    async with entrance() as entered:
        with Caller(entered) as client:
            await client.allocates(entered)
            with Caller(entered) as stranger:
                for _ in range(ALL_THAT_MAY_BE_ASKED):
                    await stranger.asks()
                await stranger.send(REQUEST)
                assert await stranger.receive(len(REPLY) + 1) == REPLY
            for _ in range(ALL_THAT_MAY_BE_ASKED):
                await client.asks()
            assert entered.stats.connections_refused == {"no-allocation": 1}
            await client.asks()


async def test_client_whose_allocation_ended_may_ask_for_another() -> None:
    async with entrance() as entered:
        with Caller(entered) as client:
            number = await client.allocates(entered)
            for _ in range(ALL_THAT_MAY_BE_ASKED + 1):
                await client.asks()
            entered.relay.allocated.remove(number)
            for _ in range(ALL_THAT_MAY_BE_ASKED):
                await client.asks()
            entered.relay.allocated.add(number)
            for _ in range(2):
                await client.asks()


async def test_nothing_is_asked_for_a_client_whose_connection_closed_meanwhile() -> None:
    async with entrance() as entered:

        def closing(number: int, message: memoryview, source: SocketAddress, now: float) -> None:
            entered.relay.messages.append(bytes(message))
            door = entered.doors.get(number)
            assert door is not None
            door.close()

        entered.relay.receive = closing  # type: ignore[method-assign]
        with Caller(entered) as caller:
            await caller.send(REQUEST + REQUEST)
            assert await caller.is_closed()
        assert entered.relay.messages == [REQUEST]
