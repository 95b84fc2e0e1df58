"""A node's own connections, as the exchange with other nodes needs them: the interface."""

from typing import Protocol

from channels.errors import ServiceError
from channels.signaling.mailbox import Mail
from channels.signaling.members import Settle
from channels.signaling.node_link import Outcome
from channels.signaling.protocol import Address
from channels.signaling.stats import HubStats


class Local(Protocol):
    """The node's own connections, as the exchange needs them."""

    stats: HubStats

    def deliver(self, mail: Mail) -> bool:
        """Hand the mail to a recipient on this node; False when there is none."""

    def accept(self, connection_id: str, frame: bytes) -> Outcome | None:
        """Hand the frame to this connection; None when it has to `park`, because the connection is coming in."""

    def park(self, connection_id: str, frame: bytes, settle: Settle) -> None:
        """Hand the frame to this connection when it is in, and tell what became of it."""

    async def collect(self, channel: str, recipient: Address) -> None:
        """Bring a recipient on this node what the mailbox holds for it."""

    def look_again(self, connection_id: str) -> None:
        """Bring a connection of this node what the mailbox holds for it, before what is said to it from now on."""

    def is_here(self, channel: str) -> bool:
        """Whether a connection of this channel is on this node."""

    def keep_time(self, mail: Mail) -> None:
        """The mail is held: call `Exchange.expire_mail` when its time is over."""

    def keeps_for(self, channel: str, recipient: Address) -> bool:
        """Whether mail from here may still be held for this recipient."""

    def answer(self, mail: Mail, error: ServiceError, result: str) -> None:
        """The mail failed: tell its sender, wherever it is, if it wants to know."""

    def count(self, mail: Mail, result: str) -> None:
        """Count the outcome of a mail."""

    def close_replaced(self, connection_id: str) -> None:
        """A newer connection took the slot of this one."""

    def close_here(self, channel: str, code: int, reason: str) -> None:
        """Close the connections of a channel on this node."""
