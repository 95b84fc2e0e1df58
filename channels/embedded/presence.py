"""Presence of one process: the slots of each channel in a dict. Each node holds its own view of it."""

from collections.abc import Sequence
from typing import Final

import msgspec

from channels.names import Role
from channels.presence import Admission, Holder, Lease

_MASTER: Final = ""


class Slots(msgspec.Struct):
    """The taken slots of all channels: channel -> client id -> holder ("" for the master), and the highest fence."""

    channels: dict[str, dict[str, Holder]] = {}
    fence: int = 0


class EmbeddedPresence:
    """One node's view of the in-process presence; `join` gives another node's view of the same slots.

    The fence counts admissions to all channels, so a forgotten channel needs no counter of its own.
    """

    def __init__(self, node: str, slots: Slots | None = None) -> None:
        self._node = node
        self._slots = Slots() if slots is None else slots

    def __len__(self) -> int:
        """How many slots are taken, over all channels."""
        return sum(len(taken) for taken in self._slots.channels.values())

    def join(self, node: str) -> "EmbeddedPresence":
        """The view of another node."""
        return EmbeddedPresence(node, self._slots)

    async def admit(
        self, channel: str, role: Role, client_id: str, connection_id: str, viewer_limit: int
    ) -> Admission | None:
        """Take the slot, newest wins; None when `viewer_limit` other viewers are in."""
        taken = self._slots.channels.get(channel, {})
        key = _key(role, client_id)
        if role is Role.VIEWER and key not in taken and _viewers(taken) >= viewer_limit:
            return None
        self._slots.fence += 1
        holder = Holder(role, client_id, self._node, connection_id, self._slots.fence)
        replaced = taken.get(key)
        taken[key] = holder
        self._slots.channels[channel] = taken
        return Admission(holder, replaced)

    async def leave(self, leases: Sequence[Lease]) -> None:
        """Give the slots back, of whoever still has its own."""
        for lease in leases:
            self._leave(lease.channel, lease.holder)

    async def locate(self, channel: str, role: Role, client_id: str) -> Holder | None:
        """The live connection in this slot. For the master `client_id` is ignored."""
        return self._slots.channels.get(channel, {}).get(_key(role, client_id))

    async def count(self, channel: str) -> int:
        """How many viewers are in."""
        return _viewers(self._slots.channels.get(channel, {}))

    async def renew(self, leases: Sequence[Lease], viewer_limit: int) -> tuple[Lease, ...]:
        """Put back what is missing; the answer is those that are lost to higher fences."""
        return tuple(lease for lease in leases if not self._renew(lease.channel, lease.holder, viewer_limit))

    def _leave(self, channel: str, holder: Holder) -> None:
        taken = self._slots.channels.get(channel, {})
        key = _key(holder.role, holder.client_id)
        current = taken.get(key)
        if current is not None and current.fence == holder.fence:
            del taken[key]
        if not taken:
            self._slots.channels.pop(channel, None)

    def _renew(self, channel: str, holder: Holder, viewer_limit: int) -> bool:
        taken = self._slots.channels.get(channel, {})
        key = _key(holder.role, holder.client_id)
        current = taken.get(key)
        if current is not None and current.fence >= holder.fence:
            return current.fence == holder.fence
        if current is None and holder.role is Role.VIEWER and _viewers(taken) >= viewer_limit:
            viewers = (other for other in taken.values() if other.role is Role.VIEWER)
            weakest = min(viewers, key=lambda other: other.fence, default=holder)
            if weakest.fence >= holder.fence:
                return False
            del taken[weakest.client_id]
        taken[key] = holder
        self._slots.fence = max(self._slots.fence, holder.fence)
        self._slots.channels[channel] = taken
        return True


def _key(role: Role, client_id: str) -> str:
    return _MASTER if role is Role.MASTER else client_id


def _viewers(taken: dict[str, Holder]) -> int:
    return len(taken) - (_MASTER in taken)
