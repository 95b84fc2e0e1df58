"""How messages find the one client behind a door."""

import pytest

from media.relay.doors import FIRST_DOOR, Doors
from media.turn.effects import TurnStats


class NotedDoor:
    transport = "tls"

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.is_closed = False

    def send(self, head: bytes, data: bytes | memoryview) -> None:
        self.sent.append(head + data)

    def close(self) -> None:
        self.is_closed = True


def test_numbers_are_far_from_those_of_listeners_and_never_used_again() -> None:
    doors = Doors(TurnStats())
    first = doors.open(NotedDoor())
    doors.close(first)
    assert (first, doors.open(NotedDoor())) == (FIRST_DOOR, FIRST_DOOR + 1)
    assert len(doors) == 1


def test_message_goes_through_its_door_and_is_lost_and_counted_when_that_closed() -> None:
    stats = TurnStats()
    doors, door = Doors(stats), NotedDoor()
    number = doors.open(door)
    assert doors.get(number) is door
    doors.send(number, b"head", memoryview(b"data"))
    doors.close(number)
    doors.close(number)
    doors.send(number, b"", b"late")
    assert (door.sent, doors.get(number), stats.dropped) == ([b"headdata"], None, {"door-closed": 1})


def test_transport_is_that_of_the_door_while_it_is_open() -> None:
    doors = Doors(TurnStats())
    number = doors.open(NotedDoor())
    assert doors.transport(number) == "tls"
    doors.close(number)
    assert doors.transport(number) == ""


def test_flush_calls_each_that_waits_once_and_those_that_come_meanwhile() -> None:
    doors = Doors(TurnStats())
    calls: list[str] = []

    def first() -> None:
        calls.append("first")
        doors.at_flush(lambda: calls.append("second"))

    doors.at_flush(first)
    doors.flush()
    doors.flush()
    assert calls == ["first", "second"]


def test_all_doors_are_closed_at_the_end_and_nothing_is_flushed_into_them() -> None:
    doors, door = Doors(TurnStats()), NotedDoor()
    doors.open(door)
    doors.at_flush(lambda: door.send(b"", b"late"))
    doors.close_all()
    doors.flush()
    assert (door.is_closed, door.sent, len(doors)) == (True, [], 0)


def test_fault_in_one_leaves_the_others_for_the_next_flush() -> None:
    doors = Doors(TurnStats())
    calls: list[str] = []

    def faulty() -> None:
        raise RuntimeError("told so")

    doors.at_flush(faulty)
    doors.at_flush(lambda: calls.append("other"))
    with pytest.raises(RuntimeError, match="told so"):
        doors.flush()
    doors.flush()
    assert calls == ["other"]
