import math

import pytest

from channels.signaling.limits import Limits, Meter, Rate


def test_the_aws_profile_has_the_quotas_of_aws_and_a_payload_cap_of_16000() -> None:
    limits = Limits.aws()

    assert (limits.viewers_per_channel, limits.lifetime_s, limits.idle_s) == (10, 3600.0, 600.0)
    rates = (limits.master_connects, limits.viewer_connects, limits.offers, limits.answers, limits.candidates)
    assert [rate.per_s for rate in rates if rate is not None] == [3, 3, 5, 5, 20]
    assert limits.payload_characters == 16_000


def test_ten_viewers_may_come_at_once_and_all_of_them_once_more() -> None:
    rate = Limits.aws().viewer_connects
    assert rate is not None
    meter = Meter.of(rate, 0.0)

    assert [meter.take(0.0) for _ in range(20)] == [0.0] * 20
    assert meter.take(0.0) > 0.0


def test_the_relaxed_profile_lifts_rates_and_times_but_not_what_bounds_memory() -> None:
    aws, relaxed = Limits.aws(), Limits.relaxed()

    assert relaxed.viewers_per_channel > aws.viewers_per_channel
    assert relaxed.lifetime_s is relaxed.idle_s is relaxed.offers is relaxed.viewer_connects is None
    assert relaxed.payload_characters == aws.payload_characters
    assert relaxed.held_messages_per_channel == aws.held_messages_per_channel
    assert relaxed.queued_bytes_per_connection == aws.queued_bytes_per_connection


@pytest.mark.parametrize("characters", [0, -1, 18_051])
def test_a_payload_cap_that_stock_clients_could_not_take_is_refused(characters: int) -> None:
    with pytest.raises(ValueError, match="payload_characters"):
        Limits(payload_characters=characters)


def test_a_meter_says_how_long_to_wait_without_taking() -> None:
    meter = Meter.of(Rate(2, 1), 0.0)

    assert meter.wait_s(0.0) == 0.0
    assert meter.take(0.0) == 0.0
    assert meter.wait_s(0.0) == pytest.approx(0.5)
    assert meter.wait_s(0.25) == pytest.approx(0.25)
    assert meter.take(0.5) == 0.0


def test_a_token_given_back_can_be_taken_again_but_never_overfills() -> None:
    meter = Meter.of(Rate(1, 1), 0.0)
    meter.take(0.0)

    meter.give_back()
    meter.give_back()

    assert meter.take(0.0) == 0.0
    assert meter.take(0.0) > 0.0


def test_a_connection_ends_up_to_a_minute_before_its_lifetime_and_never_after() -> None:
    limits = Limits.aws()
    assert [limits.lifetime_after(early) for early in (0.0, 0.5, 1.0)] == [3600.0, 3570.0, 3540.0]
    assert Limits(lifetime_s=10.0).lifetime_after(1.0) == 0.0
    assert Limits.relaxed().lifetime_after(1.0) == math.inf


def test_no_client_is_told_to_go_unless_it_is_switched_on() -> None:
    assert Limits.aws().go_away_s is None
    assert Limits.relaxed().go_away_s is None
    assert Limits.aws().with_control_messages() == Limits(go_away_s=60.0)
