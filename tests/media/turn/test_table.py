"""The table of allocations and the order of their ends."""

import msgspec

from media.turn.table import Table
from tests.media.turn.test_allocation import allocation


def test_allocation_is_found_by_its_three_keys_until_removed() -> None:
    table, subject = Table(), allocation()
    table.add(subject)
    assert table.by_client[subject.client] is table.by_relay[1] is table.by_relayed_address[subject.relayed_address]
    assert len(table) == 1
    table.remove(subject)
    assert not table.by_client
    assert not table.by_relay
    assert not table.by_relayed_address


def test_ended_ones_come_when_their_time_is_over_and_refreshed_ones_later() -> None:
    table = Table()
    subjects = [
        msgspec.structs.replace(allocation(), relay=number, client=(number, ("203.0.113.5", 1)), expires_at=float(end))
        for number, end in ((1, 600), (2, 700), (3, 800))
    ]
    for subject in subjects:
        table.add(subject)
    assert table.next_end() == 600
    assert table.ended(599.0) == []
    subjects[0].expires_at = 900.0
    assert table.ended(700.0) == [subjects[1]]
    table.remove(subjects[2])
    assert table.ended(899.0) == []
    assert table.ended(900.0) == [subjects[0]]
    assert table.next_end() is None


def test_allocation_that_is_shortened_ends_at_its_new_time() -> None:
    table, subject = Table(), allocation()
    table.add(subject)
    for _ in range(100):
        for expires_at in (3600.0, 600.0):
            subject.expires_at = expires_at
            table.moved(subject)
    assert len(table._ends) == 1
    assert table.next_end() == 600.0
    assert table.ended(599.0) == []
    assert table.ended(600.0) == [subject]


def test_allocation_that_was_long_is_shortened_once_and_lengthened_again() -> None:
    table, subject = Table(), msgspec.structs.replace(allocation(), expires_at=3600.0)
    table.add(subject)
    for expires_at in (700.0, 600.0, 3600.0):
        subject.expires_at = expires_at
        table.moved(subject)
    assert [table.ended(now) for now in (600.0, 700.0, 3599.0)] == [[], [], []]
    assert table.ended(3600.0) == [subject]
    table.remove(subject)
    assert table.next_end() is None
