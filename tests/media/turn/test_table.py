"""The table of allocations and the order of their ends."""

import math

import msgspec

from media.turn.address import IPV4, IPV6, SocketAddress
from media.turn.allocation import Allocation, Relayed
from media.turn.table import Table
from tests.media.turn.test_allocation import allocation

V6_ADDRESS: SocketAddress = ("2600::7", 50000, 0, 0)


def of(number: int, end: float) -> Allocation:
    relayed = Relayed(number, IPV4, 50000 + number, ("198.51.100.7", 50000 + number), end)
    return msgspec.structs.replace(allocation(), client=(number, ("203.0.113.5", 1)), relayed=(relayed,))


def test_allocation_is_found_by_its_three_keys_until_removed() -> None:
    table, subject = Table(), allocation()
    table.add(subject)
    relayed = subject.relayed[0]
    assert table.by_client[subject.client] is table.by_relay[1]
    assert table.by_relayed_address[relayed.address] == 1
    assert len(table) == 1
    table.remove(subject, relayed)
    assert not table.by_client
    assert not table.by_relay
    assert not table.by_relayed_address


def test_dual_allocation_is_one_until_its_last_relayed_address_is_removed() -> None:
    table = Table()
    four, six = Relayed(1, IPV4, 50000, ("198.51.100.7", 50000), 600.0), Relayed(2, IPV6, 50000, V6_ADDRESS, 700.0)
    subject = msgspec.structs.replace(allocation(), relayed=(four, six))
    table.add(subject)
    assert table.by_relay == {1: subject, 2: subject}
    assert (subject.of_relay(1), subject.of_relay(2)) == (four, six)
    assert table.ended(600.0) == [(subject, four)]
    table.remove(subject, four)
    assert table.by_relayed_address == {V6_ADDRESS: 2}
    assert subject.relayed == (six,)
    assert len(table) == 1
    assert table.ended(700.0) == [(subject, six)]
    table.remove(subject, six)
    assert len(table) == 0


def test_ended_ones_come_when_their_time_is_over_and_refreshed_ones_later() -> None:
    table = Table()
    subjects = [of(number, end) for number, end in ((1, 600.0), (2, 700.0), (3, 800.0))]
    for subject in subjects:
        table.add(subject)
    assert table.next_end() == 600
    assert table.ended(599.0) == []
    subjects[0].relayed[0].expires_at = 900.0
    assert table.ended(700.0) == [(subjects[1], subjects[1].relayed[0])]
    table.remove(subjects[2], subjects[2].relayed[0])
    assert table.ended(899.0) == []
    assert table.ended(900.0) == [(subjects[0], subjects[0].relayed[0])]
    assert table.next_end() == math.inf


def test_allocation_that_is_shortened_ends_at_its_new_time() -> None:
    table, subject = Table(), allocation()
    table.add(subject)
    for _ in range(100):
        for expires_at in (3600.0, 600.0):
            subject.relayed[0].expires_at = expires_at
            table.moved(subject)
    assert len(table._ends) == 1
    assert table.next_end() == 600.0
    assert table.ended(599.0) == []
    assert table.ended(600.0) == [(subject, subject.relayed[0])]


def test_allocation_that_was_long_is_shortened_once_and_lengthened_again() -> None:
    table, subject = Table(), of(1, 3600.0)
    table.add(subject)
    relayed = subject.relayed[0]
    for expires_at in (700.0, 600.0, 3600.0):
        relayed.expires_at = expires_at
        table.moved(subject)
    assert [table.ended(now) for now in (600.0, 700.0, 3599.0)] == [[], [], []]
    assert table.ended(3600.0) == [(subject, relayed)]
    table.remove(subject, relayed)
    assert table.next_end() == math.inf


def test_order_of_ends_does_not_grow_with_allocations_that_come_and_go() -> None:
    table, kept = Table(), of(1, 5000.0)
    table.add(kept)
    for number in range(2, 5000):
        subject = of(number, 3600.0 + number)
        table.add(subject)
        table.remove(subject, subject.relayed[0])
    assert len(table._ends) < 1100
    assert table.ended(5000.0) == [(kept, kept.relayed[0])]


def test_order_of_ends_does_not_grow_with_lifetimes_that_shrink() -> None:
    table, subject = Table(), of(1, 9000.0)
    table.add(subject)
    for end in range(8999, 4000, -1):
        subject.relayed[0].expires_at = float(end)
        table.moved(subject)
    assert len(table._ends) < 1100
    assert table.ended(4000.0) == []
    assert table.ended(4001.0) == [(subject, subject.relayed[0])]
