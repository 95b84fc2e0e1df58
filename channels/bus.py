"""Bytes between nodes: the interface. Opaque payloads, at most once, order kept per publisher and topic."""

from collections.abc import Callable, Sequence
from typing import Protocol

Receive = Callable[[bytes], None]
Unheard = Callable[[str, bytes], None]


class BusUnavailableError(Exception):
    """Nothing can be sent now, or nobody knows whether it was: try again later."""


class Bus(Protocol):
    """Publish to and subscribe to topics; each node listens on its own inbox topic."""

    async def publish(self, topic: str, payload: bytes) -> int:
        """Send `payload`; the answer is how many subscribers it reached. 0 means that nobody listens.

        Reaching a subscriber's connection is no proof that it was read. Raises: BusUnavailableError, within 2 s.
        """

    def post(self, topic: str, payload: bytes) -> None:
        """Send `payload` soon, after what was posted or published to `topic` before; never blocks, never raises.

        What cannot be sent or does not fit is lost, and counted by the implementation.
        """

    def post_all(self, posts: Sequence[tuple[str, bytes]]) -> None:
        """Post each (topic, payload), in this order: what is known together is cheaper sent together."""

    def on_unheard(self, listen: Unheard) -> None:
        """Call `listen` with topic and payload of what was posted and surely reached nobody, from now on.

        Nobody subscribed, or it was never sent; not where that is in doubt. It may be called from within `post`.
        """

    async def subscribe(self, topic: str, receive: Receive) -> None:
        """Call `receive` for each payload of `topic`, in order, from the event loop; it must not block nor raise.

        Survives a connection that breaks; what was published meanwhile is lost.
        """

    async def unsubscribe(self, topic: str) -> None:
        """Stop receiving `topic`."""
