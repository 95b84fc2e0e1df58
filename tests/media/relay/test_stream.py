"""One client's TCP connection, on real sockets: messages both ways, and every way to end."""

import asyncio
import socket
import struct

import pytest

from media.relay.stream import Connection
from tests.media.relay.hallway import REPLY, REQUEST, Caller, channel, entrance

WHOLE = REQUEST + channel(b"12345") + channel(b"") + REQUEST
ANSWERS = REPLY + channel(b"12345") + channel(b"") + REPLY
MESSAGES = [REQUEST, channel(b"12345")[:9], channel(b""), REQUEST]


async def test_messages_come_whole_and_answers_are_padded() -> None:
    async with entrance() as entered:
        with Caller(entered) as caller:
            await caller.send(WHOLE)
            assert await caller.receive(len(ANSWERS)) == ANSWERS
            assert entered.relay.messages == MESSAGES
            assert (entered.stats.connections, entered.stats.connections_total) == ({"tcp": 1}, {"tcp": 1})
        await entered.empty()
        assert entered.stats.connections == {"tcp": 0}


@pytest.mark.parametrize("at", range(1, len(WHOLE), 3))
async def test_messages_that_are_cut_anywhere_give_the_same(at: int) -> None:
    async with entrance() as entered:
        with Caller(entered) as caller:
            await caller.send(WHOLE[:at])
            await entered.until(lambda: entered.stats.connections)
            await caller.send(WHOLE[at:])
            assert await caller.receive(len(ANSWERS)) == ANSWERS
            assert entered.relay.messages == MESSAGES


@pytest.mark.parametrize("first", [channel(b"data"), b"GET / HTTP/1.1\r\n\r\n", b"\x04", b"\xff"])
async def test_what_cannot_begin_a_stream_closes_it(first: bytes) -> None:
    async with entrance() as entered:
        with Caller(entered) as caller:
            await caller.send(first)
            assert await caller.is_closed()
        assert entered.stats.connections_refused == {"not-turn": 1}
        assert entered.relay.messages == []


async def test_tls_without_a_certificate_closes_the_stream() -> None:
    async with entrance() as entered:
        with Caller(entered) as caller:
            await caller.send(b"\x16\x03\x01")
            assert await caller.is_closed()
        assert entered.stats.connections_refused == {"no-certificate": 1}


async def test_stream_that_lost_its_way_is_closed_after_the_answers_to_what_came_before() -> None:
    async with entrance() as entered:
        with Caller(entered) as caller:
            await caller.send(REQUEST + channel(b"data") + b"POST")
            answers = REPLY + channel(b"data")
            assert await caller.receive(len(answers) + 1) == answers
        assert entered.stats.connections_refused == {"malformed": 1}
        assert len(entered.relay.left) == 1


async def test_stranger_must_not_begin_a_long_message_but_a_client_with_an_allocation_may() -> None:
    start = channel(bytes(60000))[:5000]
    async with entrance() as entered:
        with Caller(entered) as stranger:
            await stranger.send(REQUEST + start)
            assert await stranger.receive(100) == REPLY
        await entered.empty()
        with Caller(entered) as client:
            await client.allocates(entered)
            await client.send(start)
            await client.send(channel(bytes(60000))[5000:])
            assert await client.receive(60004) == channel(bytes(60000))
        assert entered.stats.connections_refused == {"malformed": 1}


async def test_client_that_goes_loses_its_door() -> None:
    async with entrance() as entered:
        with Caller(entered) as caller:
            await caller.asks()
            number = entered.number
        await entered.empty()
        entered.doors.send(number, b"", REPLY)
        assert (entered.relay.left, entered.stats.dropped) == ([number], {"door-closed": 1})


async def test_port_that_is_only_looked_at_is_counted_nowhere() -> None:
    async with entrance() as entered:
        with Caller(entered):
            await entered.until(lambda: entered.hall.connections)
        await entered.empty()
        assert entered.stats == type(entered.stats)()


async def test_reset_ends_the_connection() -> None:
    async with entrance() as entered:
        with Caller(entered) as caller:
            await caller.asks()
            number = entered.number
            caller.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await entered.empty()
        assert entered.relay.left == [number]


async def test_end_of_sending_ends_the_allocation_and_answers_under_way_arrive() -> None:
    async with entrance() as entered:
        with Caller(entered) as caller:
            await caller.send(WHOLE)
            caller.socket.shutdown(socket.SHUT_WR)
            assert await caller.receive(len(ANSWERS) + 1) == ANSWERS
        await entered.empty()
        assert len(entered.relay.left) == 1


MESSAGE = channel(bytes(4000))


async def slow(caller: Caller) -> None:
    """Send 400 messages that are echoed, and read nothing."""
    for _ in range(400):
        await caller.send(MESSAGE)


async def test_slow_reader_loses_packets_and_nobody_else_waits() -> None:
    async with entrance(write_buffer_bytes=100_000) as entered:
        with Caller(entered, 4096) as slow_one:
            number = await slow_one.allocates(entered)
            await slow(slow_one)
            await entered.until(lambda: len(entered.relay.messages) == 402)
            connection = entered.hall.connections[number]
            assert 90_000 < connection.unsent_bytes <= 100_000
            with Caller(entered) as other:
                await other.asks()
            echoes = (400 - entered.stats.dropped["write-buffer"]) * len(MESSAGE)
            assert len(await slow_one.receive(echoes)) == echoes
            await slow_one.send(MESSAGE)
            assert await slow_one.receive(len(MESSAGE)) == MESSAGE
            assert connection.unsent_bytes == 0
        assert entered.stats.connections_refused == {}


async def test_client_that_takes_no_reply_is_closed() -> None:
    async with entrance(write_buffer_bytes=4050) as entered:
        with Caller(entered, 4096) as caller:
            await caller.allocates(entered)
            await slow(caller)
            await caller.send(REQUEST * 300)
            await entered.empty()
        assert entered.stats.connections_refused == {"write-buffer": 1}


async def test_data_indication_is_a_packet_that_may_be_lost() -> None:
    async with entrance(write_buffer_bytes=0) as entered:
        with Caller(entered) as caller:
            await entered.until(lambda: entered.hall.connections)
            entered.doors.send(entered.number, b"\x00\x17\x00\x00" + REPLY[4:], b"")
            entered.doors.flush()
            assert entered.stats.dropped == {"write-buffer": 1}
            assert entered.number
            await caller.send(REQUEST)
            assert await caller.is_closed()


async def test_end_of_sending_waits_for_a_slow_reader() -> None:
    async with entrance() as entered:
        with Caller(entered, 4096) as caller:
            number = await caller.allocates(entered)
            await slow(caller)
            caller.socket.shutdown(socket.SHUT_WR)
            await entered.until(lambda: entered.relay.left)
            assert number in entered.hall.connections
            echoes = (400 - entered.stats.dropped["write-buffer"]) * len(MESSAGE)
            assert len(await caller.receive(echoes + 1)) == echoes
        await entered.empty()


async def test_slow_reader_that_vanishes_is_noticed() -> None:
    async with entrance() as entered:
        with Caller(entered, 4096) as caller:
            await caller.allocates(entered)
            await slow(caller)
            caller.socket.shutdown(socket.SHUT_WR)
            await entered.until(lambda: entered.relay.left)
            caller.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await entered.empty()


async def test_fault_of_ours_closes_the_one_connection() -> None:
    faults: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
    async with entrance() as entered:
        with Caller(entered) as unlucky, Caller(entered) as other:
            entered.relay.fault = RuntimeError("told so")
            await unlucky.send(REQUEST)
            assert await unlucky.is_closed()
            entered.relay.fault = None
            await other.asks()
    assert [str(fault["exception"]) for fault in faults] == ["told so"]


async def test_messages_to_a_client_that_reset_end_it() -> None:
    class Broken(socket.socket):
        def send(self, *_: object) -> int:
            raise BrokenPipeError

    ours, theirs = socket.socketpair()
    async with entrance() as entered:
        with theirs:
            broken = Broken(fileno=ours.detach())
            broken.setblocking(False)
            connection = Connection(entered.hall, broken, ("192.0.2.1", 1))
            connection.send(b"", REPLY)
            connection.send(b"", REPLY)
            entered.doors.flush()
            assert entered.relay.left == [connection.number]
            assert not entered.hall.connections
