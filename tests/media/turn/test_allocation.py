"""Permissions and channel binds of one allocation, one second either side of each timer."""

import pytest

from media.turn.address import IPV4
from media.turn.allocation import Allocation, Relayed
from media.turn.credential import Account
from media.turn.policy import Rate
from media.turn.usage import Usage

PEER = ("8.8.8.8", 5000)
OTHER = ("8.8.8.8", 5001)


def allocation(most_entries: int = 256) -> Allocation:
    return Allocation(
        client=(0, ("203.0.113.5", 40000)),
        relayed=(Relayed(1, IPV4, 50000, ("198.51.100.7", 50000), 600.0),),
        account=Account("user", b"key", b"", 1e9),
        reply=b"",
        usage=Usage(),
        upward=Rate(0),
        downward=Rate(0),
        most_entries=most_entries,
    )


def test_permission_lives_300_seconds_and_renews() -> None:
    subject = allocation()
    assert not subject.has_permission("8.8.8.8", 0.0)
    assert subject.permit(["8.8.8.8"], 0.0)
    assert subject.has_permission("8.8.8.8", 299.0)
    assert not subject.has_permission("8.8.8.8", 300.0)
    assert subject.permit(["8.8.8.8"], 299.0)
    assert subject.has_permission("8.8.8.8", 598.0)
    assert not subject.has_permission("9.9.9.9", 298.0)


def test_too_many_permissions_change_nothing_until_old_ones_have_ended() -> None:
    subject = allocation(most_entries=2)
    assert subject.permit(["1.1.1.1", "2.2.2.2"], 0.0)
    assert subject.permit(["1.1.1.1"], 10.0)
    assert not subject.permit(["2.2.2.2", "3.3.3.3"], 10.0)
    assert not subject.has_permission("2.2.2.2", 300.0)
    assert subject.permit(["3.3.3.3"], 300.0)
    assert set(subject.permissions or ()) == {"1.1.1.1", "3.3.3.3"}


def test_bind_gives_a_permission_of_300_and_lives_600_seconds() -> None:
    subject = allocation()
    assert subject.bind(0x4000, PEER, 0.0)
    assert subject.has_permission("8.8.8.8", 299.0)
    assert not subject.has_permission("8.8.8.8", 300.0)
    bind = subject.bind_of(0x4000)
    assert bind is not None
    assert bind.expires_at == 600.0
    assert subject.bind(0x4000, PEER, 500.0)
    assert bind.expires_at == 1100.0
    assert subject.bind_of(PEER) is subject.bind_of(0x4000) is bind


@pytest.mark.parametrize(("number", "peer_address"), [(0x4000, OTHER), (0x4001, PEER)])
def test_number_and_peer_stay_taken_until_5_minutes_after_the_end(number: int, peer_address: tuple[str, int]) -> None:
    subject = allocation()
    subject.bind(0x4000, PEER, 0.0)
    assert subject.can_bind(0x4000, PEER, 899.0)
    assert not subject.can_bind(number, peer_address, 899.0)
    assert subject.can_bind(number, peer_address, 900.0)
    assert not subject.binds


def test_cross_of_two_binds_is_refused() -> None:
    subject = allocation()
    subject.bind(0x4000, PEER, 0.0)
    subject.bind(0x4001, OTHER, 0.0)
    assert not subject.can_bind(0x4000, OTHER, 1.0)
    assert subject.can_bind(0x4002, ("8.8.8.8", 5002), 1.0)


def test_too_many_binds_are_refused_and_old_ones_renewed() -> None:
    subject = allocation(most_entries=1)
    assert subject.bind(0x4000, PEER, 0.0)
    assert not subject.bind(0x4001, OTHER, 0.0)
    assert subject.bind(0x4000, PEER, 1.0)


def test_bind_without_room_for_its_permission_is_refused() -> None:
    subject = allocation(most_entries=1)
    subject.permit(["9.9.9.9"], 0.0)
    assert not subject.bind(0x4000, PEER, 0.0)
    assert not subject.binds
