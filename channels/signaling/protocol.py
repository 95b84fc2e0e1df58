"""Signaling rules of one connection: frame in, at most one effect out. No I/O, no clock.

Knows rates, sizes, lifetime and who may be addressed; where a recipient is, the hub knows.
Source: KVS developer guide, ConnectAsMaster and ConnectAsViewer.
"""

import functools
from typing import Final

import msgspec

from channels.errors import (
    ClientLimitExceededException,
    InvalidArgumentException,
    Limit,
    ServiceError,
)
from channels.names import Role, parse_client_id
from channels.signaling import messages
from channels.signaling.limits import Limits, Meter, Rate
from channels.signaling.messages import Action, ClientMessage, Event, FrameError, Status

_MALFORMED: Final = Rate(5, 20)  # how many answers a client gets to frames that break the rules
_RATE_NAMES: Final = {
    Action.SDP_OFFER: "offers_per_second",
    Action.SDP_ANSWER: "answers_per_second",
    Action.ICE_CANDIDATE: "candidates_per_second",
}
# Close codes (RFC 6455, 7.4.1); a client of KVS meets no others from us.
NORMAL: Final = 1000
GOING_AWAY: Final = 1001
POLICY_VIOLATION: Final = 1008
TOO_SLOW: Final = 1008


class Address(msgspec.Struct, frozen=True, gc=False, cache_hash=True):
    """One slot of a channel; the master's client id is always ""."""

    role: Role
    client_id: str = ""


MASTER: Final = Address(Role.MASTER)


class Forward(msgspec.Struct, frozen=True, gc=False):
    """Bring the message to the recipient."""

    recipient: Address
    message: ClientMessage


class Refuse(msgspec.Struct, frozen=True, gc=False):
    """The frame fails; `result` is the word for the counters, `status` the answer, None when none is due."""

    result: str
    action: str
    status: Status | None


class Close(msgspec.Struct, frozen=True, gc=False):
    """End the connection with this websocket close code and reason.

    `hears_out`: what the client says before it hears of it is brought on.
    """

    code: int
    reason: str
    hears_out: bool = True


class Announce(msgspec.Struct, frozen=True, gc=False):
    """Tell the client what is about to happen."""

    event: Event


Effect = Forward | Refuse | Close


def status_of(error: ServiceError, correlation_id: str) -> Status:
    """The STATUS_RESPONSE part for an error (KVS API: statusCode is a string)."""
    return Status(correlation_id, error.code, str(error.status), error.message)


class Rules:
    """One connection's side of the protocol: its rates, its idle time and its end.

    `early` is 0 to 1: which part of the limits' jitter is taken from the lifetime, so that connections that began
    together don't end together.
    """

    __slots__ = (
        "_expires_at",
        "_go_away_at",
        "_lifetime_at",
        "_limits",
        "_malformed",
        "_meters",
        "_pairs",
        "heard_at",
        "role",
    )

    def __init__(
        self, role: Role, limits: Limits, now: float, expires_at: float | None = None, early: float = 0.0
    ) -> None:
        self.role = role
        self._limits = limits
        self.heard_at = now  # the last message to or from it: until then it was not idle
        self._lifetime_at = None if limits.lifetime_s is None else now + limits.lifetime_after(early)
        self._go_away_at = (
            None
            if self._lifetime_at is None or limits.go_away_s is None
            else max(now, self._lifetime_at - limits.go_away_s)
        )
        self._expires_at = expires_at
        # The master answers every viewer, so its burst is that of one viewer times the viewers; the rate stays.
        crowd = limits.viewers_per_channel if role is Role.MASTER else 1
        self._meters = {
            action: Meter(rate.per_s, rate.burst * crowd, now) for action, rate in _rates(limits) if rate is not None
        }
        self._pairs: dict[tuple[Action, str], Meter] = {}
        self._malformed: Meter | None = None  # nearly nobody's: made when it is needed

    def receive(self, frame: str, now: float) -> Effect | None:
        """The effect of one text frame; None for a keep-alive and for a malformed frame beyond the answers' rate."""
        self.heard_at = now
        if not frame:
            return None
        try:
            message = messages.decode(frame, self._limits.payload_characters)
            recipient = MASTER if self.role is Role.VIEWER else _viewer(message)
        except FrameError as error:
            return self._malformed_answer(error, now)
        limit = self._take(message, now) if self._meters else None
        if limit is not None:
            return _limited(message, limit)
        return Forward(recipient, message)

    def postpone_expiry(self, by_s: float) -> None:
        """The credential ends `by_s` later in these seconds than was thought; nothing else does."""
        if self._expires_at is not None:
            self._expires_at += by_s

    def next_deadline(self) -> float | None:
        """When `expire` has to be asked, in monotonic seconds."""
        times = (self._idle_at(), self._go_away_at, self._lifetime_at, self._expires_at)
        return min((when for when in times if when is not None), default=None)

    def expire(self, now: float) -> Close | Announce | None:
        """What is due at `now`, if anything is. An announcement comes once, and before no close that is due."""
        if self._lifetime_at is not None and now >= self._lifetime_at:
            return Close(GOING_AWAY, "the lifetime of a connection is over")
        if self._expires_at is not None and now >= self._expires_at:
            return Close(GOING_AWAY, "the credential has expired", hears_out=False)
        idle_at = self._idle_at()
        if idle_at is not None and now >= idle_at:
            return Close(GOING_AWAY, f"idle for {self._limits.idle_s:g} s")
        if self._go_away_at is not None and now >= self._go_away_at:
            self._go_away_at = None
            return Announce(Event.GO_AWAY)
        return None

    def _idle_at(self) -> float | None:
        return None if self._limits.idle_s is None else self.heard_at + self._limits.idle_s

    def _take(self, message: ClientMessage, now: float) -> Limit | None:
        """The limit that this message breaks, None when it may pass."""
        meter = self._meters.get(message.action)
        if meter is None:
            return None
        if self.role is Role.MASTER:
            wait_s = self._pair(message, meter, now).take(now)
            if wait_s > 0.0:
                return Limit(_RATE_NAMES[message.action], meter.rate, wait_s)
        wait_s = meter.take(now)
        return Limit(_RATE_NAMES[message.action], meter.rate, wait_s) if wait_s > 0.0 else None

    def _pair(self, message: ClientMessage, whole: Meter, now: float) -> Meter:
        """The meter of one kind of message to one viewer; those that are full again are forgotten."""
        key = (message.action, message.recipient)
        meter = self._pairs.get(key)
        if meter is None:
            viewers = self._limits.viewers_per_channel
            self._make_room(12 * viewers, now)
            meter = self._pairs[key] = Meter(whole.rate, whole.burst / viewers, now)
        return meter

    def _make_room(self, bound: int, now: float) -> None:
        if len(self._pairs) < bound:
            return
        self._pairs = {key: meter for key, meter in self._pairs.items() if not meter.is_full(now)}
        while len(self._pairs) >= bound:  # all are in use: the oldest gives way
            del self._pairs[next(iter(self._pairs))]

    def _malformed_answer(self, error: FrameError, now: float) -> Refuse:
        self._malformed = self._malformed or Meter.of(_MALFORMED, now)
        if self._malformed.take(now) > 0.0:
            return Refuse("malformed", "none", None)
        return Refuse("malformed", "none", status_of(InvalidArgumentException(error.message), error.correlation_id))


def _rates(limits: Limits) -> tuple[tuple[Action, Rate | None], ...]:
    return (
        (Action.SDP_OFFER, limits.offers),
        (Action.SDP_ANSWER, limits.answers),
        (Action.ICE_CANDIDATE, limits.candidates),
    )


def _viewer(message: ClientMessage) -> Address:
    """The viewer that a master's frame names."""
    if not message.recipient:
        raise FrameError("recipientClientId is required from a master", message.correlation_id)
    try:
        return _slot(message.recipient)
    except InvalidArgumentException:
        raise FrameError(
            "recipientClientId must be 1 to 256 characters of a-z A-Z 0-9 _ . -", message.correlation_id
        ) from None


@functools.lru_cache(4096)  # of a pure function: a master writes to the same few again and again
def _slot(client_id: str) -> Address:
    return Address(Role.VIEWER, parse_client_id(client_id))


def _limited(message: ClientMessage, limit: Limit) -> Refuse:
    action = message.action.value
    if not message.correlation_id:
        return Refuse("limited", action, None)
    error = ClientLimitExceededException(
        f"{limit.name} is {limit.value:g} for one connection; try again in {limit.retry_after_s or 0.0:.2f} s", limit
    )
    return Refuse("limited", action, status_of(error, message.correlation_id))
