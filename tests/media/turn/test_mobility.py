"""Allocations that move with their client: tickets, who may use them, what stays behind."""

import pytest

from media.turn import stun
from media.turn.mobility import Tickets
from tests.media.turn.test_allocation import allocation
from tests.media.turn.world import UDP, Caller, World, code_of, with_rules

WANTED = (stun.MOBILITY_TICKET, b"")
DUAL = (stun.ADDITIONAL_ADDRESS_FAMILY, bytes((2, 0, 0, 0)))


def mobile_world(**changes: object) -> World:
    return with_rules(has_mobility=True, **changes)


def mobile(world: World, port: int = 40000, **more: str) -> tuple[Caller, bytes]:
    caller = Caller(world, port=port, **more)  # type: ignore[arg-type]
    reply = caller.allocate([WANTED])
    assert code_of(reply) == 0
    ticket = reply.first(stun.MOBILITY_TICKET)
    assert ticket is not None
    return caller, ticket


def arrive(world: World, ticket: bytes, host: str = "203.0.113.99", **more: str) -> tuple[Caller, stun.Message]:
    caller = Caller(world, host=host, **more)  # type: ignore[arg-type]
    caller.challenge()
    return caller, caller.send(stun.REFRESH, [(stun.MOBILITY_TICKET, ticket)])


def test_tickets_are_all_different_and_each_finds_its_allocation_until_the_next() -> None:
    tickets, one, two = Tickets(bytes(32)), allocation(), allocation()
    first, second, third = (tickets.make() for _ in range(3))
    assert len({first, second, third}) == 3
    assert all(0 < len(each) <= 32 and 0 not in each for each in (first, second, third))
    tickets.give(one, first)
    tickets.give(two, second)
    assert tickets.find(first) is one
    tickets.give(one, third)
    assert (tickets.find(first), tickets.find(third), len(tickets)) == (None, one, 2)
    tickets.forget(one)
    tickets.forget(one)
    assert (tickets.find(third), tickets.find(second)) == (None, two)


def test_allocation_moves_with_its_permissions_and_binds_and_the_old_address_has_nothing() -> None:
    world = mobile_world()
    old, ticket = mobile(world)
    relay = old.relay
    old.permit("9.9.9.9")
    old.bind(0x4000, ("8.8.8.8", 1))
    new, reply = arrive(world, ticket)
    assert code_of(reply) == 0
    assert reply.first(stun.LIFETIME) == (600).to_bytes(4)
    assert reply.first(stun.MOBILITY_TICKET) not in (None, b"", ticket)
    new.channel_data(0x4000, b"x")
    new.indicate(b"y", ("9.9.9.9", 2))
    old.channel_data(0x4000, b"late")
    assert [(each, data) for each, _, data in world.to_peers] == [(relay, b"x"), (relay, b"y")]
    world.from_peer(relay, b"z", ("8.8.8.8", 1))
    assert world.to_clients[-1] == (new.source, b"\x40\x00\x00\x01z")
    assert code_of(old.refresh()) == 437
    assert code_of(new.allocate()) == 437
    assert code_of(new.refresh(0)) == 0
    assert world.relays == {}


def test_answer_to_a_move_is_repeated_byte_for_byte_and_the_ticket_serves_once() -> None:
    world = mobile_world()
    _, ticket = mobile(world)
    new, reply = arrive(world, ticket)
    assert new.send_raw(new.last_datagram) == [new.last_reply]
    assert code_of(arrive(world, ticket, "203.0.113.98")[1]) == 437
    third, again = arrive(world, reply.first(stun.MOBILITY_TICKET) or b"", "203.0.113.97")
    assert code_of(again) == 0
    assert code_of(new.refresh()) == 437
    assert code_of(third.refresh()) == 0
    assert len(world.relays) == 1


def test_ticket_on_the_5_tuple_that_has_the_allocation_is_a_plain_refresh() -> None:
    world = mobile_world()
    caller, ticket = mobile(world)
    first = caller.last_reply, caller.last_datagram
    assert code_of(caller.send(stun.REFRESH, [(stun.MOBILITY_TICKET, ticket)])) == 0
    assert caller.send_raw(first[1]) == [first[0]]
    assert code_of(arrive(world, ticket)[1]) == 0


def test_another_user_gets_nothing_for_a_ticket() -> None:
    world = mobile_world()
    old, ticket = mobile(world)
    thief, reply = arrive(world, ticket, username="thief")
    assert code_of(reply) == 441
    assert not world.server.has_allocation((0, thief.source))
    assert code_of(old.refresh()) == 0
    guess, reply = arrive(world, b"0" * 32)
    assert code_of(reply) == 437
    guess.key = b"guess"
    assert code_of(guess.send(stun.REFRESH, [(stun.MOBILITY_TICKET, ticket)])) == 401
    assert code_of(old.refresh()) == 0


def test_move_succeeds_after_the_credential_has_expired() -> None:
    world = mobile_world()
    world.credential_end = world.now + 300
    _, ticket = mobile(world)
    world.pass_time(301.0)
    assert code_of(arrive(world, ticket)[1]) == 0


def test_client_whose_connection_closed_comes_back_until_the_lifetime_is_over() -> None:
    for age, code in ((599.0, 0), (600.0, 437)):
        world = mobile_world()
        old, ticket = mobile(world)
        world.perform(world.server.client_gone((0, old.source), world.now))
        assert len(world.relays) == 1
        world.pass_time(age)
        assert code_of(arrive(world, ticket)[1]) == code


def test_allocation_without_a_ticket_and_a_server_without_mobility_stay_as_they_are() -> None:
    world, still = mobile_world(), World()
    plain = Caller(world)
    assert plain.allocate().first(stun.MOBILITY_TICKET) is None
    world.perform(world.server.client_gone((0, plain.source), world.now))
    assert world.relays == {}
    caller = Caller(still)
    reply = caller.allocate([WANTED])
    assert code_of(reply) == 0
    assert reply.first(stun.MOBILITY_TICKET) is None
    assert code_of(arrive(still, b"")[1]) == 437


def test_end_by_a_ticket_needs_no_move() -> None:
    world = mobile_world()
    _, ticket = mobile(world)
    caller = Caller(world, host="203.0.113.99")
    caller.challenge()
    ended = caller.send(stun.REFRESH, [(stun.MOBILITY_TICKET, ticket), (stun.LIFETIME, bytes(4))])
    assert (code_of(ended), ended.first(stun.MOBILITY_TICKET)) == (0, None)
    assert world.relays == {}
    assert len(world.server._lifecycle._tickets) == 0


def test_dual_allocation_moves_whole_and_a_failed_move_changes_nothing() -> None:
    world = mobile_world()
    old = Caller(world)
    ticket = old.allocate([WANTED, DUAL]).first(stun.MOBILITY_TICKET) or b""
    caller = Caller(world, host="203.0.113.99")
    caller.challenge()
    bad = [(stun.MOBILITY_TICKET, ticket), (stun.REQUESTED_ADDRESS_FAMILY, bytes(4))]
    assert code_of(caller.send(stun.REFRESH, bad)) == 443
    assert code_of(old.refresh()) == 0
    new, reply = arrive(world, ticket)
    assert code_of(reply) == 0
    assert code_of(new.permit("8.8.8.8", "2606:4700::1111")) == 0
    assert len(world.relays) == 2


def test_move_takes_the_place_in_the_quota_of_the_source_along() -> None:
    world = mobile_world(allocations_per_source=1)
    old, ticket = mobile(world)
    assert code_of(arrive(world, ticket)[1]) == 0
    assert code_of(Caller(world, port=40001).allocate()) == 0
    assert code_of(Caller(world, host="203.0.113.99", port=40001).allocate()) == 486
    assert world.server._lifecycle._desk._quotas._count == 2
    assert not world.server.has_allocation((0, old.source))


def test_revoked_client_does_not_come_back() -> None:
    world = mobile_world()
    _, ticket = mobile(world, username="a@red")
    world.perform(world.server.revoke(b"red"))
    assert code_of(arrive(world, ticket, username="a@red")[1]) == 401


def test_5_tuple_that_is_being_opened_takes_nothing_over() -> None:
    world = mobile_world()
    old, ticket = mobile(world)
    caller = Caller(world, host="203.0.113.99")
    caller.challenge()
    world.holds_opening = True
    caller.send_raw(caller.build(stun.ALLOCATE, [(stun.REQUESTED_TRANSPORT, UDP)]))
    assert code_of(caller.send(stun.REFRESH, [(stun.MOBILITY_TICKET, ticket)])) == 437
    assert code_of(old.refresh()) == 0


@pytest.mark.parametrize("method", [stun.CREATE_PERMISSION, stun.CHANNEL_BIND])
def test_ticket_counts_in_a_refresh_only(method: int) -> None:
    world = mobile_world()
    _, ticket = mobile(world)
    caller = Caller(world, host="203.0.113.99")
    caller.challenge()
    assert code_of(caller.send(method, [(stun.MOBILITY_TICKET, ticket)])) == 437
