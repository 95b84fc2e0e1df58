"""Bytes between nodes: the interface. Opaque payloads, at most once, order kept per publisher and topic."""

from collections.abc import Callable
from typing import Protocol

Receive = Callable[[bytes], None]


class Bus(Protocol):
    """Publish to and subscribe to topics; each node listens on its own inbox topic."""

    async def publish(self, topic: str, payload: bytes) -> int:
        """Send `payload`; the answer is how many subscribers it reached. 0 means that nobody listens."""

    async def subscribe(self, topic: str, receive: Receive) -> None:
        """Call `receive` for each payload of `topic`, in order, from the event loop; it must not block."""

    async def unsubscribe(self, topic: str) -> None:
        """Stop receiving `topic`."""
