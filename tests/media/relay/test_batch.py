"""Receives of many datagrams: both ways find the same, whatever the socket holds."""

import errno
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from media.relay import batch
from media.relay.batch import Batch, ManyAtOnce, ManyPosts, Posts, best_batch, best_posts
from media.relay.udp import open_socket
from media.turn.address import SocketAddress
from media.turn.policy import Rate
from media.turn.routes import DownRoute
from media.turn.slots import HEADROOM, Slots

BATCHES = [Batch, ManyAtOnce]
SIZES = (0, 1, 172, 1200, 1200, 9000, 65507)


@pytest.fixture(params=["127.0.0.1", "::1"])
def sockets(request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, list[socket.socket]]]:
    with ExitStack() as stack:
        made = [stack.enter_context(open_socket(request.param, 0)) for _ in range(4)]
        yield made[0], made[1:]


@pytest.mark.parametrize("kind", BATCHES)
@pytest.mark.parametrize("offset", [0, HEADROOM])
def test_datagrams_lie_in_their_slots_with_length_and_source(
    kind: type[Batch], offset: int, sockets: tuple[socket.socket, list[socket.socket]]
) -> None:
    receiver, senders = sockets
    slots = Slots(8)
    found = kind(slots, offset)
    for _ in range(2):
        for count, size in enumerate(SIZES):
            senders[count % 3].sendto(bytes((count,)) * size, receiver.getsockname())
        assert found.receive(receiver) == len(SIZES)
        assert list(found.lengths) == list(SIZES)
        for count, size in enumerate(SIZES):
            assert slots.views[count][offset : offset + size] == bytes((count,)) * size
            assert found.address(count) == senders[count % 3].getsockname()
            assert found.sources[count] == found.sources[count % 3]
        assert len(set(found.sources)) == 3
    assert found.receive(receiver) == 0
    assert found.errors == 0


@pytest.mark.parametrize("kind", BATCHES)
def test_error_that_comes_again_and_again_is_not_waited_for(kind: type[Batch]) -> None:
    found = kind(Slots(4), 0)
    closed = open_socket("127.0.0.1", 0)
    closed.close()
    assert found.receive(closed) == 0
    assert (list(found.lengths), list(found.sources)) == ([], [])
    assert found.errors > 1


@pytest.mark.parametrize("kind", BATCHES)
def test_no_more_is_taken_than_there_are_slots(
    kind: type[Batch], sockets: tuple[socket.socket, list[socket.socket]]
) -> None:
    receiver, senders = sockets
    found = kind(Slots(4), 0)
    for count in range(9):
        senders[0].sendto(bytes(count), receiver.getsockname())
    taken = []
    while found.receive(receiver):
        taken.append(list(found.lengths))
    assert taken == [[0, 1, 2, 3], [4, 5, 6, 7], [8]]


@pytest.mark.parametrize("kind", BATCHES)
def test_answers_go_to_their_sources_from_their_slots(
    kind: type[Batch], sockets: tuple[socket.socket, list[socket.socket]]
) -> None:
    receiver, senders = sockets
    slots = Slots(4)
    found = kind(slots, 0)
    for count, sender in enumerate(senders):
        sender.sendto(b"%d0123456789" % count, receiver.getsockname())
    assert found.receive(receiver) == 3
    assert found.send_back(receiver, [(2, 5), (0, 3), (2, 0)]) == 0
    assert senders[0].recv(100) == b"001"
    assert [senders[2].recv(100) for _ in range(2)] == [b"20123", b""]
    with pytest.raises(BlockingIOError):
        senders[1].recv(100)


@pytest.mark.parametrize("kind", BATCHES)
def test_answer_that_cannot_be_sent_is_lost_and_no_other(kind: type[Batch]) -> None:
    with open_socket("127.0.0.1", 0) as receiver, open_socket("127.0.0.1", 0) as sender:
        found = kind(Slots(3), 0)
        for _ in range(3):
            sender.sendto(b"x", receiver.getsockname())
        assert found.receive(receiver) == 3
        assert found.send_back(receiver, [(0, 1), (1, 65530), (2, 2)]) == 1
        assert [len(sender.recv(100)) for _ in range(2)] == [1, 2]


@pytest.mark.parametrize("kind", BATCHES)
def test_refusals_that_icmp_reports_are_counted_and_what_waits_behind_them_is_taken(kind: type[Batch]) -> None:
    with ExitStack() as stack:
        connected, gone = (stack.enter_context(open_socket("127.0.0.1", 0)) for _ in range(2))
        there = stack.enter_context(open_socket("127.0.0.1", 0))
        connected.connect(gone.getsockname())
        gone.close()
        connected.send(b"refused")
        found = kind(Slots(4), 0)
        assert found.receive(connected) == 0
        assert found.errors == 1
        connected.connect(there.getsockname())
        there.sendto(b"data", connected.getsockname())
        assert found.receive(connected) == 1


def test_error_between_datagrams_costs_none_of_them() -> None:
    class Handle:
        script: list[object] = [(3, "a"), OSError(errno.ECONNREFUSED, "told so"), (4, "b"), BlockingIOError()]

        def recvfrom_into(self, _: memoryview) -> object:
            step = self.script.pop(0)
            if isinstance(step, OSError):
                raise step
            return step

    found = Batch(Slots(4), 0)
    assert found.receive(Handle()) == 2  # type: ignore[arg-type]
    assert (found.lengths, found.sources, found.errors) == ([3, 4], ["a", "b"], 1)


def test_the_quick_way_is_taken_where_it_works(monkeypatch: pytest.MonkeyPatch) -> None:
    assert type(best_batch(Slots(4), 0)) is ManyAtOnce
    assert type(best_posts(Slots(4))) is ManyPosts
    monkeypatch.setattr(batch._Message, "length", batch._Head.flags)
    assert type(best_batch(Slots(4), 0)) is Batch
    assert type(best_posts(Slots(4))) is Posts
    monkeypatch.undo()
    monkeypatch.setattr(batch, "_POINTER_BYTES", 4)
    assert type(best_batch(Slots(4), 0)) is Batch
    monkeypatch.undo()
    monkeypatch.setattr(batch.ctypes, "PyDLL", lambda *_, **__: object())
    assert type(best_batch(Slots(4), 0)) is Batch


def route_to(client_address: SocketAddress) -> DownRoute:
    return DownRoute((0, client_address), 0x4000, b"", Rate(0), 1.0)


@pytest.mark.parametrize("kind", [Posts, ManyPosts])
def test_posts_go_to_their_clients_in_order_and_one_that_fails_costs_no_other(
    kind: type[Posts], sockets: tuple[socket.socket, list[socket.socket]]
) -> None:
    sender, clients = sockets
    slots = Slots(8)
    posts = kind(slots)
    routes = [route_to(client.getsockname()) for client in clients]
    for turn in range(2):
        for index, (who, length) in enumerate(((0, 3), (1, 66000), (1, 4), (2, 0), (0, 1200), (2, 66000))):
            slots.views[index][36 : 36 + length] = bytes((turn * 16 + index,)) * length
            posts.add(index, 36, length, routes[who])
        assert posts.count == 6
        assert posts.send(sender) == 2
        assert posts.count == 0
        base = turn * 16
        assert [clients[0].recv(2000) for _ in range(2)] == [bytes((base,)) * 3, bytes((base + 4,)) * 1200]
        assert clients[1].recv(2000) == bytes((base + 2,)) * 4
        assert clients[2].recv(2000) == b""
    assert posts.send(sender) == 0
