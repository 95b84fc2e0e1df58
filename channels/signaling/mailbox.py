"""Messages held for absent peers: order, time to live, bounds. The interface, its rules, and the in-process one.

A newer offer (or answer) of one sender takes the place of its undelivered older one; candidates are all kept. The time
to live begins when a message is held for the first time: held again, since who took it was gone, it ends as it would,
and is dropped when a newer one has come meanwhile.
Nothing is trimmed: what does not fit is refused. Source: `MessageTtlSeconds` of the KVS API.
"""

import math
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import msgspec

from channels.errors import ClientLimitExceededException, Limit, ResourceNotFoundException, ServiceError
from channels.names import Role
from channels.signaling.deadlines import Deadlines
from channels.signaling.limits import Limits
from channels.signaling.messages import Action
from channels.signaling.protocol import MASTER, Address

_REPLACED: Final = frozenset((Action.SDP_OFFER, Action.SDP_ANSWER))
# An expired message is no longer given out, but stays this long so that its sender's node finds it and reports it.
GRACE_S: Final = 5.0


class MailboxUnavailableError(Exception):
    """The mailbox cannot be asked now: try again later."""


class Mail(msgspec.Struct, frozen=True, gc=False):
    """One message on its way to a recipient that is not on the sender's node, or nowhere.

    `frame` is what the recipient gets. `node` and `connection_id` say who gets the error status, which is only sent
    when `correlation_id` is not "". `hops` counts the nodes that passed it on. `until` is when its time is over, in
    monotonic seconds of the node that has it; it begins with the first `hold`.
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
    until: float = math.inf

    def ends_at(self, now: float) -> float:
        """When its time is over if it is held at `now`, for the first time or again."""
        return min(self.until, now + self.ttl_s)

    @property
    def was_held(self) -> bool:
        """Whether a mailbox has given it out before, so that what is held now is newer."""
        return self.until < math.inf

    @property
    def is_replaceable(self) -> bool:
        """Whether a newer one of the same sender and action takes its place."""
        return self.action in _REPLACED

    @property
    def place(self) -> str:
        """What it shares with the messages that may take its place; its id when none may."""
        if not self.is_replaceable:
            return self.id
        return f"{self.channel} {self.sender.client_id} {self.recipient.client_id} {self.action.value}"


class Seen(msgspec.Struct, frozen=True, gc=False):
    """A viewer that was here, for whom mail is kept for `ttl_s` from now."""

    channel: str
    client_id: str
    ttl_s: float


class Mailbox(Protocol):
    """Where messages for absent peers wait, for all nodes of a service.

    All calls but `hold` raise MailboxUnavailableError, within 2 s, when they cannot be answered.
    """

    async def hold(self, mail: Mail, *, is_expected: bool) -> ServiceError | None:
        """Keep the message for what is left of its time; the answer is why not, if it was not kept.

        A viewer's mail is kept when `is_expected` or when that viewer left within the last time to live. When nobody
        knows whether it was kept it is refused, and withdrawn as soon as that is possible.
        """

    async def take(self, channel: str, recipient: Address) -> tuple[Mail, ...]:
        """Remove and return what waits for the recipient, oldest first, each with its end; nobody else gets it too."""

    async def peek(self, recipients: Sequence[tuple[str, Address]]) -> set[tuple[str, Address]]:
        """For whom of these recipients, each of its channel, something waits; it stays there."""

    async def withdraw(self, mail: Mail) -> bool:
        """Remove one message; False when it is not there any more, because it was taken or replaced.

        MailboxUnavailableError also means that it was taken, and may have been delivered or not, or that it was lost.
        """

    async def remember(self, seen: Sequence[Seen]) -> None:
        """Note that these viewers were here, so that mail for them is kept, all in one go."""

    async def drop(self, channel: str) -> None:
        """Forget the channel: it was deleted."""


class _Box:
    """What is held in one channel."""

    __slots__ = ("count", "mails", "seen_until")

    def __init__(self) -> None:
        self.mails: dict[Address, dict[str, Mail]] = {}
        self.count = 0
        self.seen_until: dict[str, float] = {}


class HeldMail:
    """The rules of a mailbox, without I/O and clock; `now` is in monotonic seconds."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._boxes: dict[str, _Box] = {}
        # When to forget what: channel, client id of the recipient, id of the mail; "" for the viewer as such.
        self._ends: Deadlines[tuple[str, str, str]] = Deadlines()

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
            return absent(mail.recipient)
        same = _of_same_place(box, mail)
        if same and mail.was_held:
            return None  # it is replaced already
        refusal = self._refusal(box, mail, same)
        if refusal is None:
            for replaced in same:
                self._remove(box, replaced)
            until = mail.ends_at(now)
            box.mails.setdefault(mail.recipient, {})[mail.id] = msgspec.structs.replace(mail, until=until)
            box.count += 1
            self._boxes[mail.channel] = box
            self._ends.set(_key(mail), until + GRACE_S)
        return refusal

    def take(self, channel: str, recipient: Address, now: float) -> tuple[Mail, ...]:
        """Remove and return what waits for the recipient, oldest first."""
        self.expire(now)
        box = self._boxes.get(channel)
        if box is None:
            return ()
        mails = tuple(mail for mail in box.mails.get(recipient, {}).values() if mail.until > now)
        for mail in mails:
            self._remove(box, mail)
        self._tidy(channel, box)
        return mails

    def waits_for(self, channel: str, recipient: Address, now: float) -> bool:
        """Whether something waits for the recipient."""
        box = self._boxes.get(channel)
        return box is not None and any(mail.until > now for mail in box.mails.get(recipient, {}).values())

    def withdraw(self, mail: Mail, now: float) -> bool:
        """Remove one message; shortly after its time is over, too."""
        box = self._boxes.get(mail.channel)
        if box is None or mail.id not in box.mails.get(mail.recipient, {}):
            return False
        self._remove(box, mail)
        self._tidy(mail.channel, box)
        self.expire(now)
        return True

    def remember(self, channel: str, client_id: str, until: float, now: float) -> None:
        """Keep mail for this viewer until then."""
        self.expire(now)
        box = self._boxes.setdefault(channel, _Box())
        until = box.seen_until[client_id] = max(until, box.seen_until.get(client_id, 0.0))
        self._ends.set((channel, client_id, ""), until)

    def drop(self, channel: str) -> None:
        """Forget the channel."""
        box = self._boxes.pop(channel, _Box())
        for client_id in box.seen_until:
            self._ends.cancel((channel, client_id, ""))
        for waiting in box.mails.values():
            for mail in waiting.values():
                self._ends.cancel(_key(mail))

    def expire(self, now: float) -> None:
        """Forget what is over at `now`."""
        for channel, client_id, mail_id in self._ends.due(now):
            box = self._boxes[channel]
            if mail_id:
                recipient = Address(Role.VIEWER, client_id) if client_id else MASTER
                self._remove(box, box.mails[recipient][mail_id])
            else:
                del box.seen_until[client_id]
            self._tidy(channel, box)

    def _refusal(self, box: _Box, mail: Mail, older: tuple[Mail, ...]) -> ServiceError | None:
        limits = self._limits
        waiting = box.mails.get(mail.recipient, {}).values()
        replaced = {m.id for m in older}
        frames = [m.frame for m in waiting if m.sender == mail.sender and m.id not in replaced]
        if len(frames) >= limits.held_messages_per_pair:
            return full("held_messages_per_pair", limits.held_messages_per_pair)
        if sum(map(len, frames)) + len(mail.frame) > limits.held_bytes_per_pair:
            return full("held_bytes_per_pair", limits.held_bytes_per_pair)
        if box.count - len(older) >= limits.held_messages_per_channel:
            return full("held_messages_per_channel", limits.held_messages_per_channel)
        return None

    def _remove(self, box: _Box, mail: Mail) -> None:
        waiting = box.mails[mail.recipient]
        del waiting[mail.id]
        if not waiting:
            del box.mails[mail.recipient]
        box.count -= 1
        self._ends.cancel(_key(mail))

    def _tidy(self, channel: str, box: _Box) -> None:
        if not box.mails and not box.seen_until:
            del self._boxes[channel]


def _key(mail: Mail) -> tuple[str, str, str]:
    return mail.channel, mail.recipient.client_id, mail.id


def _of_same_place(box: _Box, mail: Mail) -> tuple[Mail, ...]:
    """The undelivered offer (or answer) of the same sender, of which one alone is kept."""
    if not mail.is_replaceable:
        return ()
    waiting = box.mails.get(mail.recipient, {}).values()
    return tuple(m for m in waiting if m.action is mail.action and m.sender == mail.sender)


def absent(viewer: Address) -> ServiceError:
    """The error for mail to a viewer that neither is here nor was lately."""
    return ResourceNotFoundException(f"no viewer {viewer.client_id} is connected")


def full(name: str, value: int) -> ServiceError:
    """The error for mail that does not fit; `name` is that of the limit."""
    return ClientLimitExceededException(
        f"the recipient is away and {name} is {value}: try again when it is back", Limit(name, value)
    )


class InProcessMailbox:
    """The mailbox of one process: the rules with a clock. Nodes of one process share one instance."""

    def __init__(self, limits: Limits, now: Callable[[], float]) -> None:
        self.held = HeldMail(limits)
        self._now = now

    async def hold(self, mail: Mail, *, is_expected: bool) -> ServiceError | None:
        """Keep the message for what is left of its time, or say why not."""
        return self.held.hold(mail, self._now(), is_expected=is_expected)

    async def take(self, channel: str, recipient: Address) -> tuple[Mail, ...]:
        """Remove and return what waits for the recipient, oldest first."""
        return self.held.take(channel, recipient, self._now())

    async def peek(self, recipients: Sequence[tuple[str, Address]]) -> set[tuple[str, Address]]:
        """For whom of these recipients something waits; it stays there."""
        now = self._now()
        return {
            (channel, recipient) for channel, recipient in recipients if self.held.waits_for(channel, recipient, now)
        }

    async def withdraw(self, mail: Mail) -> bool:
        """Remove one message; False when it is not there any more."""
        return self.held.withdraw(mail, self._now())

    async def remember(self, seen: Sequence[Seen]) -> None:
        """Keep mail for these viewers."""
        now = self._now()
        for each in seen:
            self.held.remember(each.channel, each.client_id, now + each.ttl_s, now)

    async def drop(self, channel: str) -> None:
        """Forget the channel."""
        self.held.drop(channel)
