"""The bounded queue in which the newest wins."""

import threading

from media.encoders.inbox import Inbox


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
    thread.join(5)
    assert got == [7]


def test_close_wakes_who_waits_and_refuses_what_comes() -> None:
    inbox: Inbox[int] = Inbox(1)
    thread = threading.Thread(target=lambda: inbox.take(10))
    thread.start()
    inbox.close()
    thread.join(5)
    assert not thread.is_alive()
    assert inbox.put(1) == 1
    assert inbox.take(10) is None
