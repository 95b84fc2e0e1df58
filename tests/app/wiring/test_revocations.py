import asyncio

import msgspec
import pytest

from app.wiring.orders import Revoked
from app.wiring.relay_process import RelayOfParent
from app.wiring.revocations import TAGS_A_LINE, Revocations, RevocationStats
from channels import ice
from channels.names import ChannelArn

ARN = ChannelArn("aws", "us-west-2", "0" * 12, "door", 1)


class Relay(RelayOfParent):
    """Notes what it is told, as long as it hears."""

    def __init__(self) -> None:
        self.told: list[msgspec.Struct] = []
        self.hears = True
        self.tried = asyncio.Queue[msgspec.Struct]()

    def tell(self, news: msgspec.Struct) -> bool:
        self.told.append(news)
        self.tried.put_nowait(news)
        return self.hears


def test_a_channel_and_credentials_are_told_by_what_the_relay_knows_of_them() -> None:
    relay = Relay()
    revocations = Revocations(relay)
    revocations.of_channel(ARN)
    revocations.of_credentials(["one", "two"])
    revocations.of_credentials([])
    holders = (ice.holder_tag("one").hex(), ice.holder_tag("two").hex())
    assert relay.told == [Revoked(channels=(ice.channel_digest(ARN).hex(),)), Revoked(holders=holders)]
    assert revocations.stats == RevocationStats(told=2)


def test_many_credentials_come_in_lines_of_some_length() -> None:
    relay = Relay()
    Revocations(relay).of_credentials([""] * (TAGS_A_LINE + 1))
    assert [len(msgspec.structs.asdict(news)["holders"]) for news in relay.told] == [TAGS_A_LINE, 1]


async def test_what_the_relay_does_not_read_is_told_again(caplog: pytest.LogCaptureFixture) -> None:
    relay = Relay()
    relay.hears = False
    revocations = Revocations(relay, retry_s=0.0)
    revocations.of_channel(ARN)
    revocations.of_credentials(["one", "two"])
    revocations.of_credentials(["one"])
    relay.tried = asyncio.Queue()
    async with asyncio.timeout(15), asyncio.TaskGroup() as group:
        running = group.create_task(revocations.run())
        await relay.tried.get()
        relay.hears = True
        while revocations.stats.told < 2:
            await relay.tried.get()
        running.cancel()
    holders = (ice.holder_tag("two").hex(), ice.holder_tag("one").hex())
    assert relay.told[-2:] == [Revoked(channels=(ice.channel_digest(ARN).hex(),)), Revoked(holders=holders)]
    assert revocations.stats == RevocationStats(told=2, unread=3)
    assert [record.message for record in caplog.records] == [
        "the TURN process does not read what is no longer good: it will be told again",
        "the TURN process reads again, and was told late what is no longer good",
    ]


async def test_of_what_is_not_read_the_newest_are_kept() -> None:
    relay = Relay()
    relay.hears = False
    revocations = Revocations(relay, retry_s=0.0)
    revocations.of_credentials([str(number) for number in range(TAGS_A_LINE + 2)])
    assert revocations.stats == RevocationStats(unread=2, lost=2)
    relay.hears = True
    async with asyncio.timeout(15), asyncio.TaskGroup() as group:
        running = group.create_task(revocations.run())
        while not revocations.stats.told:
            await relay.tried.get()
        running.cancel()
    told = relay.told[-1]
    assert isinstance(told, Revoked)
    assert len(told.holders) == TAGS_A_LINE
    assert told.holders[-1] == ice.holder_tag(str(TAGS_A_LINE + 1)).hex()
