"""Who is connected where: the interface of leases. One slot for the master, one per viewer client id."""

from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

from channels.names import Role

NODE_LEASE_S: Final = 2.5  # how long a node may be silent before it counts as dead, unless the operator says otherwise
CONNECTION_LEASE_S: Final = 15.0  # how long that of a connection lasts which nobody renews, likewise


class Holder(msgspec.Struct, frozen=True):
    """One live connection: where it is and which claim it holds.

    `fence` grows with every admission to the channel: of two claims the higher one is right.
    """

    role: Role
    client_id: str
    node: str
    connection_id: str
    fence: int


class Admission(msgspec.Struct, frozen=True):
    """Outcome of a successful admission: the new holder, and the one it replaced, which must be closed."""

    holder: Holder
    replaced: Holder | None


class Lease(msgspec.Struct, frozen=True):
    """What one connection has to renew, and to give back: its claim, and to which channel."""

    channel: str
    holder: Holder


class PresenceUnavailableError(Exception):
    """Nobody can be asked now who is connected where: try again later."""


class Presence(Protocol):
    """Admission and lookup of the connections of all channels; `channel` is the text of the ARN.

    Each call raises PresenceUnavailableError, within 2 s, when it cannot be answered; it may have been done then.
    """

    async def admit(
        self, channel: str, role: Role, client_id: str, connection_id: str, viewer_limit: int
    ) -> Admission | None:
        """Take the slot, newest wins; None when `viewer_limit` other viewers are in (KVS API: ConnectAsViewer)."""

    async def leave(self, leases: Sequence[Lease]) -> None:
        """Give the slots back, of whoever still has its own, all in one go."""

    async def locate(self, channel: str, role: Role, client_id: str) -> Holder | None:
        """The live connection in this slot. For the master `client_id` is ignored."""

    async def count(self, channel: str) -> int:
        """How many viewers are in."""

    async def renew(self, leases: Sequence[Lease], viewer_limit: int) -> tuple[Lease, ...]:
        """Prolong these leases of this node; the answer is those that are lost, whose connections must be closed.

        A claim that was forgotten is put back with its fence, also in the place of one with a lower fence. Lost is a
        claim whose slot has a higher fence, and that of a viewer when `viewer_limit` others with higher fences are in.
        What is given back meanwhile stays so: presence itself takes back what the renewal may have put back.
        """
