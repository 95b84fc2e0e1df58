import pytest
import redis

from channels.redis.commands import RedisUnavailableError
from channels.redis.failures import RedisRefusedError, Refusals, answered, is_refused


class AwayError(Exception):
    """What a port raises."""


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (RedisUnavailableError("away"), False),
        (TimeoutError(), False),
        (redis.ResponseError("NOPERM this user"), True),
        (RedisRefusedError("WRONGPASS"), True),
    ],
)
def test_what_redis_does_not_do_is_raised_in_words_of_the_port(error: Exception, wanted: bool) -> None:
    with pytest.raises(AwayError, match=f"^{error}!$") as caught, answered(lambda error: AwayError(f"{error}!")):
        raise error
    assert caught.value.__cause__ is error
    assert is_refused(error) is wanted


def test_an_error_of_ours_is_no_failure_of_redis() -> None:
    with pytest.raises(KeyError), answered(AwayError):
        raise KeyError


def test_a_refusal_is_told_once_until_another_one_comes(caplog: pytest.LogCaptureFixture) -> None:
    refusals = Refusals("what tests need")
    first, second = redis.ResponseError("NOPERM for this key"), redis.ResponseError("WRONGTYPE of a key")
    for error in (first, redis.ResponseError("NOPERM for that key"), second, RedisUnavailableError("gone"), second):
        refusals.note(error)
    assert {record.message for record in caplog.records} == {"redis refuses what tests need"}
    assert [vars(record)["reason"] for record in caplog.records] == [str(first), str(second)]
