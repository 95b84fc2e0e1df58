"""One end of the link between two nodes: what either says arrives once and in order, or is known to have failed.

The bus below loses, delays, repeats and reorders. No I/O, no clock, no event loop: frames in, outcomes and bodies out.

    send ----> QUEUED ----------- frames ------------> IN FLIGHT --- acknowledged ---> DELIVERED, ABSENT or SLOW
      |          ^                                       |    |
      '- full    '-- RESEND_S without acknowledgement ---'    '--- its patience is over, or `withdraw`
                                                                     |               |
                          each transmission surely reached nobody, and               otherwise
                          nothing of the same flow after it was sent                 |
                                     |                                               |
                                   UNSENT: may go elsewhere              DOUBTFUL: must not be sent again

A message has a number, and is kept until the other end has acknowledged all numbers up to it: many at once, with what
it says itself or alone, since the sender spends a tenth of a message on settling one by one. The other end hands bodies
over in the order of the numbers: what comes early waits, what comes twice is dropped, what the sender no longer waits
for (below its `base`) is given up. Numbers belong to an epoch: an end that was forgotten starts a new, higher one. A
node that restarted has another name, so it is another link.
"""

import enum
from collections.abc import Callable, Iterator
from typing import Final, Generic, TypeVar

import msgspec

from channels.signaling.link_frame import BODIES_LIMIT, Encoder, Frame

RESEND_S: Final = 0.3
ACKNOWLEDGE_S: Final = 0.05  # acknowledgements alone come at most that often, or after so many messages
WINDOW: Final = 4096  # messages on their way to one node
_ACKNOWLEDGE_AT: Final = WINDOW // 8
WINDOW_BYTES: Final = 8 * 1024 * 1024
_FRAME_BYTES: Final = 256 * 1024
_RESEND_AFTER_S: Final = (RESEND_S, 2 * RESEND_S, 4 * RESEND_S)
_BACKOFF: Final = 2  # the last of these
Context = TypeVar("Context")


class Outcome(enum.IntEnum):
    """What became of a message; the first three are the other node's verdicts."""

    DELIVERED = 0
    ABSENT = 1  # its recipient is not there and never comes back to where it was
    SLOW = 2  # its recipient does not read and was closed
    UNSENT = 3  # surely not handed over
    DOUBTFUL = 4  # handed over or not, nobody knows


class Settled(msgspec.Struct, Generic[Context], frozen=True):
    """One message of ours that the link is done with."""

    context: Context
    outcome: Outcome


class Arrived(msgspec.Struct, frozen=True, gc=False):
    """One body to hand over. It counts as delivered unless `refuse` or `defer` is called with its `number`."""

    epoch: int
    number: int
    body: bytes


_VERDICTS: Final = {int(verdict): verdict for verdict in (Outcome.DELIVERED, Outcome.ABSENT, Outcome.SLOW)}
_DELIVERED: Final = Outcome.DELIVERED


class _Sent(msgspec.Struct, Generic[Context], eq=False):
    """A message until its outcome is known."""

    body: bytes
    flow: object
    context: Context
    give_up_at: float
    heard: int = 0  # transmissions that may have arrived
    resend_at: float = 0.0
    tries: int = 0

    def note_sent(self, now: float) -> None:
        """It is on its way, once more."""
        tries = self.tries
        self.heard += 1
        self.resend_at = now + _RESEND_AFTER_S[tries if tries < _BACKOFF else _BACKOFF]
        self.tries = tries + 1


class NodeLink(Generic[Context]):
    """This node's end of the link to another one; `epoch` is higher than that of any earlier end from here to there."""

    def __init__(self, here: str, epoch: int) -> None:
        self._encoder = Encoder(here)
        self._epoch = epoch
        self._out: dict[int, _Sent[Context]] = {}
        self._out_bytes = 0
        self._base = 1  # the lowest number that is not settled
        self._next = 1
        self._fresh = 1  # from here on nothing was sent yet
        self._again: set[int] = set()
        self._doubtful = 0  # the last one that was given up without being sure
        self._their_epoch = 0
        self._expected = 1
        self._early: dict[int, bytes] = {}
        self._early_bytes = 0
        self._deferred: dict[int, None] = {}
        self._refused: dict[int, int] = {}
        self._owed = 0  # bodies that are not acknowledged
        self._acknowledged = 0  # the last that is
        self.acknowledged_at = float("-inf")
        self.duplicates = 0
        self.resent = 0

    def __len__(self) -> int:
        """How many messages of ours are on their way."""
        return len(self._out)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is on its way that we can settle; what came too early waits for the other end alone."""
        return not (self._out or self._deferred or self._owed)

    @property
    def owes_much(self) -> bool:
        """Whether an acknowledgement should not wait: so much is kept at the other end for it."""
        return self._owed >= _ACKNOWLEDGE_AT

    @property
    def has_news(self) -> bool:
        """Whether `frames` has messages to send, new ones or again."""
        return self._fresh < self._next or bool(self._again)

    # What we say

    def send(self, body: bytes, flow: object, context: Context, give_up_at: float) -> bool:
        """Queue a message of the order `flow`, given up at `give_up_at`; False when too much is on its way."""
        if self._next - self._base >= WINDOW or self._out_bytes + len(body) > WINDOW_BYTES:
            return False
        self._out[self._next] = _Sent(body, flow, context, give_up_at)
        self._out_bytes += len(body)
        self._next += 1
        return True

    def frames(self, now: float) -> list[bytes]:
        """What is to be sent now: new messages, those that are due again, and else an acknowledgement that is owed."""
        first = self._fresh
        if first + 1 == self._next and not self._again:  # so it mostly is
            sent = self._out.get(first)
            if sent is not None:
                return [self._frame_of(first, sent, now)]
        numbers = range(first, self._next)
        again, self._again, self._fresh = sorted(self._again), set(), self._next
        made: list[bytes] = []
        part: list[tuple[int, bytes]] = []
        size = 0
        for number in (*again, *numbers) if again else numbers:
            sent = self._out.get(number)
            if sent is None:
                continue
            if part and (size + len(sent.body) > _FRAME_BYTES or len(part) == BODIES_LIMIT):
                made.append(self._encode(part))
                part, size = [], 0
            sent.note_sent(now)
            part.append((number, sent.body))
            size += len(sent.body)
        self.resent += len(again)
        if part or (self._owed and not made):
            made.append(self._encode(part))
        if made:
            self._owed, self.acknowledged_at = 0, now
        return made

    def unheard(self, frame: Frame) -> None:
        """This frame of ours surely reached nobody."""
        if frame.epoch != self._epoch:
            return
        for number, _ in frame.messages:
            sent = self._out.get(number)
            if sent is not None:
                sent.heard -= 1

    def resend(self) -> None:
        """The bus was away: send all that is on its way again with the next frames."""
        self._again.update(number for number in self._out if number < self._fresh)

    def expire(self, now: float) -> list[Settled[Context]]:
        """Give up what is over its time; have sent again what was not acknowledged in time."""
        is_over = False
        for number, sent in self._out.items():
            is_over = is_over or sent.give_up_at <= now
            if number < self._fresh and sent.resend_at <= now:
                self._again.add(number)
        return self._give_up(lambda sent: sent.give_up_at <= now) if is_over else []

    def withdraw(self, flow: object) -> list[Settled[Context]]:
        """Give up all messages of this order."""
        return self._give_up(lambda sent: sent.flow is flow)

    def contexts(self) -> Iterator[Context]:
        """Of all messages that are on their way."""
        return (sent.context for sent in self._out.values())

    def suspects(self) -> tuple[object, ...]:
        """The orders of messages that had to be sent again: is their recipient still there?"""
        return tuple({sent.flow: None for sent in self._out.values() if sent.tries > 1})

    # What we hear

    def receive(self, frame: Frame) -> tuple[list[Settled[Context]], list[Arrived]]:
        """Take a frame of the other end: what of ours is settled, and what is to be handed over, in order."""
        is_new = frame.acknowledged >= self._base and frame.acknowledged_epoch == self._epoch
        settled = self._acknowledge(frame) if is_new else []
        epoch, base, messages = frame.epoch, frame.base, frame.messages
        if epoch != self._their_epoch:
            if epoch < self._their_epoch:
                return settled, []
            self._meet(epoch, base)
        arrived: list[Arrived] = []
        if base > self._expected or self._refused or self._deferred:
            self._forget_below(base)
            self._release_early(arrived)
        for number, body in messages:
            if number == self._expected:
                self._expected = number + 1
                arrived.append(Arrived(epoch, number, body))
            else:
                self._take_early(number, body)
            if self._early:
                self._release_early(arrived)
        self._owed += len(messages)
        return settled, arrived

    def refuse(self, arrived: Arrived, outcome: Outcome) -> None:
        """This body was not handed over: ABSENT or SLOW."""
        if arrived.epoch == self._their_epoch:
            self._deferred.pop(arrived.number, None)
            self._refused[arrived.number] = outcome
            self._owed += 1

    def defer(self, arrived: Arrived) -> None:
        """Don't acknowledge this body before `refuse` or `accept`."""
        self._deferred[arrived.number] = None

    def accept(self, arrived: Arrived) -> None:
        """A deferred body was handed over after all."""
        if arrived.epoch == self._their_epoch and arrived.number in self._deferred:
            del self._deferred[arrived.number]
            self._owed += 1

    def acknowledge_in(self, now: float) -> float | None:
        """Seconds until an acknowledgement should go out alone; None when none is owed."""
        if not self._owed:
            return None
        return 0.0 if self.owes_much else max(0.0, self.acknowledged_at + ACKNOWLEDGE_S - now)

    def _frame_of(self, number: int, sent: _Sent[Context], now: float) -> bytes:
        """The frame with the one message that is new; while the last acknowledgement is young it is told again."""
        self._fresh = number + 1
        sent.note_sent(now)
        if self._refused or self._deferred:
            self._owed, self.acknowledged_at = 0, now
            return self._encode([(number, sent.body)])
        if self._owed and (now >= self.acknowledged_at + ACKNOWLEDGE_S / 2 or self._owed >= _ACKNOWLEDGE_AT):
            self._owed, self.acknowledged_at, self._acknowledged = 0, now, self._expected - 1
        return self._encoder.encode_one(
            self._epoch, self._base, (self._their_epoch, self._acknowledged), number, sent.body
        )

    def _encode(self, messages: list[tuple[int, bytes]]) -> bytes:
        acknowledged = (next(iter(self._deferred)) if self._deferred else self._expected) - 1
        self._acknowledged = acknowledged
        refused: list[tuple[int, int]] = []
        if self._refused:
            refused = [(number, verdict) for number, verdict in self._refused.items() if number <= acknowledged]
        return self._encoder.encode(self._epoch, self._base, (self._their_epoch, acknowledged), refused, messages)

    def _meet(self, epoch: int, base: int) -> None:
        """The other end is a new one."""
        self._their_epoch, self._expected, self._acknowledged = epoch, base, base - 1
        self._early_bytes = self._owed = 0
        for table in (self._early, self._deferred, self._refused):
            table.clear()

    def _acknowledge(self, frame: Frame) -> list[Settled[Context]]:
        settled = []
        out, verdicts = self._out, dict(frame.refused)
        for number in range(self._base, min(frame.acknowledged + 1, self._next)):
            sent = out.pop(number, None)
            if sent is not None:
                self._out_bytes -= len(sent.body)
                verdict = _VERDICTS.get(verdicts.get(number, 0), Outcome.ABSENT) if verdicts else _DELIVERED
                settled.append(Settled(sent.context, verdict))
        if settled:
            self._advance()
        return settled

    def _give_up(self, is_over: Callable[[_Sent[Context]], bool]) -> list[Settled[Context]]:
        heard = {sent.flow: number for number, sent in self._out.items() if sent.heard}  # the last one of each order
        left: set[object] = set()  # orders of which one goes elsewhere: what comes after it must not stay behind
        settled = []
        for number, sent in list(self._out.items()):
            if not is_over(sent) and sent.flow not in left:
                continue
            is_unsent = number > max(heard.get(sent.flow, 0), self._doubtful)
            if is_unsent:
                left.add(sent.flow)
            else:
                self._doubtful = max(self._doubtful, number)
            del self._out[number]
            self._out_bytes -= len(sent.body)
            settled.append(Settled(sent.context, Outcome.UNSENT if is_unsent else Outcome.DOUBTFUL))
        self._advance()
        return settled

    def _advance(self) -> None:
        while self._base < self._next and self._base not in self._out:
            self._base += 1
        self._fresh = max(self._fresh, self._base)

    def _forget_below(self, base: int) -> None:
        """The sender does not wait for what is below: it is never handed over, and its verdict is of no use."""
        for table in (self._refused, self._deferred):
            for number in [number for number in table if number < base]:
                del table[number]
        if base <= self._expected:
            return
        self._expected = base
        for number in [number for number in self._early if number < base]:
            self._early_bytes -= len(self._early.pop(number))

    def _take_early(self, number: int, body: bytes) -> None:
        if number < self._expected or number in self._early:
            self.duplicates += 1
        elif number < self._expected + WINDOW and self._early_bytes + len(body) <= WINDOW_BYTES:
            self._early[number] = body
            self._early_bytes += len(body)
        # else it is too early: the sender sends it again

    def _release_early(self, arrived: list[Arrived]) -> None:
        while self._expected in self._early:
            body = self._early.pop(self._expected)
            self._early_bytes -= len(body)
            arrived.append(Arrived(self._their_epoch, self._expected, body))
            self._expected += 1
