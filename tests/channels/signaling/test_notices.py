"""What a node tells all nodes: once more a little later, and also while the bus is away."""

import asyncio

import pytest

from channels.bus import BusUnavailableError
from channels.embedded.bus import EmbeddedBus
from channels.signaling.envelope import EVERY_NODE, Gone, decode_notice, encode_notice
from channels.signaling.notices import Notices
from channels.signaling.stats import HubStats

GONE = Gone("demo", 1001, "deleted")


class Bus(EmbeddedBus):
    """An end of a bus that publishes only while it is not `away`."""

    is_away = False

    async def publish(self, topic: str, payload: bytes) -> int:
        if self.is_away:
            raise BusUnavailableError("away")
        return await super().publish(topic, payload)


class Hearer:
    """A node that notes what it is told."""

    def __init__(self) -> None:
        self.stats = HubStats()
        self.closed: list[Gone] = []

    def close_here(self, channel: str, code: int, reason: str) -> None:
        self.closed.append(Gone(channel, code, reason))


class Rig:
    """One node that tells, and another end of its bus at which a test listens."""

    def __init__(self) -> None:
        self.bus, self.hearer = Bus(), Hearer()
        self.notices = Notices(self.bus, self.hearer)
        self.other = self.bus.join()
        self.heard: list[Gone] = []
        self.has_heard = asyncio.Event()

    async def listen(self) -> None:
        await self.other.subscribe(EVERY_NODE, self._hear)

    def _hear(self, payload: bytes) -> None:
        self.heard.append(decode_notice(payload))
        self.has_heard.set()


@pytest.fixture
def rig() -> Rig:
    return Rig()


async def test_a_notice_is_told_at_once_and_will_be_told_again(rig: Rig) -> None:
    await rig.listen()
    await rig.notices.tell(GONE)

    assert rig.heard == [GONE]
    assert len(rig.notices) == 2
    rig.notices.cease()
    assert len(rig.notices) == 0


async def test_a_notice_is_heard_later_when_the_bus_is_away_now(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("channels.signaling.notices._AGAIN_S", (0.0, 60.0))
    await rig.listen()
    rig.bus.is_away = True
    await rig.notices.tell(GONE)
    assert (rig.heard, rig.hearer.stats.publish_unreachable) == ([], 1)
    async with asyncio.timeout(15):
        await rig.has_heard.wait()

    assert rig.heard == [GONE]
    assert len(rig.notices) == 1, "the other one is still to come"
    rig.notices.cease()


async def test_what_others_tell_is_heard_until_the_end_and_noise_is_counted(rig: Rig) -> None:
    await rig.notices.listen()
    await rig.other.publish(EVERY_NODE, encode_notice(GONE))
    await rig.other.publish(EVERY_NODE, b"noise")
    await rig.notices.close()
    await rig.other.publish(EVERY_NODE, encode_notice(Gone("demo", 1001, "again")))

    assert rig.hearer.closed == [GONE]
    assert rig.hearer.stats.envelopes_refused == 1
