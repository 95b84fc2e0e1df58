import asyncio
from collections.abc import Callable

import aioice
import pytest
from aioice import ice, stun

from media.peer import checks

Send = Callable[[stun.Message, tuple[str, int]], None]


async def pair() -> tuple[aioice.Connection, aioice.Connection]:
    """Two connections that know each other's candidates."""
    ours, theirs = aioice.Connection(False, use_ipv6=False), aioice.Connection(True, use_ipv6=False)
    for connection in (ours, theirs):
        await connection.gather_candidates()
    for here, there in ((ours, theirs), (theirs, ours)):
        here.remote_username, here.remote_password = there.local_username, there.local_password
        for candidate in there.local_candidates:
            await here.add_remote_candidate(candidate)
        await here.add_remote_candidate(None)
    return ours, theirs


async def test_a_pair_that_is_selected_is_taken_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "_PACE_S", 3600)
    ours, theirs = await pair()
    for connection in (ours, theirs):
        checks.connect_at_once(connection)
    async with asyncio.timeout(15), asyncio.TaskGroup() as group:
        group.create_task(ours.connect())
        group.create_task(theirs.connect())
    await theirs.sendto(b"picture", 1)
    assert await ours.recvfrom() == (b"picture", 1)
    await ours.close()
    await theirs.close()


async def test_checks_that_lead_nowhere_are_told() -> None:
    ours, theirs = await pair()
    checks.connect_at_once(ours)
    connecting = asyncio.get_running_loop().create_task(ours.connect())
    await ours.close()
    with pytest.raises(ConnectionError, match="failed"):
        await asyncio.wait_for(connecting, 15)
    fresh = aioice.Connection(False, use_ipv6=False)
    checks.connect_at_once(fresh)
    with pytest.raises(ConnectionError, match="unknown"):
        await fresh.connect()
    await theirs.close()


async def test_a_check_that_was_lost_is_repeated_when_the_other_side_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stun, "RETRY_RTO", 60.0)  # so late comes the retransmission
    ours, theirs = await pair()
    checks.recheck_when_asked(ours)
    lost = []
    for protocol in ours._protocols:

        def lose_the_first(message: stun.Message, addr: tuple[str, int], plain: Send = protocol.send_stun) -> None:
            if message.message_class is stun.Class.REQUEST and addr not in lost:
                lost.append(addr)
            else:
                plain(message, addr)

        protocol.send_stun = lose_the_first
    async with asyncio.timeout(15), asyncio.TaskGroup() as group:
        group.create_task(ours.connect())
        while not lost:  # noqa: ASYNC110  # a few turns of the loop
            await asyncio.sleep(0.001)
        group.create_task(theirs.connect())
    await ours.close()
    await theirs.close()


async def test_the_other_side_is_asked_while_we_must_and_its_answers_are_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "_ASK_EVERY_S", 0.02)
    ours, theirs = await pair()
    heard, must_ask = asyncio.Event(), False
    checks.ask_when_silent(ours, lambda: must_ask, heard.set)
    async with asyncio.timeout(15), asyncio.TaskGroup() as group:
        group.create_task(ours.connect())
        group.create_task(theirs.connect())
    asked = 0
    received = theirs.request_received

    def count(message: stun.Message, addr: tuple[str, int], protocol: ice.StunProtocol) -> None:
        nonlocal asked
        asked += 1
        received(message, addr, protocol)

    theirs.request_received = count  # type: ignore[method-assign]
    await asyncio.sleep(0.06)
    assert (asked, heard.is_set()) == (0, False)
    must_ask = True
    async with asyncio.timeout(15):
        await heard.wait()
    assert asked
    await ours.close()
    await theirs.close()


async def test_checks_from_ever_new_addresses_and_without_a_priority_leave_nothing_behind() -> None:
    ours, theirs = aioice.Connection(False, use_ipv6=False), aioice.Connection(True, use_ipv6=False)
    await ours.gather_candidates()
    ours.remote_username, ours.remote_password = theirs.local_username, theirs.local_password
    heard = 0

    def hear() -> None:
        nonlocal heard
        heard += 1

    checks.recheck_when_asked(ours, hear)
    protocol = ours._protocols[0]
    check = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
    ours.check_incoming(check, ("192.0.2.1", 5000), protocol)
    assert not ours.remote_candidates
    check.attributes["PRIORITY"] = 1
    for port in range(5000, 5150):
        ours.check_incoming(check, ("192.0.2.1", port), protocol)
    assert (len(ours.remote_candidates), len(ours._check_list), heard) == (128, 128, 151)
    pair = ours._check_list[0]
    pair.remote_nominated = False
    check.attributes["USE-CANDIDATE"] = None
    ours.check_incoming(check, pair.remote_addr, protocol)  # one that is known is still taken
    assert pair.remote_nominated
    await ours.close()
