"""What an exchange lets come first: what is held for a recipient whom presence had forgotten."""

import pytest

from channels.signaling.envelope import Collect, Deliver
from tests.channels.signaling.exchange_rig import Rig, mail
from tests.channels.signaling.rig import turns


@pytest.fixture
def rig() -> Rig:
    return Rig()


async def test_what_is_held_is_fetched_before_what_is_said_when_presence_knows_the_recipient_again(rig: Rig) -> None:
    async with rig.running():
        rig.exchange.send(mail("1"))
        await turns()
        assert rig.here.kept == ["1"]
        await rig.master_is_on_b()
        for name in "23":
            rig.exchange.send(mail(name))
        await turns()
        rig.exchange.send(mail("4"))
        await turns()

        assert rig.bodies() == [Collect("b-1"), *[Deliver("b-1", b"{}")] * 3]
        rig.acknowledge()


async def test_nothing_overtakes_what_is_held_on_a_link_that_takes_nothing_more(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with rig.running():
        rig.exchange.send(mail("1"))
        await turns()
        await rig.master_is_on_b()
        with monkeypatch.context() as full:
            full.setattr("channels.signaling.node_link.WINDOW", 0)
            rig.exchange.send(mail("2"))
            await turns()
        assert rig.here.answers == [("2", "full")]
        rig.exchange.send(mail("3"))
        await turns()

        assert rig.bodies() == [Collect("b-1"), Deliver("b-1", b"{}")]
        rig.acknowledge()
