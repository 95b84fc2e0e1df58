"""Quotas hold per account and per channel, name the limit that refused, and forget who is quiet."""

import pytest

from channels.errors import ClientLimitExceededException
from channels.names import ChannelArn
from channels.quotas import BURST_S, QuotaMeter, Quotas, Rates

ACCOUNT = "000000000000"


def arn(name: str) -> ChannelArn:
    return ChannelArn("aws", "us-west-2", ACCOUNT, name, 1700000000000)


def test_a_channel_has_its_own_limit() -> None:
    meter = QuotaMeter(Quotas({"Describe": Rates(channel=5)}))
    for _ in range(int(5 * BURST_S)):
        meter.take("Describe", ACCOUNT, arn("a"), 0.0)
    with pytest.raises(ClientLimitExceededException, match="Describe is limited to 5 calls per second") as caught:
        meter.take("Describe", ACCOUNT, arn("a"), 0.0)
    assert caught.value.limit is not None
    assert caught.value.limit.name == "calls_per_second_per_channel"
    assert caught.value.limit.value == 5
    assert caught.value.limit.retry_after_s == pytest.approx(0.2)
    meter.take("Describe", ACCOUNT, arn("b"), 0.0)
    meter.take("Other", ACCOUNT, arn("a"), 0.0)
    meter.take("Describe", ACCOUNT, arn("a"), 0.21)


def test_an_account_has_its_own_limit_over_all_channels() -> None:
    meter = QuotaMeter(Quotas({"Tag": Rates(account=2, channel=5)}))
    for number in range(4):
        meter.take("Tag", ACCOUNT, arn(f"c{number}"), 0.0)
    with pytest.raises(ClientLimitExceededException) as caught:
        meter.take("Tag", ACCOUNT, arn("c9"), 0.0)
    assert caught.value.limit is not None
    assert caught.value.limit.name == "calls_per_second_per_account"
    meter.take("Tag", "111111111111", arn("c9"), 0.0)


def test_another_account_cannot_use_up_the_calls_of_a_channel() -> None:
    meter = QuotaMeter(Quotas({"Tag": Rates(account=50, channel=1)}))
    for _ in range(int(BURST_S)):
        meter.take("Tag", "111111111111", arn("a"), 0.0)
    meter.take("Tag", ACCOUNT, arn("a"), 0.0)


def test_a_caller_has_its_own_limit_in_its_account() -> None:
    meter = QuotaMeter(Quotas({"CreateCredentials": Rates(caller=1)}))
    for _ in range(int(BURST_S)):
        meter.take("CreateCredentials", ACCOUNT, None, 0.0, "AKIA1")
    with pytest.raises(ClientLimitExceededException, match="for one caller") as caught:
        meter.take("CreateCredentials", ACCOUNT, None, 0.0, "AKIA1")
    assert caught.value.limit is not None
    assert caught.value.limit.name == "calls_per_second_per_caller"
    meter.take("CreateCredentials", ACCOUNT, None, 0.0, "AKIA2")
    meter.take("CreateCredentials", "111111111111", None, 0.0, "AKIA1")


def test_a_call_without_a_channel_counts_for_the_account_alone() -> None:
    meter = QuotaMeter(Quotas({"Describe": Rates(account=1, channel=1)}))
    for _ in range(int(BURST_S)):
        meter.take("Describe", ACCOUNT, None, 0.0)
    with pytest.raises(ClientLimitExceededException, match="for one account"):
        meter.take("Describe", ACCOUNT, None, 0.0)


def test_the_relaxed_profile_has_no_limit_and_the_aws_profile_has_those_of_the_guide() -> None:
    meter = QuotaMeter(Quotas.relaxed())
    for _ in range(1000):
        meter.take("CreateSignalingChannel", ACCOUNT, arn("a"), 0.0)
    aws = Quotas.aws().rates
    assert aws["CreateSignalingChannel"] == Rates(account=50)
    assert aws["DescribeSignalingChannel"] == Rates(account=300, channel=5)
    assert aws["GetIceServerConfig"] == Rates(channel=5)


def test_ten_viewers_may_come_at_once() -> None:
    meter = QuotaMeter(Quotas.aws())
    for operation in ("DescribeSignalingChannel", "GetSignalingChannelEndpoint", "GetIceServerConfig"):
        for _ in range(10):
            meter.take(operation, ACCOUNT, arn("demo"), 0.0)


def test_the_number_of_buckets_is_bounded() -> None:
    meter = QuotaMeter(Quotas({"Describe": Rates(channel=5)}), bucket_limit=10)
    for number in range(50):
        meter.take("Describe", ACCOUNT, arn(f"c{number}"), 0.0)
    assert len(meter) == 10
    meter.take("Describe", ACCOUNT, arn("late"), 60.0)
    assert len(meter) == 1
