"""Limits of the signaling plane as one value, in two profiles, and the buckets that hold a rate. Pure.

Source: service quotas of the KVS developer guide; sizes of our own tables where AWS names none.
"""

import math
from typing import Final

import msgspec

from channels.bucket import Bucket
from channels.signaling.messages import FRAME_LIMIT

FRAME_OVERHEAD: Final = 700  # JSON around a payload: type, keys, a sender id of 256 characters
_GO_AWAY_S: Final = 60.0  # AWS: grace period of GO_AWAY
_PAYLOAD_MAX: Final = FRAME_LIMIT - FRAME_OVERHEAD


class Rate(msgspec.Struct, frozen=True):
    """`per_s` times per second on average, up to `burst` at once."""

    per_s: float
    burst: float


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Every bound of the signaling plane; None is no limit.

    Characters count base64 text, bytes count whole frames, durations are seconds. Raises: ValueError for a payload
    cap whose frames stock clients could not take.
    """

    viewers_per_channel: int = 10
    # A channel's ten viewers may come at once, and all of them once more (a reload, a node that went away), before
    # the three per second of AWS hold them back: 20. A viewer that finds the channel full costs nothing.
    viewer_connects: Rate | None = Rate(3, 20)
    # One master per channel needs no burst; two that throw each other out are held to the rate at once.
    master_connects: Rate | None = Rate(3, 3)
    offers: Rate | None = Rate(5, 5)
    answers: Rate | None = Rate(5, 5)
    # A browser that trickles sends its candidates within milliseconds, 15 for each of two media lines before bundling.
    candidates: Rate | None = Rate(20, 30)
    # Frames of any kind of one connection: far above what the rates let pass, so that only a flood is read more slowly.
    frames: Rate | None = Rate(500, 1000)
    payload_characters: int = 16_000
    lifetime_s: float | None = 3600.0
    # Each connection ends up to this much earlier, so that those that began together don't reconnect together.
    lifetime_jitter_s: float = 60.0
    # So long before its lifetime ends a connection is told GO_AWAY; None tells none: a stock C SDK freezes on it.
    go_away_s: float | None = None
    idle_s: float | None = 600.0
    held_messages_per_pair: int = 64
    held_bytes_per_pair: int = 256 * 1024
    held_messages_per_channel: int = 1024
    queued_bytes_per_connection: int = 256 * 1024

    def __post_init__(self) -> None:
        if not 0 < self.payload_characters <= _PAYLOAD_MAX:
            raise ValueError(f"payload_characters: {self.payload_characters} is not 1 to {_PAYLOAD_MAX}")

    def lifetime_after(self, early: float) -> float:
        """The lifetime of one connection when `early` (0 to 1) of the jitter is taken off; infinite without a limit."""
        lifetime_s = math.inf if self.lifetime_s is None else self.lifetime_s
        return lifetime_s - early * min(self.lifetime_jitter_s, lifetime_s)

    @classmethod
    def aws(cls) -> "Limits":
        """The quotas of AWS, with a payload cap of 16,000 instead of 10,000 (a browser's whole offer passes that)."""
        return cls()

    @classmethod
    def relaxed(cls) -> "Limits":
        """No rates, no lifetime, a thousand viewers; what bounds memory stays."""
        return cls(
            viewers_per_channel=1000,
            viewer_connects=None,
            master_connects=None,
            offers=None,
            answers=None,
            candidates=None,
            frames=None,
            lifetime_s=None,
            idle_s=None,
        )

    def with_control_messages(self) -> "Limits":
        """The same limits for clients that all bear GO_AWAY: told as early as AWS does."""
        return msgspec.structs.replace(self, go_away_s=_GO_AWAY_S)


class Meter(Bucket):
    """A bucket that can be looked into without taking, and that takes a token back."""

    __slots__ = ()

    @classmethod
    def of(cls, rate: Rate, now: float) -> "Meter":
        """A full meter of this rate."""
        return cls(rate.per_s, rate.burst, now)

    def wait_s(self, now: float) -> float:
        """Seconds until a take succeeds; 0.0 when it would now."""
        self._refill(now)
        return max(0.0, 1.0 - self._tokens) / self.rate

    def give_back(self) -> None:
        """Undo one take: what it was for did not happen."""
        self._tokens = min(self.burst, self._tokens + 1.0)
