import socket

import pytest

from media.relay.interfaces import detect, read_interfaces
from media.turn import stun
from media.turn.address import pack
from media.turn_check.client import Credential
from media.turn_check.self_check import Finding, Reach, SelfCheckOrder, arrived, check_self, lost, unreachable
from tests.media.relay.loopback import serving
from tests.media.turn_check.scripted import PASSWORD, USERNAME, Script, over_udp, swallowing
from tests.ports import free_port

OURS = Credential(USERNAME, PASSWORD)


async def found(port: int, **changes: object) -> Finding:
    values = {"credential": OURS, "own": read_interfaces().addresses, "timeout_s": 15.0, **changes}
    return await check_self(SelfCheckOrder(("127.0.0.1", port), **values))


async def found_silent(script: Script, own: frozenset[bytes]) -> Finding:
    """What is found where the server answers and its relay is silent: with more time where the machine stalled."""
    async with over_udp(script) as port:
        for timeout_s in (0.2, 4.0):
            finding = await found(port, own=own, timeout_s=timeout_s)
            if stun.CREATE_PERMISSION in script.methods and "gives itself no relay" not in finding.sentence:
                break
    return finding


async def test_an_own_address_is_reached_through_the_relay() -> None:
    ours = detect(socket.AF_INET)
    async with serving(host="0.0.0.0") as running:
        finding = await found(running.address.port)
        assert finding.reach in (Reach.HERE, Reach.PRIVATE) if ours else finding.reach is Reach.NOWHERE
        assert running.relay.stats.allocations_total == 1
        assert (await found(running.address.port, own=frozenset())).reach is finding.reach
    assert running.relay.stats.allocations == 0


async def test_loopback_is_advertised_to_nobody_else() -> None:
    async with serving(host="0.0.0.0", advertised_address="127.0.0.1") as running:
        finding = await found(running.address.port)
        assert finding.reach is Reach.NOWHERE
        assert "127.0.0.1 (loopback), where no other machine reaches them" in finding.sentence
        assert "--turn-advertised-address" in finding.sentence


@pytest.mark.parametrize("is_own", [True, False])
async def test_an_address_at_which_nothing_arrives(is_own: bool) -> None:
    host = detect(socket.AF_INET)
    if host is None:
        pytest.skip("this machine has no address but loopback")
    own = frozenset((pack(host),)) if is_own else frozenset()
    finding = await found_silent(Script((host, free_port())), own)
    assert finding.reach is (Reach.NOWHERE if is_own else Reach.UNKNOWN)
    async with over_udp(Script((host, free_port()), permit=403)) as port:
        assert (await found(port, own=own)).reach is finding.reach


async def test_a_server_that_gives_itself_no_relay_is_told() -> None:
    async with over_udp(Script(allocate=508)) as port:
        assert "gives itself no relay (508 No)" in (await found(port)).sentence
    with swallowing() as port:
        assert "no answer in 0.2 s" in (await found(port, timeout_s=0.2)).sentence
    assert "(refused)" in (await found(free_port())).sentence


def test_what_is_said_helps() -> None:
    assert arrived("8.8.8.8") == Finding(Reach.HERE, "8.8.8.8", "relays are advertised at 8.8.8.8, which leads here")
    assert arrived("10.0.0.7").reach is Reach.PRIVATE
    assert "--turn-advertised-address" in arrived("10.0.0.7").sentence
    assert "firewall of this machine" in lost(("8.8.8.8", 49160), 3478, is_own=True).sentence
    assert "turn check turn:8.8.8.8:3478`" in lost(("8.8.8.8", 49160), 3478, is_own=False).sentence
    assert unreachable("10.0.0.7") is None
    assert unreachable("0.0.0.0") is not None
