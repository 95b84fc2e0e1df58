"""What Redis does not do, as the adapters tell it: each in the error of its port, and a refusal once in the log."""

import contextlib
import logging
from collections.abc import Callable, Iterator

import redis

from channels.redis.commands import RedisUnavailableError

log = logging.getLogger(__name__)


class RedisRefusedError(Exception):
    """Redis is there, and lets us not in or does not do what we ask: waiting does not help."""


@contextlib.contextmanager
def answered(failure: Callable[[Exception], Exception]) -> Iterator[None]:
    """Where the block has no answer of Redis, or a refusal, raise what `failure` makes of that error."""
    try:
        yield
    except (RedisUnavailableError, RedisRefusedError, TimeoutError, redis.RedisError) as error:
        raise failure(error) from error


def is_refused(error: BaseException | None) -> bool:
    """Whether Redis is there and does not do what we ask: its rights were changed, a key was spoiled."""
    return isinstance(error, redis.RedisError | RedisRefusedError)


class Refusals:
    """What Redis refuses to one part of this node, `what` it needs: each kind is told once, until another one comes."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._told = ""

    def note(self, error: Exception) -> None:
        """Log it if it is a refusal of a new kind, by the first word of Redis."""
        kind, _, _ = str(error).partition(" ")
        if is_refused(error) and kind != self._told:
            self._told = kind
            log.error("redis refuses %s", self._what, extra={"reason": str(error)})
