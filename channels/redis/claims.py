"""What one node holds in Redis, as far as it knows: claims, those in doubt, and what must be taken back. No I/O."""

import contextlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from channels.names import Role
from channels.presence import Holder, Lease

_UNDONE_LIMIT: Final = 10_000
_UNDONE_AT_ONCE: Final = 100  # so that the node's own lease does not wait
_MASTER: Final = "master"
_VIEWER: Final = "viewer:"
Unanswered = tuple[str, str, str]  # channel, slot, connection id


def slot_of(role: Role, client_id: str) -> str:
    """The name of a slot in its channel."""
    return _MASTER if role is Role.MASTER else _VIEWER + client_id


def parse_holder(slot: str, value: bytes) -> Holder:
    """The holder in a slot, from what Redis has there."""
    _, fence, node, connection_id = value.decode().split(" ")
    role = Role.MASTER if slot == _MASTER else Role.VIEWER
    return Holder(role, slot.removeprefix(_VIEWER) if role is Role.VIEWER else "", node, connection_id, int(fence))


class Claims:
    """The claims of a node by channel. Holders are told apart by their fences, which differ within a channel."""

    def __init__(self) -> None:
        self._held: dict[str, tuple[Holder, ...]] = {}
        self._doubted: dict[str, tuple[Holder, ...]] = {}  # Redis may have forgotten these
        self._doubts = 0
        self._renewals = 0  # under way
        self._left: set[tuple[str, int]] = set()  # while renewals are under way
        self._undone: dict[Unanswered, tuple[int, float]] = {}

    def __len__(self) -> int:
        """How many claims there are, and how many have to be taken back."""
        return sum(map(len, self._held.values())) + len(self._undone)

    def add(self, channel: str, holder: Holder) -> None:
        """Redis gave this node the slot."""
        self._held[channel] = (*self._held.get(channel, ()), holder)

    def remove(self, channel: str, holder: Holder) -> None:
        """The claim is given up or lost."""
        for table in (self._held, self._doubted):
            others = tuple(other for other in table.get(channel, ()) if other.fence != holder.fence)
            if others:
                table[channel] = others
            else:
                table.pop(channel, None)
        if self._renewals:
            self._left.add((channel, holder.fence))

    # Doubt

    def doubt(self) -> None:
        """Redis may have forgotten every claim."""
        self._doubts += 1
        self._doubted = dict(self._held)

    def doubted(self, channel: str) -> tuple[Holder, ...]:
        """The claims to a channel that Redis may have forgotten."""
        return self._doubted.get(channel, ())

    @property
    def doubts(self) -> int:
        """How often there was doubt; what was asked before the last one proves nothing."""
        return self._doubts

    def trust(self, channel: str, holders: Iterable[Holder], doubts: int) -> None:
        """Redis knows these, asked when there had been so many doubts."""
        if channel in self._doubted and doubts == self._doubts:
            known = {holder.fence for holder in holders}
            left = tuple(holder for holder in self._doubted[channel] if holder.fence not in known)
            if left:
                self._doubted[channel] = left
            else:
                del self._doubted[channel]

    # Renewal

    @contextlib.contextmanager
    def renewing(self) -> Iterator[None]:
        """While leases are renewed in parts, what leaves meanwhile is remembered."""
        self._renewals += 1
        try:
            yield
        finally:
            self._renewals -= 1
            if not self._renewals:
                self._left.clear()

    def still(self, leases: Sequence[Lease]) -> list[Lease]:
        """Those of the leases that did not leave since the renewal began; unknown ones are taken in.

        They are of connections that came in all the same when their admission was not answered: it stays.
        """
        found = [lease for lease in leases if (lease.channel, lease.holder.fence) not in self._left]
        for channel, holder in ((lease.channel, lease.holder) for lease in found):
            held = self._held.get(channel, ())
            if not any(other.fence == holder.fence for other in held):
                self.add(channel, holder)
                self.done((channel, slot_of(holder.role, holder.client_id), holder.connection_id))
        return found

    def gone(self, channel: str, holders: Iterable[Holder]) -> list[Holder]:
        """Those of the holders that left since the renewal began."""
        return [holder for holder in holders if (channel, holder.fence) in self._left] if self._left else []

    # What was not answered

    def undo(self, channel: str, slot: str, connection_id: str, fence: int, until: float) -> None:
        """The connection may have a slot that nobody wants: it has to be taken back. `fence` 0 is any."""
        while len(self._undone) >= _UNDONE_LIMIT:
            del self._undone[next(iter(self._undone))]  # it ends by itself
        self._undone[channel, slot, connection_id] = (fence, until)

    def undone(self, now: float) -> list[tuple[Unanswered, int]]:
        """What has to be taken back next, with its fence; leases that are over by now need not."""
        for key in [key for key, (_, until) in self._undone.items() if until <= now]:
            del self._undone[key]
        return [(key, fence) for key, (fence, _) in itertools.islice(self._undone.items(), _UNDONE_AT_ONCE)]

    def done(self, key: Unanswered) -> None:
        """It was taken back."""
        self._undone.pop(key, None)
