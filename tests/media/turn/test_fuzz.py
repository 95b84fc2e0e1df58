"""Hostile datagrams against the core: no exception, no reply larger than allowed, no growth."""

import random

import msgspec
import pytest

from media.turn import mac, stun
from media.turn.credential import REMEMBERED_ACCOUNTS
from media.turn.gate import MOST_AMPLIFIED
from tests.media.turn.world import PEER, REALM, RULES, UDP, Caller, World

DATAGRAMS = 20_000
SOURCES = 16
BINDING_AT_MOST = 1.6


def seeds(caller: Caller) -> list[tuple[int, list[tuple[int, bytes]]]]:
    peer = caller.peer(PEER)
    ticket = next(iter(caller.world.server._lifecycle._tickets._allocations), b"0" * 32)
    return [
        (stun.BINDING, []),
        (stun.ALLOCATE, [(stun.REQUESTED_TRANSPORT, UDP), (stun.EVEN_PORT, b"\x80"), (stun.DONT_FRAGMENT, b"")]),
        (stun.ALLOCATE, [(stun.REQUESTED_TRANSPORT, UDP), (stun.RESERVATION_TOKEN, bytes(8))]),
        (stun.ALLOCATE, [(stun.REQUESTED_TRANSPORT, UDP), (stun.REQUESTED_ADDRESS_FAMILY, b"\2\0\0\0")]),
        (stun.ALLOCATE, [(stun.REQUESTED_TRANSPORT, UDP), (stun.ADDITIONAL_ADDRESS_FAMILY, b"\2\0\0\0")]),
        (stun.ALLOCATE, [(stun.REQUESTED_TRANSPORT, UDP), (stun.MOBILITY_TICKET, b"")]),
        (stun.REFRESH, [(stun.MOBILITY_TICKET, ticket)]),
        (stun.REFRESH, [(stun.LIFETIME, bytes(4)), (stun.REQUESTED_ADDRESS_FAMILY, b"\1\0\0\0")]),
        (stun.REFRESH, [(stun.LIFETIME, (700).to_bytes(4))]),
        (stun.REFRESH, [(stun.LIFETIME, bytes(4))]),
        (stun.CREATE_PERMISSION, [peer, caller.peer(("9.9.9.9", 9))]),
        (stun.CHANNEL_BIND, [(stun.CHANNEL_NUMBER, b"\x40\x00\0\0"), peer]),
        (stun.SEND, [peer, (stun.DATA, b"hello")]),
    ]


def mutated(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.choice((0, 1, 1, 2, 5))):
        at = chance.randrange(len(changed) + 1)
        match chance.randrange(4):
            case 0 if at < len(changed):
                changed[at] ^= 1 << chance.randrange(8)
            case 1:
                del changed[at : at + chance.randrange(9)]
            case 2:
                changed[at:at] = chance.randbytes(chance.randrange(9))
            case _ if at < len(changed):
                changed[at] = chance.choice((0, 1, 0x40, 0x7F, 0x80, 0xFF))
            case _:
                pass
    return bytes(changed)


def framed(body: bytes, header: bytes) -> bytes:
    body = body[: len(body) & ~3]
    return header[:2] + len(body).to_bytes(2) + header[4:20] + body


def signed(message: stun.Message, body: bytes, caller: Caller) -> bytes:
    """Sign a body that was mutated before, so that it gets past the credentials."""
    header = stun.encode(message)[:20]
    unsigned = framed(body, header)
    attribute, sign = ("001c0020", mac.sha256) if caller.is_sha256 else ("00080014", mac.sha1)
    length = len(unsigned) - 20 + (36 if caller.is_sha256 else 24)
    covered = unsigned[:2] + length.to_bytes(2) + unsigned[4:]
    return covered + bytes.fromhex(attribute) + sign(caller.key, covered)


def hostile(caller: Caller, chance: random.Random) -> bytes:
    method, attributes = chance.choice(seeds(caller))
    kind = stun.INDICATION if method == stun.SEND else stun.REQUEST
    companions = [caller.identity, (stun.REALM, REALM.encode()), (stun.NONCE, caller.nonce), *caller.offer]
    transaction_id = chance.choice((bytes(12), chance.randbytes(12)))
    message = stun.Message(method, kind, transaction_id, attributes, has_fingerprint=chance.random() < 0.2)
    match chance.randrange(5):
        case 0:
            return chance.randbytes(chance.randrange(80))
        case 1:
            return mutated(b"\x40\x00\x00\x05hello", chance)
        case 2:
            return mutated(stun.encode(message), chance)
        case 3:
            tail = stun.encode(stun.Message(method, kind, bytes(12), companions))[20:]
            return signed(message, mutated(stun.encode(message)[20:], chance) + tail, caller)
        case _:
            message.attributes += companions
            return mutated(stun.encode(message, caller.key, is_sha256=caller.is_sha256), chance)


def check_reply(request: bytes, reply: bytes) -> None:
    """A signed reply was earned; all others must be small."""
    decoded = stun.decode(reply)
    keys = (stun.integrity_key("user", REALM, "secret", algorithm) for algorithm in (stun.MD5, stun.SHA256))
    if not any(stun.has_integrity(decoded, key) for key in keys):
        assert len(reply) <= (BINDING_AT_MOST if decoded.method == stun.BINDING else MOST_AMPLIFIED) * len(request)


@pytest.mark.slow
def test_twenty_thousand_hostile_datagrams_do_no_harm() -> None:
    chance = random.Random(2)
    rules = msgspec.structs.replace(RULES, has_mobility=True)
    world = World(rules, username_for={stun.userhash("user", REALM): "user"}.get)
    callers = [Caller(world, port=40000 + number) for number in range(SOURCES)]
    for caller in callers:
        caller.challenge()
    for caller in callers[::3]:
        caller.use_sha256()
    for caller in callers[::6]:
        caller.use_sha256(is_hashed=True)
    for count in range(DATAGRAMS):
        caller = callers[count % SOURCES]
        request = hostile(caller, chance)
        replies = caller.send_raw(request)
        assert len(replies) <= 1
        for reply in replies:
            check_reply(request, reply)
        if count % 500 == 0:
            world.perform(world.server.client_gone((0, caller.source), world.now))
        if count % 50 == 0 and world.relays:
            world.from_peer(chance.choice(list(world.relays)), request, PEER)
        if count % 100 == 0:
            world.pass_time(1.0)
    assert world.stats.allocations_total > SOURCES
    assert len(world.to_peers) > 100
    check_bounds(world)


def check_bounds(world: World) -> None:
    server = world.server
    assert world.stats.allocations == server.allocation_count <= SOURCES
    assert len(world.relays) == sum(len(each.relayed) for each in server._table.by_client.values())
    assert len(server._lifecycle._tickets) <= SOURCES
    assert len(server._credentials._accounts) <= REMEMBERED_ACCOUNTS
    for allocation in server._table.by_client.values():
        assert len(allocation.permissions or ()) <= allocation.most_entries
        assert len(allocation.binds or ()) <= 2 * allocation.most_entries
    assert len(world.stats.dropped) < 20
    world.pass_time(3601.0)
    assert world.relays == {}
    assert len(server._lifecycle._tickets) == 0
    assert server._lifecycle._ports.free_count == 100
    quotas = server._lifecycle._desk._quotas
    assert (quotas._keys, quotas._sources, quotas._count) == ({}, {}, 0)
    assert all(usage.allocations == 0 for usage in server.usage().values())
