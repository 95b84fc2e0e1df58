"""The bounded queue in which the newest wins."""

import threading

from media.encoders.encoder import AccessUnit
from media.encoders.inbox import Inbox, UnitInbox


def test_slot_keeps_only_the_newest() -> None:
    inbox: Inbox[int] = Inbox(1)
    assert [inbox.put(number) for number in range(3)] == [0, 1, 1]
    assert inbox.take(0) == 2
    assert inbox.take(0) is None


def test_order_is_kept_and_the_oldest_goes_first_when_full() -> None:
    inbox: Inbox[int] = Inbox(3)
    lost = sum(inbox.put(number) for number in range(5))
    assert lost == 2
    assert [inbox.take(0) for _ in range(4)] == [2, 3, 4, None]


def test_waiting_thread_gets_what_is_put() -> None:
    inbox: Inbox[int] = Inbox(1)
    got: list[int | None] = []
    thread = threading.Thread(target=lambda: got.append(inbox.take(10)))
    thread.start()
    inbox.put(7)
    thread.join(15)
    assert got == [7]


def test_close_wakes_who_waits_and_refuses_what_comes() -> None:
    inbox: Inbox[int] = Inbox(1)
    thread = threading.Thread(target=lambda: inbox.take(10))
    thread.start()
    inbox.close()
    thread.join(15)
    assert not thread.is_alive()
    assert inbox.put(1) == 1
    assert inbox.take(10) is None


def unit(number: int, is_key: bool = False) -> AccessUnit:
    return AccessUnit(b"", number, is_key, 0.0)


def test_decoder_gets_nothing_before_a_key_frame() -> None:
    inbox = UnitInbox(4)
    assert [inbox.put(unit(number, number == 1)) for number in range(3)] == [1, 0, 0]
    assert [taken.timestamp for taken in iter(lambda: inbox.take(0), None)] == [1, 2]


def test_full_queue_of_units_is_given_up_to_the_next_key_frame() -> None:
    inbox = UnitInbox(2)
    lost = [inbox.put(unit(number, number in (0, 4))) for number in range(6)]
    assert lost == [0, 0, 3, 1, 0, 0]
    assert [taken.timestamp for taken in iter(lambda: inbox.take(0), None)] == [4, 5]
    for number in range(2):
        inbox.put(unit(number))
    assert inbox.put(unit(9, True)) == 2, "a key frame replaces what waits"
    assert [taken.timestamp for taken in iter(lambda: inbox.take(0), None)] == [9]
    inbox.close()
    assert inbox.put(unit(10)) == 1
