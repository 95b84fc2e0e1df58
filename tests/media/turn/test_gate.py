"""The gate: what strangers are told, what it costs, and who is heard all the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.turn import mac, stun
from media.turn.gate import MOST_AMPLIFIED
from tests.media.turn.world import PASSWORD, REALM, UDP, Caller, World, code_of, with_rules

ALLOCATE = [(stun.REQUESTED_TRANSPORT, UDP)]


class Work:
    """Counts the HMACs that are computed."""

    def __init__(self) -> None:
        self.done = 0


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    work, real = Work(), mac._mac

    def counted(*arguments: object) -> bytes:
        work.done += 1
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(mac, "_mac", counted)
    return work


def sha256_caller(world: World, **options: object) -> Caller:
    caller = Caller(world, **options)  # type: ignore[arg-type]
    caller.use_sha256()
    return caller


def test_challenge_offers_what_rfc_8489_adds_and_nothing_needless() -> None:
    caller = Caller(World())
    reply = caller.send(stun.ALLOCATE, ALLOCATE, is_signed=False)
    assert code_of(reply) == 401
    assert [key for key, _ in reply.attributes] == [stun.ERROR_CODE, stun.REALM, stun.NONCE, stun.PASSWORD_ALGORITHMS]
    assert not reply.is_signed
    assert (reply.first(stun.NONCE) or b"").startswith(b"obMatJos2AAAB")


def test_client_of_rfc_8489_is_answered_with_sha_256_only() -> None:
    world = World()
    caller = sha256_caller(world)
    for reply in (caller.allocate(), caller.permit("8.8.8.8"), caller.bind(0x4000), caller.refresh(0)):
        assert code_of(reply) == 0
        assert (reply.integrity_at, reply.integrity_sha256_at > 0) == (-1, True)
        assert stun.has_integrity(reply, caller.key)
        assert not {stun.NONCE, stun.REALM, stun.USERNAME} & {key for key, _ in reply.attributes}
    assert code_of(caller.refresh()) == 437
    assert stun.has_integrity(stun.decode(caller.last_reply), caller.key)


def test_client_that_chose_an_algorithm_is_answered_with_sha_256_whatever_it_signed_with() -> None:
    caller = sha256_caller(World())
    caller.is_sha256 = False
    reply = caller.allocate()
    assert code_of(reply) == 0
    assert reply.integrity_sha256_at > 0
    assert stun.has_integrity(reply, caller.key)


def test_client_that_signs_with_sha_256_and_chose_no_algorithm_has_an_md5_key() -> None:
    caller = Caller(World())
    caller.is_sha256 = True
    reply = caller.allocate()
    assert code_of(reply) == 0
    assert reply.integrity_sha256_at > 0


def test_client_of_rfc_5389_is_answered_with_sha_1_only() -> None:
    reply = Caller(World()).allocate()
    assert reply.integrity_at > 0
    assert reply.integrity_sha256_at == -1


def test_user_is_known_by_a_hash() -> None:
    names = {stun.userhash("user", REALM): "user"}
    world = World(username_for=names.get)
    caller = sha256_caller(world)
    caller.use_sha256(is_hashed=True)
    assert code_of(caller.allocate()) == 0
    names.clear()
    assert code_of(caller.refresh()) == 0
    by_name = Caller(world)
    by_name.nonce = caller.nonce
    assert code_of(by_name.refresh()) == 0
    stranger = Caller(world, port=40001, username="other")
    stranger.use_sha256(is_hashed=True)
    assert code_of(stranger.allocate()) == 401
    assert world.stats.auth_failures["unknown-userhash"] == 1


def test_offer_changed_on_the_way_gets_400_without_a_nonce() -> None:
    caller = sha256_caller(World())
    caller.offer = caller.offer[:1]
    reply = caller.allocate()
    assert code_of(reply) == 400
    assert [key for key, _ in reply.attributes] == [stun.ERROR_CODE]
    assert not reply.is_signed


def test_stale_nonce_comes_with_all_that_the_next_try_needs() -> None:
    world = World()
    caller = sha256_caller(world)
    caller.nonce = b"obMatJos2AAAAoldoldoldoldold"
    reply = caller.send(stun.ALLOCATE, ALLOCATE)
    assert code_of(reply) == 438
    assert reply.first(stun.REALM) == REALM.encode()
    assert reply.first(stun.PASSWORD_ALGORITHMS) == bytes.fromhex("0002000000010000")
    caller.nonce = reply.first(stun.NONCE) or b""
    assert code_of(caller.allocate()) == 0


requests = st.tuples(st.sampled_from(["", "r" * 12, "r" * 16, "r" * 36, "r" * 127]), st.integers(0, 12), st.booleans())


@given(requests)
def test_401_never_exceeds_four_times_the_request(request: tuple[str, int, bool]) -> None:
    realm, words, has_fingerprint = request
    caller = Caller(with_rules(realm=realm))
    message = caller.message(stun.ALLOCATE, [(0x8055, bytes(4 * words))] if words else [])
    message.has_fingerprint = has_fingerprint
    datagram = stun.encode(message)
    replies = [stun.decode(reply) for reply in caller.send_raw(datagram)]
    for reply in replies:
        assert code_of(reply) == 401
        assert len(reply.raw) <= MOST_AMPLIFIED * len(datagram)
        assert (reply.first(stun.NONCE) or b"").startswith(b"obMatJos2AAAB")
    if len(realm) <= 36 and words > 1:
        assert [reply.first(stun.PASSWORD_ALGORITHMS) is not None for reply in replies] == [True]


def test_silenced_source_costs_no_hmac_and_others_are_heard(work: Work) -> None:
    world = with_rules(replies_per_s=0.0, replies_burst=3.0)
    noisy, neighbour, other = Caller(world), Caller(world, port=40001), Caller(world, host="203.0.114.5")
    noisy.challenge()
    noisy.key = b"guess"
    datagram = noisy.build(stun.ALLOCATE, ALLOCATE)
    assert [len(noisy.send_raw(datagram)) for _ in range(4)] == [1, 1, 0, 0]
    before = work.done
    for _ in range(5):
        assert noisy.send_raw(datagram) == []
        assert noisy.send_raw(noisy.build(stun.ALLOCATE, ALLOCATE, is_signed=False)) == []
        assert neighbour.send_raw(datagram) == []
    assert work.done == before
    assert code_of(other.allocate()) == 0
    assert world.stats.dropped == {"silenced": 17}


def test_owner_is_heard_in_a_silenced_network_also_with_an_old_nonce() -> None:
    world = with_rules(replies_per_s=0.0, replies_burst=3.0)
    owner, noisy = Caller(world), Caller(world, port=40001)
    assert code_of(owner.allocate([(stun.LIFETIME, (3600).to_bytes(4))])) == 0
    for _ in range(3):
        noisy.send_raw(noisy.build(stun.ALLOCATE, ALLOCATE, is_signed=False))
    assert noisy.send_raw(noisy.last_datagram) == []
    assert code_of(owner.refresh(3600)) == 0
    world.pass_time(3599.0)
    reply = owner.refresh(3600)
    assert code_of(reply) == 438
    owner.nonce = reply.first(stun.NONCE) or b""
    assert code_of(owner.refresh()) == 0


def test_who_proves_itself_pays_nothing() -> None:
    world = with_rules(replies_per_s=0.0, replies_burst=2.0)
    caller = Caller(world)
    caller.challenge()
    for _ in range(20):
        assert code_of(caller.allocate()) == 0
        assert code_of(caller.refresh(0)) == 0
        assert code_of(caller.refresh()) == 437
    assert "silenced" not in world.stats.dropped


def test_proven_account_with_a_remembered_nonce_is_checked_with_one_hmac_and_answered_with_one(work: Work) -> None:
    world = World()
    caller = Caller(world)
    caller.key = stun.integrity_key("user", REALM, "old " + PASSWORD)
    caller.allocate()
    before = work.done
    datagram = caller.build(stun.REFRESH, [])
    work.done = before
    assert len(caller.send_raw(datagram)) == 1
    assert work.done == before + 2


@pytest.mark.parametrize("attribute", [stun.USERNAME, stun.REALM, stun.NONCE])
def test_incomplete_request_pays_too(attribute: int) -> None:
    world = with_rules(replies_per_s=0.0, replies_burst=2.0)
    caller = Caller(world)
    message = caller.message(stun.REFRESH, [(key, b"x") for key in (stun.USERNAME, stun.REALM, stun.NONCE)])
    message.attributes = [pair for pair in message.attributes if pair[0] != attribute]
    datagram = stun.encode(message, b"key")
    replies = [caller.send_raw(datagram) for _ in range(3)]
    assert [len(each) for each in replies] == [1, 1, 0]
    assert code_of(stun.decode(replies[0][0])) == 400
    assert len(replies[0][0]) <= len(datagram)
