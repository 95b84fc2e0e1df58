"""Tickets by which a client takes its allocation along to another address (RFC 8016). No I/O, no clock, no chance."""

from media.turn import mac
from media.turn.allocation import Allocation

_TICKET_CHARS = 32  # turnutils_uclient keeps a ticket as text of at most 32 characters


class Tickets:
    """The one ticket of each allocation that may move; whoever moves by it gets another one."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._serial = 0
        self._allocations: dict[bytes, Allocation] = {}

    def __len__(self) -> int:
        return len(self._allocations)

    def make(self) -> bytes:
        """Return a ticket that nobody can guess and that was never made before."""
        self._serial += 1
        return mac.sha256(self._secret, b"ticket %d" % self._serial).hex()[:_TICKET_CHARS].encode()

    def give(self, allocation: Allocation, ticket: bytes) -> None:
        """Let this ticket move the allocation, and its last one no more."""
        self.forget(allocation)
        allocation.ticket = ticket
        self._allocations[ticket] = allocation

    def find(self, ticket: bytes) -> Allocation | None:
        """Return the allocation that moves by this ticket."""
        return self._allocations.get(ticket)

    def forget(self, allocation: Allocation) -> None:
        """Let nobody move the allocation any more."""
        self._allocations.pop(allocation.ticket, None)
