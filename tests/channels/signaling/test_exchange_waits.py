"""What an exchange lets nobody wait for: nodes that are silent, and a presence that is away."""

import pytest

from channels.signaling.protocol import MASTER
from tests.channels.signaling.exchange_rig import Rig, mail
from tests.channels.signaling.rig import turns


@pytest.fixture
def rig() -> Rig:
    return Rig()


async def test_a_recipient_that_comes_here_does_not_wait_for_a_node_that_is_silent(rig: Rig) -> None:
    await rig.master_is_on_b()
    async with rig.running():
        rig.exchange.send(mail("1", correlation_id=""))
        await turns()
        rig.exchange.came("demo", MASTER)
        rig.exchange.send(mail("2"))
        rig.here.is_master_here = True
        await rig.wait(0.3)
        assert rig.here.delivered == [], "b may answer what was sent again"
        await rig.wait(0.1)

    assert rig.here.delivered == ["2"], "nobody knows whether b had the first one"
    assert rig.here.answers == [("1", "unreachable")]


async def test_mail_that_wants_an_answer_does_not_wait_behind_a_search_that_takes_long(rig: Rig) -> None:
    rig.presence.is_away = True
    async with rig.running():
        rig.exchange.send(mail("quiet", correlation_id=""))
        rig.exchange.send(mail("1"))
        await turns()
        for _ in range(6):
            await rig.wait(0.3)
        assert rig.here.answers == [("1", "unreachable")]
        await rig.wait(15.0)
        await rig.wait(0.3)

    assert rig.here.answers == [("1", "unreachable"), ("quiet", "unreachable")]
