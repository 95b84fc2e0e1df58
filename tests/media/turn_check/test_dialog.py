import itertools
from collections.abc import Callable

import pytest

from media.turn import stun
from media.turn_check.client import Credential, TurnClient
from media.turn_check.dialog import Dialog, within
from media.turn_check.link import UdpLink
from media.turn_check.verdict import LinkError, Trouble
from tests.media.turn_check.scripted import PASSWORD, REALM, USERNAME, Script, error, over_udp


def dialog(port: int, timeout_s: float = 15.0, repeat_s: float = 15.0) -> Dialog:
    count = itertools.count(1)
    client = TurnClient(Credential(USERNAME, PASSWORD), lambda: next(count).to_bytes(12))
    link = UdpLink("127.0.0.1", port)
    link.repeat_s = repeat_s
    return Dialog(link, client, timeout_s)


def losing(reply: Callable[[bytes], bytes | None], lost: int) -> Callable[[bytes], bytes | None]:
    count = itertools.count()
    return lambda data: reply(data) if next(count) >= lost else None


async def test_a_request_is_repeated_until_it_is_answered() -> None:
    script = Script()
    async with over_udp(losing(script, 2)) as port:
        one = dialog(port, repeat_s=0.01)
        answer = await one.ask(stun.BINDING)
        assert answer.code == 0
        one.leave()
    assert set(script.methods) == {stun.BINDING}, "it may be repeated once more before the answer is heard"


async def test_silence_has_a_limit() -> None:
    async with over_udp(lambda _: None) as port:
        one = dialog(port, 0.05)
        with pytest.raises(LinkError, match=r"no answer in 0\.05 s") as caught:
            await one.ask(stun.BINDING)
        assert caught.value.trouble is Trouble.SILENT
        one.leave()


async def test_the_challenge_is_taken_up_and_the_relay_given_back() -> None:
    script = Script(("127.0.0.1", 5000))
    async with over_udp(script) as port:
        one = dialog(port)
        assert (await one.allocate()).code == 0
        assert one.relayed == ("127.0.0.1", 5000)
        assert (await one.release()).code == 0
        assert one.relayed is None
        one.leave()
    assert script.methods == [stun.ALLOCATE, stun.ALLOCATE, stun.REFRESH]


async def test_a_server_with_ipv6_alone_is_asked_for_it() -> None:
    def reply(data: bytes) -> bytes | None:
        request = stun.decode(data)
        is_plain = request.first(stun.REQUESTED_ADDRESS_FAMILY) is None
        return error(request, 440) if is_plain and request.integrity_at >= 0 else script(data)

    script = Script()
    async with over_udp(reply) as port:
        one = dialog(port)
        assert (await one.allocate()).code == 0
        one.leave()


async def test_a_nonce_that_is_always_stale_is_not_tried_for_ever() -> None:
    count = itertools.count()

    def reply(data: bytes) -> bytes:
        script.methods.append(stun.ALLOCATE)
        nonce = (stun.NONCE, str(next(count)).encode())
        return error(stun.decode(data), 438, (stun.REALM, REALM.encode()), nonce)

    script = Script()
    async with over_udp(reply) as port:
        one = dialog(port)
        assert (await one.allocate()).code == 438
        one.leave()
    assert len(script.methods) == 3


async def test_data_is_heard_also_when_it_comes_before_an_answer() -> None:
    def reply(data: bytes) -> bytes | None:
        if data[:2] == b"\x40\x00":
            return b"\x40\x01\x00\x02hi" if data.endswith(b"now") else b"\x40\x01\x00\x02no"
        return script(data)

    script = Script()
    async with over_udp(reply) as port:
        one = dialog(port)
        one.send(b"\x40\x00\x00\x03now")
        assert (await one.ask(stun.BINDING)).code == 0
        arrived = await one.hear(b"hi", lambda: None)
        assert (arrived.data, arrived.channel_number) == (b"hi", 0x4001)
        one.timeout_s = 0.05
        with pytest.raises(LinkError, match="no answer"):
            await one.hear(b"more", lambda: one.send(b"\x40\x00\x00\x05later"))
        one.leave()


async def test_who_leaves_with_a_relay_ends_it() -> None:
    script = Script()
    async with over_udp(script) as port:
        one = dialog(port)
        await one.allocate()
        one.leave()
        other = dialog(port)
        await other.ask(stun.BINDING)  # the server takes datagrams in order
        other.leave()
    assert script.methods[-2:] == [stun.REFRESH, stun.BINDING]


async def test_within_passes_a_result_on() -> None:
    async def seven() -> int:
        return 7

    assert await within(seven(), 1.0) == 7
