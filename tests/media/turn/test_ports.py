"""Relay ports: order, pairs, reservations."""

import math

from media.turn.ports import RESERVATION_S, Ports

SEED = b"seed"
OWNER = b"owner"


def test_every_port_is_handed_out_once_in_an_order_of_the_seed() -> None:
    ports, again, other = Ports(100, 149, SEED), Ports(100, 149, SEED), Ports(100, 149, b"other")
    order = [ports.take() for _ in range(50)]
    assert sorted(order) == list(range(100, 150))  # type: ignore[type-var]
    assert order == [again.take() for _ in range(50)]
    assert order != [other.take() for _ in range(50)]
    assert ports.take() is None


def test_freed_port_comes_back_last() -> None:
    ports = Ports(100, 103, SEED)
    first = ports.take()
    assert first is not None
    ports.give_back(first)
    assert [ports.take() for _ in range(4)][-1] == first


def test_even_ports_run_out_before_the_odd_ones() -> None:
    ports = Ports(100, 104, SEED)
    taken = {ports.take_even(with_next=False) for _ in range(3)}
    assert taken == {100, 102, 104}
    assert ports.take_even(with_next=False) is None
    assert ports.free_count == 2


def test_pair_needs_a_free_neighbour() -> None:
    ports = Ports(100, 102, SEED)
    assert ports.take_even(with_next=True) == 100
    assert ports.take_even(with_next=True) is None
    assert ports.take_even(with_next=False) == 102


def test_reservation_is_redeemed_once_by_its_owner() -> None:
    ports = Ports(100, 101, SEED)
    assert ports.take_even(with_next=True) == 100
    token = ports.reserve(101, 1, OWNER, now=0.0)
    assert token is not None
    assert len(token) == 8
    assert ports.take() is None
    assert ports.redeem(token, b"another", now=1.0) is None
    reservation = ports.redeem(token, OWNER, now=1.0)
    assert reservation is not None
    assert (reservation.port, reservation.family) == (101, 1)
    assert ports.redeem(token, OWNER, now=1.0) is None


def test_reservation_ends_after_30_seconds() -> None:
    ports = Ports(101, 101, SEED)
    token = ports.reserve(101, 1, OWNER, now=0.0)
    assert token is not None
    assert ports.next_deadline() == RESERVATION_S
    ports.expire(29.0)
    assert ports.take() is None
    assert ports.redeem(token, OWNER, now=30.0) is None
    ports.expire(30.0)
    assert ports.take() == 101
    assert ports.next_deadline() == math.inf


def test_taken_port_cannot_be_reserved() -> None:
    ports = Ports(100, 100, SEED)
    ports.take()
    assert ports.reserve(100, 1, OWNER, now=0.0) is None


def test_cancelled_reservation_frees_its_port() -> None:
    ports = Ports(100, 100, SEED)
    token = ports.reserve(100, 1, OWNER, now=0.0)
    assert token is not None
    ports.cancel(token)
    assert ports.take() == 100


def test_token_names_the_worker_that_made_it() -> None:
    ours, theirs = Ports(100, 101, SEED, worker=3), Ports(100, 101, SEED, worker=260)
    token = ours.reserve(100, 1, OWNER, now=0.0)
    assert token is not None
    assert token[0] == 3
    assert not ours.is_foreign(token)
    assert theirs.is_foreign(token)


def test_pairs_are_whole_again_when_both_ports_are_back() -> None:
    ports = Ports(100, 103, SEED)
    taken = [ports.take() for _ in range(4)]
    for port in (101, 102):
        assert port in taken
        ports.give_back(port)
    assert ports.take_even(with_next=True) is None
    for port in (103, 100):
        ports.give_back(port)
    assert ports.take_even(with_next=True) == 102
    assert ports.take_even(with_next=True) == 100
    assert sorted([ports.take(), ports.take()], key=str) == [101, 103]


def test_reserved_ports_are_counted_per_owner_until_redeemed_ended_or_cancelled() -> None:
    ports = Ports(100, 105, SEED)
    tokens = [ports.reserve(port, 1, OWNER, now=float(port)) for port in (100, 101, 102)]
    assert ports.reserved(OWNER) == 3
    assert ports.reserved(b"another") == 0
    for token in tokens[:2]:
        assert token is not None
    assert tokens[0] is not None
    assert tokens[1] is not None
    ports.redeem(tokens[0], OWNER, now=103.0)
    ports.cancel(tokens[1])
    ports.cancel(tokens[1])
    assert ports.reserved(OWNER) == 1
    ports.expire(132.0)
    assert ports.reserved(OWNER) == 0
    assert ports.free_count == 5
