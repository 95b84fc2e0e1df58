"""The TURN core: which requests it believes, and what it costs to make it answer others."""

import pytest

from media.turn import revocations, stun
from tests.media.turn.world import (
    REALM,
    UDP,
    Caller,
    World,
    code_of,
    with_rules,
)

METHODS = (stun.ALLOCATE, stun.REFRESH, stun.CREATE_PERMISSION, stun.CHANNEL_BIND)


@pytest.mark.parametrize("method", METHODS)
def test_request_without_integrity_is_challenged(method: int) -> None:
    caller = Caller(World())
    reply = caller.send(method, [], is_signed=False)
    assert code_of(reply) == 401
    assert reply.first(stun.REALM) == REALM.encode()
    assert 24 <= len(reply.first(stun.NONCE) or b"") <= 32
    assert reply.integrity_at < 0
    assert reply.first(stun.SOFTWARE) is None
    assert len(caller.last_reply) <= 4 * len(caller.last_datagram)


@pytest.mark.parametrize("missing", [stun.USERNAME, stun.REALM, stun.NONCE])
def test_integrity_without_its_companions_gets_400(missing: int) -> None:
    caller = Caller(World())
    caller.challenge()
    companions = [(stun.USERNAME, b"user"), (stun.REALM, REALM.encode()), (stun.NONCE, caller.nonce)]
    message = caller.message(stun.ALLOCATE, [pair for pair in companions if pair[0] != missing])
    reply = stun.decode(caller.send_raw(stun.encode(message, caller.key))[0])
    assert code_of(reply) == 400
    assert reply.integrity_at < 0


@pytest.mark.parametrize("username", [b"\xff", b"u" * 514])
def test_malformed_username_gets_400(username: bytes) -> None:
    caller = Caller(World())
    caller.challenge()
    message = caller.message(
        stun.ALLOCATE, [(stun.USERNAME, username), (stun.REALM, REALM.encode()), (stun.NONCE, caller.nonce)]
    )
    assert code_of(stun.decode(caller.send_raw(stun.encode(message, caller.key))[0])) == 400


def test_wrong_password_and_unknown_user_get_401_with_a_nonce() -> None:
    world = World()
    wrong = Caller(world)
    wrong.key = stun.integrity_key("user", REALM, "guess")
    unknown = Caller(world, username="nobody")
    for caller in (wrong, unknown):
        reply = caller.allocate()
        assert code_of(reply) == 401
        assert reply.first(stun.NONCE) == caller.nonce
    assert world.stats.auth_failures == {"no-integrity": 2, "wrong-integrity": 1, "unknown-username": 1}


def test_nonce_of_another_client_is_stale() -> None:
    world = World()
    caller, other = Caller(world), Caller(world, port=40001)
    other.challenge()
    caller.nonce = other.nonce
    reply = caller.allocate()
    assert code_of(reply) == 438
    caller.nonce = reply.first(stun.NONCE) or b""
    assert code_of(caller.allocate()) == 0


def test_nonce_lives_at_least_30_and_at_most_60_minutes() -> None:
    world = World()
    world.now = 1800.0 * 4
    caller = Caller(world)
    assert code_of(caller.allocate([(stun.LIFETIME, (3600).to_bytes(4))])) == 0
    world.pass_time(3599.0)
    assert code_of(caller.refresh(3600)) == 0
    world.pass_time(1.0)
    assert code_of(caller.refresh()) == 438


def test_expired_credential_allocates_nothing_but_keeps_refreshing() -> None:
    world = World()
    world.credential_end = world.now + 300
    caller, late = Caller(world), Caller(world, port=40001)
    assert code_of(caller.allocate()) == 0
    world.pass_time(299.0)
    assert code_of(late.allocate()) == 0
    assert code_of(late.refresh(0)) == 0
    world.pass_time(1.0)
    assert code_of(late.allocate()) == 401
    assert code_of(caller.refresh()) == 0
    assert code_of(caller.permit("8.8.8.8")) == 0
    assert world.stats.auth_failures["expired"] == 1


def test_old_password_is_accepted_beside_the_new_one() -> None:
    caller = Caller(World())
    caller.key = stun.integrity_key("user", REALM, "old secret")
    assert code_of(caller.allocate()) == 0


def test_no_state_is_left_by_requests_without_valid_integrity() -> None:
    world = World()
    for port in range(40000, 40100):
        caller = Caller(world, port=port)
        caller.key = b"guess"
        assert code_of(caller.allocate()) == 401
    assert world.relays == {}
    assert world.server.allocation_count == 0
    assert not world.server._credentials._accounts
    assert world.server.next_deadline() is None


@pytest.mark.parametrize("method", METHODS[1:])
def test_request_without_an_allocation_gets_437(method: int) -> None:
    caller = Caller(World())
    caller.challenge()
    reply = caller.send(method, [])
    assert code_of(reply) == 437
    assert stun.has_integrity(reply, caller.key)


def test_request_of_another_user_gets_441() -> None:
    world = World()
    caller, thief = Caller(world), Caller(world, username="thief")
    caller.allocate()
    thief.nonce = caller.nonce
    for method in METHODS[1:]:
        reply = thief.send(method, [])
        assert code_of(reply) == 441
        assert stun.has_integrity(reply, thief.key)


@pytest.mark.parametrize("method", METHODS)
def test_unknown_required_attribute_gets_420_after_authentication(method: int) -> None:
    caller = Caller(World())
    caller.challenge()
    assert code_of(caller.send(method, [(0x7ABC, b"")], is_signed=False)) == 401
    reply = caller.send(method, [(0x7ABC, b""), (0x8ABC, b"")])
    assert code_of(reply) == 420
    assert reply.first(stun.UNKNOWN_ATTRIBUTES) == b"\x7a\xbc"
    assert stun.has_integrity(reply, caller.key)


def test_revoked_key_loses_its_allocations_and_gets_no_more() -> None:
    world = World()
    first, second, other = (
        Caller(world, username="a@red"),
        Caller(world, port=2, username="b@red"),
        Caller(world, port=3, username="c@blue"),
    )
    for caller in (first, second, other):
        assert code_of(caller.allocate()) == 0
    world.perform(world.server.revoke(b"red"))
    assert len(world.relays) == 1
    assert code_of(first.refresh()) == 401
    assert code_of(second.allocate()) == 401
    assert code_of(other.refresh()) == 0


def test_revoked_holder_loses_what_it_fetched_in_every_channel() -> None:
    world = World()
    callers = [Caller(world, port=1 + at, username=name) for at, name in enumerate(("a@red@eve", "b@blue@session@eve"))]
    other = Caller(world, port=9, username="c@red@ann")
    for caller in (*callers, other):
        assert code_of(caller.allocate()) == 0
    world.perform(world.server.revoke_holder(b"eve"))
    assert len(world.relays) == 1
    for caller in callers:
        assert code_of(caller.allocate()) == 401
        assert code_of(caller.refresh()) == 401
    assert code_of(other.refresh()) == 0


def test_oldest_revocation_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revocations, "REMEMBERED", 2)
    world = World()
    for quota_key in (b"red", b"green", b"blue"):
        world.perform(world.server.revoke(quota_key))
    codes = [
        code_of(Caller(world, port=n, username=f"x@{key}").allocate()) for n, key in enumerate(("red", "green"), 1)
    ]
    assert codes == [0, 401]


def test_unauthenticated_replies_run_dry_per_network_and_authenticated_ones_do_not() -> None:
    world = with_rules(replies_per_s=10.0, replies_burst=20.0)
    caller = Caller(world)
    caller.allocate()
    challenge = caller.build(stun.ALLOCATE, [], is_signed=False)
    binding = caller.build(stun.BINDING, [], is_signed=False)
    assert sum(len(caller.send_raw(challenge)) for _ in range(100)) == 19
    assert [caller.send_raw(binding) for _ in range(3)] == [[], [], []]
    assert code_of(caller.refresh()) == 0
    world.pass_time(1.0)
    assert sum(len(caller.send_raw(binding)) for _ in range(200)) in (99, 100)
    assert len(Caller(world, host="203.0.114.5").send_raw(challenge)) == 1
    assert world.stats.dropped["silenced"] > 100


def test_stale_and_wrong_credentials_pay_from_the_same_bucket() -> None:
    world = with_rules(replies_per_s=0.0, replies_burst=3.0)
    caller = Caller(world)
    caller.challenge()
    caller.key = b"guess"
    datagram = caller.build(stun.ALLOCATE, [(stun.REQUESTED_TRANSPORT, UDP)])
    assert [len(caller.send_raw(datagram)) for _ in range(4)] == [1, 1, 0, 0]


def test_secret_never_shows_in_a_representation() -> None:
    world = World()
    account = world.server._credentials
    caller = Caller(world)
    caller.allocate()
    assert "secret" not in repr(world.key_for("user"))
    assert repr(next(iter(account._accounts.values()))) == f"Account(expires_at={world.credential_end})"
