"""Who fails too often is refused unheard, alone, and for a while."""

import pytest

from channels.auth.failures import Failures
from channels.errors import ClientLimitExceededException


def fail(failures: Failures, source: str, times: int, now: float) -> None:
    for _ in range(times):
        failures.count(source, now)


def test_source_is_heard_until_it_has_failed_as_often_as_the_burst() -> None:
    failures = Failures(rate=1.0, burst=3.0)
    fail(failures, "192.0.2.1", 2, now=0.0)
    failures.check("192.0.2.1", now=0.0)
    fail(failures, "192.0.2.1", 1, now=0.0)
    with pytest.raises(ClientLimitExceededException) as refused:
        failures.check("192.0.2.1", now=0.0)
    assert refused.value.limit is not None
    assert refused.value.limit.name == "failed_authentications_per_second"
    assert (refused.value.limit.value, refused.value.limit.retry_after_s) == (1.0, 1.0)
    assert (failures.stats.failures, failures.stats.refused) == (3, 1)


def test_source_is_heard_again_after_the_time_it_was_told() -> None:
    failures = Failures(rate=2.0, burst=1.0)
    fail(failures, "192.0.2.1", 1, now=0.0)
    with pytest.raises(ClientLimitExceededException):
        failures.check("192.0.2.1", now=0.49)
    failures.check("192.0.2.1", now=0.5)


def test_who_goes_on_failing_gets_no_more_than_the_rate() -> None:
    failures = Failures(rate=1.0, burst=5.0)
    heard = 0
    for step in range(1000):
        now = step / 10
        try:
            failures.check("192.0.2.1", now)
        except ClientLimitExceededException:
            continue
        heard += 1
        failures.count("192.0.2.1", now)
    assert heard in (104, 105)  # the burst, and one a second for 100 s


def test_other_sources_are_not_touched() -> None:
    failures = Failures(burst=1.0)
    fail(failures, "192.0.2.1", 1, now=0.0)
    failures.check("192.0.2.2", now=0.0)


@pytest.mark.parametrize("neighbour", ["2001:db8::2", "2001:db8:0:0:ffff::1", "2001:db8::1%eth0"])
def test_addresses_of_one_ipv6_site_count_together(neighbour: str) -> None:
    failures = Failures(burst=1.0)
    fail(failures, "2001:db8::1", 1, now=0.0)
    with pytest.raises(ClientLimitExceededException):
        failures.check(neighbour, now=0.0)
    failures.check("2001:db8:0:1::1", now=0.0)


@pytest.mark.parametrize("source", ["", "unix:", "::ffff:1", "a:b"])
def test_odd_source_is_a_source(source: str) -> None:
    failures = Failures(burst=1.0)
    fail(failures, source, 1, now=0.0)
    with pytest.raises(ClientLimitExceededException):
        failures.check(source, now=0.0)


def test_table_is_of_fixed_size_and_forgets_who_failed_longest_ago() -> None:
    failures = Failures(burst=1.0, limit=3)
    for number in range(1, 4):
        fail(failures, f"192.0.2.{number}", 1, now=0.0)
    failures.count("192.0.2.1", now=0.0)  # again: so .2 is the oldest
    failures.count("192.0.2.9", now=0.0)
    assert len(failures) == 3
    assert failures.stats.evicted == 1
    failures.check("192.0.2.2", now=0.0)
    with pytest.raises(ClientLimitExceededException):
        failures.check("192.0.2.1", now=0.0)


def test_ipv4_addresses_in_ipv6_clothes_count_each_for_itself() -> None:
    failures = Failures(burst=1.0)
    fail(failures, "::ffff:192.0.2.1", 1, now=0.0)
    failures.check("::ffff:192.0.2.2", now=0.0)
    with pytest.raises(ClientLimitExceededException):
        failures.check("192.0.2.1", now=0.0)


def test_failures_counted_while_refused_do_not_lengthen_the_wait() -> None:
    failures = Failures(rate=1.0, burst=2.0)
    fail(failures, "192.0.2.1", 1000, now=0.0)
    failures.check("192.0.2.1", now=1.0)
