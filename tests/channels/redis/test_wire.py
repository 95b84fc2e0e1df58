"""A connection to Redis without one: what is written when, whose each answer is, what becomes of what waits."""

import asyncio
from typing import Any

import pytest

from channels.redis.wire import Post, RefusedError, Wire, WireStats
from tests.redis_link import until


class Network(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.is_aborted = False
        self.is_read = True

    def pause_reading(self) -> None:
        self.is_read = False

    def resume_reading(self) -> None:
        self.is_read = True

    def is_closing(self) -> bool:
        return self.is_aborted

    def write(self, data: Any) -> None:
        self.written.append(bytes(data))

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def abort(self) -> None:
        self.is_aborted = True


class Owner:
    """Who opened the wire: keeps what it is told."""

    def __init__(self) -> None:
        self.stats = WireStats()
        self.messages: list[tuple[bytes, bytes]] = []
        self.nobody: list[Post] = []
        self.ends = 0

    def received(self, topic: bytes, payload: bytes) -> None:
        self.messages.append((topic, payload))

    def unheard(self, post: Post) -> None:
        self.nobody.append(post)

    def ended(self) -> None:
        self.ends += 1


class Rig:
    """A wire between the two."""

    def __init__(self, waiting_limit: int = 10, bytes_limit: int = 100) -> None:
        self.owner, self.network = Owner(), Network()
        self.wire = Wire(self.owner, waiting_limit, bytes_limit)
        self.wire.connection_made(self.network)

    def post(self, number: int) -> bool:
        return self.wire.post([b"[%d]" % number], [("topic", b"%d" % number)])


async def turn() -> None:
    await asyncio.sleep(0)


async def test_a_post_leaves_at_once_and_what_is_awaited_with_all_that_follows_in_the_same_turn() -> None:
    rig = Rig()

    rig.post(1)
    assert rig.network.written == [b"[1]"]
    rig.wire.send(b"[2]")
    rig.post(3)
    rig.wire.send(b"[4]")
    await turn()
    assert rig.wire.post([b"[5]", b"[6]"], [("topic", b"5"), ("other", b"6")])

    assert rig.network.written == [b"[1]", b"[2][3][4]", b"[5][6]"]


async def test_answers_belong_to_commands_in_their_order_with_messages_between() -> None:
    rig = Rig()
    first, second = rig.wire.send(b"a"), rig.wire.send(b"b")

    stream = b"*3\r\n$7\r\nmessage\r\n$1\r\nt\r\n$2\r\nhi\r\n+OK\r\n*3\r\n$9\r\nsubscribe\r\n$1\r\nt\r\n:1\r\n"
    for index in range(len(stream)):
        rig.wire.data_received(stream[index : index + 1])

    assert rig.owner.messages == [(b"t", b"hi")]
    assert (first.result(), second.result()) == (b"OK", [b"subscribe", b"t", 1])


async def test_an_answer_that_nobody_waits_for_any_more_takes_its_place() -> None:
    rig = Rig()
    first, second = rig.wire.send(b"a"), rig.wire.send(b"b")
    first.cancel()

    rig.wire.data_received(b":1\r\n:2\r\n")

    assert second.result() == 2


async def test_a_post_that_nobody_subscribed_to_or_that_is_refused_is_named() -> None:
    rig = Rig()
    for number in range(3):
        rig.post(number)

    rig.wire.data_received(b":0\r\n:1\r\n-NOPERM no\r\n")

    assert rig.owner.nobody == [("topic", b"0"), ("topic", b"2")]
    assert (rig.owner.stats.posts_unheard, rig.owner.stats.posts_refused) == (1, 1)
    assert not rig.network.is_aborted


async def test_when_it_is_lost_what_was_sent_is_in_doubt_and_the_rest_is_named() -> None:
    rig = Rig()
    rig.post(1)
    sent = rig.wire.send(b"a")
    await turn()
    rig.wire.pause_writing()
    rig.wire.post([b"[2]", b"[3]"], [("topic", b"2"), ("topic", b"3")])
    unsent = rig.wire.send(b"b")

    rig.wire.connection_lost(None)

    assert rig.owner.nobody == [("topic", b"2"), ("topic", b"3")]
    assert (rig.owner.stats.posts_in_doubt, rig.owner.stats.posts_unsent) == (1, 2)
    for reply in (sent, unsent, rig.wire.send(b"c")):
        with pytest.raises(ConnectionError):
            await reply
    assert rig.owner.ends == 1
    assert not rig.wire.has_room
    await turn()
    assert rig.network.written == [b"[1]", b"a"]


async def test_answers_that_nobody_awaits_are_read_later_and_others_at_once() -> None:
    rig = Rig()
    rig.post(1)
    assert not rig.network.is_read
    reply = rig.wire.send(b"a")
    assert rig.network.is_read
    rig.post(2)
    assert rig.network.is_read

    rig.wire.data_received(b":1\r\n+OK\r\n:1\r\n")
    assert reply.result() == b"OK"
    rig.post(3)
    assert not rig.network.is_read

    await until(lambda: rig.network.is_read)


async def test_a_connection_that_ends_takes_nothing() -> None:
    rig = Rig()
    rig.post(1)

    rig.wire.abort()

    assert not rig.wire.has_room
    assert not rig.post(2)
    with pytest.raises(ConnectionError):
        await rig.wire.send(b"a")
    assert rig.network.written == [b"[1]"]


async def test_there_is_room_for_so_many_answers() -> None:
    rig = Rig(waiting_limit=2)
    rig.post(1)
    assert rig.wire.has_room
    assert rig.post(2)
    assert not rig.wire.has_room
    assert not rig.post(3)

    rig.wire.data_received(b":1\r\n")

    assert rig.wire.has_room
    assert rig.network.written == [b"[1]", b"[2]"]


async def test_a_network_that_takes_no_more_gets_no_more_and_there_is_room_for_so_many_bytes() -> None:
    rig = Rig(bytes_limit=6)
    rig.wire.pause_writing()
    rig.post(1)
    await turn()
    assert rig.wire.has_room
    rig.post(2)
    assert not rig.wire.has_room
    assert rig.network.written == []

    rig.wire.resume_writing()

    assert rig.network.written == [b"[1][2]"]
    assert rig.wire.has_room


@pytest.mark.parametrize("word", ["MOVED 1 h:1", "READONLY You can't", "CLUSTERDOWN no"])
async def test_a_server_that_is_the_wrong_one_is_left(word: str) -> None:
    rig = Rig()
    reply = rig.wire.send(b"a")

    rig.wire.data_received(f"-{word}\r\n".encode())

    with pytest.raises(RefusedError, match=word.split(" ")[0]):
        await reply
    assert rig.network.is_aborted


@pytest.mark.parametrize("stream", [b"HTTP/1.1 400\r\n", b"+OK\r\n"])
async def test_what_makes_no_sense_ends_it(stream: bytes) -> None:
    rig = Rig()

    rig.wire.data_received(stream)

    assert rig.network.is_aborted
