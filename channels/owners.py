"""Which process a channel belongs to: the first in the channel's own order of slots. No I/O.

A process has a slot, which is not that of a master or viewer in its channel (`channels.presence`) but a number that
stays its own over restarts. Each channel has all numbers in an order of its own
(rendezvous hashing), so that a slot that comes or goes moves only the channels that are, or become, its own. Ownership
makes relays short and is never a condition: every process serves every channel.
"""

import hashlib
from collections.abc import Callable, Iterable
from typing import Final, Protocol

import msgspec

_SCORE_BYTES: Final = 8


class Place(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where clients reach a process: the host, with or without a port, that it was told to have; ports of its own.

    `machine` is the same for processes that answer at the same addresses, so that of two of them only ports differ.
    """

    host: str = ""
    http_port: int = 0
    https_port: int = 0
    machine: str = ""


class Slot(msgspec.Struct, frozen=True):
    """A slot whose process lives; one that is draining wants no more clients."""

    number: int
    node: str
    place: Place = Place()
    is_draining: bool = False


class Wish(msgspec.Struct, frozen=True):
    """The number that a process would like to have, or must have; None: any. `token` shows that it was its own."""

    number: int | None = None
    is_fixed: bool = False
    token: str = ""


class Slots(Protocol):
    """The slots of all processes, as one of them knows them."""

    place: Place
    """Where this process is reached; to be told before it counts among the others."""

    on_number: list[Callable[[int | None, str], None]]
    """Called with each new number of this process, and the token that shows that it was its own."""

    @property
    def number(self) -> int | None:
        """The slot of this process; None while it has none."""

    @property
    def live(self) -> tuple[Slot, ...]:
        """Slots of processes that live, as far as is known, by number."""

    async def settle(self) -> bool:
        """Wait for a while until this process has its slot; False when that is surely another's.

        While nobody answers it goes without one: it takes its slot when somebody does.
        """

    async def drain(self) -> None:
        """Let nobody be sent here any more; returns within a second, whether or not the others could be told."""


def owner(channel: str, slots: Iterable[Slot]) -> Slot | None:
    """Return the slot that the channel belongs to now: the first that is not draining; None when all are.

    `channel` is the text of the ARN.
    """
    start = hashlib.blake2b(channel.encode(), digest_size=_SCORE_BYTES)

    def place_in_order(slot: Slot) -> bytes:
        one = start.copy()
        one.update(b"\0%d" % slot.number)
        return one.digest()

    return min((slot for slot in slots if not slot.is_draining), key=place_in_order, default=None)
