"""Presence of one process: the slots of each channel in a dict. Each node holds its own view of it."""

import itertools
from collections.abc import Iterator
from typing import Final

import msgspec

from channels.names import Role
from channels.presence import Admission, Holder

_MASTER: Final = ""


class Slots(msgspec.Struct):
    """The taken slots of all channels: channel -> client id -> holder ("" for the master), and the fence counter."""

    channels: dict[str, dict[str, Holder]] = {}
    fences: Iterator[int] = msgspec.field(default_factory=lambda: itertools.count(1))


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
        key = _MASTER if role is Role.MASTER else client_id
        if role is Role.VIEWER and key not in taken and _viewers(taken) >= viewer_limit:
            return None
        holder = Holder(role, client_id, self._node, connection_id, next(self._slots.fences))
        replaced = taken.get(key)
        taken[key] = holder
        self._slots.channels[channel] = taken
        return Admission(holder, replaced)

    async def leave(self, channel: str, holder: Holder) -> None:
        """Give the slot back, if `holder` still has it."""
        taken = self._slots.channels.get(channel, {})
        key = _MASTER if holder.role is Role.MASTER else holder.client_id
        current = taken.get(key)
        if current is not None and current.fence == holder.fence:
            del taken[key]
        if not taken:
            self._slots.channels.pop(channel, None)

    async def locate(self, channel: str, role: Role, client_id: str) -> Holder | None:
        """The live connection in this slot. For the master `client_id` is ignored."""
        return self._slots.channels.get(channel, {}).get(_MASTER if role is Role.MASTER else client_id)

    async def count(self, channel: str) -> int:
        """How many viewers are in."""
        return _viewers(self._slots.channels.get(channel, {}))


def _viewers(taken: dict[str, Holder]) -> int:
    return len(taken) - (_MASTER in taken)
