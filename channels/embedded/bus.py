"""Bus of one process: publishing calls the subscribers at once. Each node holds its own end of it."""

from collections.abc import Sequence

from channels.bus import Receive, Unheard


class EmbeddedBus:
    """One node's end of an in-process bus; `join` gives another node's end.

    Delivery is direct, so order is kept and nothing is queued.
    """

    def __init__(self, topics: dict[str, dict["EmbeddedBus", Receive]] | None = None) -> None:
        self._topics = {} if topics is None else topics
        self._unheard: Unheard | None = None

    def join(self) -> "EmbeddedBus":
        """The end of another node on the same bus."""
        return EmbeddedBus(self._topics)

    async def publish(self, topic: str, payload: bytes) -> int:
        """Hand `payload` to each subscriber of `topic`; the answer is how many there were."""
        subscribers = tuple(self._topics.get(topic, {}).values())
        for receive in subscribers:
            receive(payload)
        return len(subscribers)

    def post(self, topic: str, payload: bytes) -> None:
        """Hand `payload` to each subscriber of `topic` now."""
        subscribers = tuple(self._topics.get(topic, {}).values())
        for receive in subscribers:
            receive(payload)
        if not subscribers and self._unheard is not None:
            self._unheard(topic, payload)

    def post_all(self, posts: Sequence[tuple[str, bytes]]) -> None:
        """Post one after the other."""
        for topic, payload in posts:
            self.post(topic, payload)

    def on_unheard(self, listen: Unheard) -> None:
        """Tell `listen` of what was posted while nobody subscribed."""
        self._unheard = listen

    async def subscribe(self, topic: str, receive: Receive) -> None:
        """Call `receive` for each payload of `topic` from now on, in the place of an earlier one of this node."""
        self._topics.setdefault(topic, {})[self] = receive

    async def unsubscribe(self, topic: str) -> None:
        """Stop receiving `topic` at this node."""
        subscribers = self._topics.get(topic, {})
        subscribers.pop(self, None)
        if not subscribers:
            self._topics.pop(topic, None)
