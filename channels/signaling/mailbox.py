"""Messages held for absent peers: order, time to live, bounds. The interface, its rules, and the in-process one.

A newer offer (or answer) of one sender takes the place of its undelivered older one; candidates are all kept.
Nothing is trimmed: what does not fit is refused. Source: `MessageTtlSeconds` of the KVS API.
"""

import heapq
from collections.abc import Callable
from typing import Final, Protocol

import msgspec

from channels.errors import ClientLimitExceededException, Limit, ResourceNotFoundException, ServiceError
from channels.names import Role
from channels.signaling.limits import Limits
from channels.signaling.messages import Action
from channels.signaling.protocol import Address

_REPLACED: Final = frozenset((Action.SDP_OFFER, Action.SDP_ANSWER))
# An expired message is no longer given out, but stays this long so that its sender's node finds it and reports it.
_GRACE_S: Final = 5.0


class Mail(msgspec.Struct, frozen=True, gc=False):
    """One message on its way to a recipient that is not on the sender's node, or nowhere.

    `frame` is what the recipient gets. `node` and `connection_id` say who gets the error status, which is only sent
    when `correlation_id` is not "". `hops` counts the nodes that passed it on.
    """

    id: str
    channel: str
    recipient: Address
    sender: Address
    action: Action
    frame: bytes
    correlation_id: str
    ttl_s: float
    node: str
    connection_id: str
    hops: int = 0


class Mailbox(Protocol):
    """Where messages for absent peers wait, for all nodes of a service."""

    async def hold(self, mail: Mail, *, is_expected: bool) -> ServiceError | None:
        """Keep the message for its time to live; the answer is why not, if it was not kept.

        A viewer's mail is kept when `is_expected` or when that viewer left within the last time to live.
        """

    async def take(self, channel: str, recipient: Address) -> tuple[Mail, ...]:
        """Remove and return what waits for the recipient, oldest first; nobody else gets it too."""

    async def withdraw(self, mail: Mail) -> bool:
        """Remove one message; False when it is not there any more, because it was taken or replaced."""

    async def remember(self, channel: str, client_id: str, ttl_s: float) -> None:
        """Note that this viewer was here, so that mail for it is kept for `ttl_s` from now."""

    async def drop(self, channel: str) -> None:
        """Forget the channel: it was deleted."""


class _Box:
    """What is held in one channel."""

    __slots__ = ("count", "mails", "seen_until")

    def __init__(self) -> None:
        self.mails: dict[Address, dict[str, tuple[float, Mail]]] = {}
        self.count = 0
        self.seen_until: dict[str, float] = {}


class HeldMail:
    """The rules of a mailbox, without I/O and clock; `now` is in monotonic seconds."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._boxes: dict[str, _Box] = {}
        self._ends: list[tuple[float, str]] = []  # when a box may have something to forget

    def __len__(self) -> int:
        """How many messages are held; expired ones count until the next call with a later `now`."""
        return sum(box.count for box in self._boxes.values())

    @property
    def is_empty(self) -> bool:
        """Whether nothing is held and nobody remembered."""
        return not self._boxes

    def hold(self, mail: Mail, now: float, *, is_expected: bool) -> ServiceError | None:
        """Keep the message, or say why not."""
        self.expire(now)
        box = self._boxes.get(mail.channel) or _Box()
        viewer = mail.recipient.client_id
        if mail.recipient.role is Role.VIEWER and not is_expected and box.seen_until.get(viewer, 0.0) <= now:
            return ResourceNotFoundException(f"no viewer {viewer} is connected")
        older = _superseded(box, mail)
        refusal = self._refusal(box, mail, older)
        if refusal is None:
            waiting = box.mails.setdefault(mail.recipient, {})
            box.count += 1 - len(older)
            for mail_id in older:
                del waiting[mail_id]
            waiting[mail.id] = (now + mail.ttl_s, mail)
            self._keep(mail.channel, box, now + mail.ttl_s)
        return refusal

    def take(self, channel: str, recipient: Address, now: float) -> tuple[Mail, ...]:
        """Remove and return what waits for the recipient, oldest first."""
        self.expire(now)
        box = self._boxes.get(channel)
        if box is None:
            return ()
        waiting = box.mails.get(recipient, {})
        mails = tuple(mail for until, mail in waiting.values() if until > now)
        for mail in mails:
            del waiting[mail.id]
        box.count -= len(mails)
        self._tidy(channel, box)
        return mails

    def withdraw(self, mail: Mail, now: float) -> bool:
        """Remove one message; shortly after its time is over, too."""
        box = self._boxes.get(mail.channel)
        if box is None or box.mails.get(mail.recipient, {}).pop(mail.id, None) is None:
            return False
        box.count -= 1
        self._tidy(mail.channel, box)
        self.expire(now)
        return True

    def remember(self, channel: str, client_id: str, until: float, now: float) -> None:
        """Keep mail for this viewer until then."""
        self.expire(now)
        box = self._boxes.get(channel) or _Box()
        box.seen_until[client_id] = max(until, box.seen_until.get(client_id, 0.0))
        self._keep(channel, box, until)

    def drop(self, channel: str) -> None:
        """Forget the channel."""
        self._boxes.pop(channel, None)

    def expire(self, now: float) -> None:
        """Forget what is over at `now`."""
        while self._ends and self._ends[0][0] <= now:
            _, channel = heapq.heappop(self._ends)
            box = self._boxes.get(channel)
            if box is not None:
                self._forget(box, now)
                self._tidy(channel, box)

    def _refusal(self, box: _Box, mail: Mail, older: tuple[str, ...]) -> ServiceError | None:
        limits = self._limits
        waiting = box.mails.get(mail.recipient, {}).values()
        frames = [m.frame for _, m in waiting if m.sender == mail.sender and m.id not in older]
        if len(frames) >= limits.held_messages_per_pair:
            return _full("held_messages_per_pair", limits.held_messages_per_pair)
        if sum(map(len, frames)) + len(mail.frame) > limits.held_bytes_per_pair:
            return _full("held_bytes_per_pair", limits.held_bytes_per_pair)
        if box.count - len(older) >= limits.held_messages_per_channel:
            return _full("held_messages_per_channel", limits.held_messages_per_channel)
        return None

    def _keep(self, channel: str, box: _Box, until: float) -> None:
        self._boxes[channel] = box
        heapq.heappush(self._ends, (until + _GRACE_S, channel))

    def _forget(self, box: _Box, now: float) -> None:
        for recipient, waiting in tuple(box.mails.items()):
            alive = {mail_id: entry for mail_id, entry in waiting.items() if entry[0] + _GRACE_S > now}
            box.count -= len(waiting) - len(alive)
            box.mails[recipient] = alive
        box.seen_until = {client_id: until for client_id, until in box.seen_until.items() if until > now}

    def _tidy(self, channel: str, box: _Box) -> None:
        box.mails = {recipient: waiting for recipient, waiting in box.mails.items() if waiting}
        if not box.mails and not box.seen_until:
            self._boxes.pop(channel, None)


def _superseded(box: _Box, mail: Mail) -> tuple[str, ...]:
    """Ids of the undelivered older offer (or answer) of the same sender that this one replaces."""
    if mail.action not in _REPLACED:
        return ()
    waiting = box.mails.get(mail.recipient, {})
    return tuple(i for i, (_, m) in waiting.items() if m.sender == mail.sender and m.action is mail.action)


def _full(name: str, value: int) -> ServiceError:
    return ClientLimitExceededException(
        f"the recipient is away and {name} is {value}: try again when it is back", Limit(name, value)
    )


class InProcessMailbox:
    """The mailbox of one process: the rules with a clock. Nodes of one process share one instance."""

    def __init__(self, limits: Limits, now: Callable[[], float]) -> None:
        self.held = HeldMail(limits)
        self._now = now

    async def hold(self, mail: Mail, *, is_expected: bool) -> ServiceError | None:
        """Keep the message for its time to live, or say why not."""
        return self.held.hold(mail, self._now(), is_expected=is_expected)

    async def take(self, channel: str, recipient: Address) -> tuple[Mail, ...]:
        """Remove and return what waits for the recipient, oldest first."""
        return self.held.take(channel, recipient, self._now())

    async def withdraw(self, mail: Mail) -> bool:
        """Remove one message; False when it is not there any more."""
        return self.held.withdraw(mail, self._now())

    async def remember(self, channel: str, client_id: str, ttl_s: float) -> None:
        """Keep mail for this viewer for `ttl_s` from now."""
        now = self._now()
        self.held.remember(channel, client_id, now + ttl_s, now)

    async def drop(self, channel: str) -> None:
        """Forget the channel."""
        self.held.drop(channel)
