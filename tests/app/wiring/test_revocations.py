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

    def tell(self, news: msgspec.Struct) -> bool:
        self.told.append(news)
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


def test_what_the_relay_does_not_hear_is_told_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    relay = Relay()
    relay.hears = False
    revocations = Revocations(relay)
    revocations.of_channel(ARN)
    assert revocations.stats == RevocationStats(lost=1)
    assert [record.message for record in caplog.records] == ["the TURN process was not told what is no longer good"]
