"""What one node says to each recipient that is not here, in order: where that was last, what waits for it. No I/O.

All that one node says to one recipient is one flow: it goes over one route at a time, or waits behind what was said
before. The next route is taken when everything on the last one is settled.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

import msgspec

from channels.presence import Holder
from channels.signaling.envelope import address
from channels.signaling.mailbox import Mail
from channels.signaling.protocol import Address

WAITING_LIMIT: Final = 1024  # what may wait per channel
_ROUTES: Final = 50_000
Work = Callable[[], Awaitable[None]]


class Route(msgspec.Struct, frozen=True):
    """Where a recipient is: its node, its connection, and what a body for it begins with."""

    node: str
    connection_id: str
    head: bytes

    @classmethod
    def of(cls, holder: Holder) -> "Route":
        """The way to the holder of a slot."""
        return cls(holder.node, holder.connection_id, address(holder.connection_id))


class Parcel(msgspec.Struct, eq=False):
    """One mail underway, to be settled until then; `is_known` says that its recipient was somewhere."""

    mail: Mail
    flow: "Flow"
    until: float
    connection_id: str = ""  # to which it was sent
    is_known: bool = False

    def is_late(self, until: float) -> bool:
        """Whether its sender wants an answer and had to have it until then."""
        return bool(self.mail.correlation_id) and self.until <= until


class Flow:
    """One recipient of a channel; None for what concerns the whole channel."""

    __slots__ = (
        "channel",
        "check_at",
        "is_suspect",
        "is_working",
        "outstanding",
        "queue",
        "recipient",
        "refused_by",
        "returned",
        "route",
        "routing",
    )

    def __init__(self, channel: str, recipient: Address | None) -> None:
        self.channel = channel
        self.recipient = recipient
        self.route: Route | None = None
        self.refused_by = ""  # the connection that was not there any more
        self.outstanding = 0  # parcels on the link
        self.routing: Parcel | None = None  # for which a way is sought now
        self.returned: deque[Parcel] = deque()  # before `queue`
        self.queue: deque[Parcel | Work] = deque()
        self.is_working = False
        self.is_suspect = False
        self.check_at = 0.0

    @property
    def has_work(self) -> bool:
        """Whether something waits that a parcel on the route must not overtake."""
        return bool(self.returned or self.queue or self.is_suspect)

    @property
    def is_idle(self) -> bool:
        """Whether all that is known of it is the route."""
        return not (self.is_working or self.outstanding or self.has_work)


class Flows:
    """The flows of a node; those that only know a route are bounded, and go with their channel."""

    def __init__(self) -> None:
        self._by_channel: dict[str, dict[Address | None, Flow]] = {}
        self._count = 0
        self._waiting: dict[str, int] = {}

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Flow]:
        return iter([flow for flows in self._by_channel.values() for flow in flows.values()])

    def find(self, channel: str, recipient: Address | None) -> Flow | None:
        """The flow to this recipient."""
        flows = self._by_channel.get(channel)
        return None if flows is None else flows.get(recipient)

    def get(self, channel: str, recipient: Address | None) -> Flow:
        """The flow to this recipient, new when there is none."""
        flows = self._by_channel.get(channel)
        flow = None if flows is None else flows.get(recipient)
        if flow is None:
            if self._count >= _ROUTES:
                self._make_room()
            flow = self._by_channel.setdefault(channel, {})[recipient] = Flow(channel, recipient)
            self._count += 1
        return flow

    def put(self, flow: Flow, work: Parcel | Work, *, is_urgent: bool = False) -> bool:
        """Have this wait in its flow; False when its channel has too much. Urgent work, which is bounded, fits."""
        waiting = self._waiting.get(flow.channel, 0)
        if waiting >= WAITING_LIMIT and not is_urgent:
            return False
        self._waiting[flow.channel] = waiting + 1
        flow.queue.append(work)
        return True

    def take(self, flow: Flow) -> Parcel | Work:
        """The next that waits in this flow."""
        self._count_down(flow.channel)
        return flow.queue.popleft()

    def take_late(self, flow: Flow, until: float) -> list[Parcel]:
        """Remove the parcels of this flow that had to be settled until then, and whose sender wants an answer."""
        late = [parcel for parcel in flow.returned if parcel.is_late(until)]
        queued = [work for work in flow.queue if isinstance(work, Parcel) and work.is_late(until)]
        for parcel in late:
            flow.returned.remove(parcel)
        for parcel in queued:
            flow.queue.remove(parcel)
            self._count_down(flow.channel)
        return late + queued

    def parcels(self) -> Iterator[Parcel]:
        """What waits or is being routed."""
        for flow in self:
            if flow.routing is not None:
                yield flow.routing
            yield from flow.returned
            yield from (work for work in flow.queue if isinstance(work, Parcel))

    def forget(self, flow: Flow) -> None:
        """Drop a flow that is idle."""
        flows = self._by_channel.get(flow.channel, {})
        if flow.is_idle and flows.get(flow.recipient) is flow:
            del flows[flow.recipient]
            self._count -= 1
            if not flows:
                del self._by_channel[flow.channel]

    def leave(self, channel: str) -> None:
        """Nobody here is in this channel any more: its routes are of no use."""
        for flow in list(self._by_channel.get(channel, {}).values()):
            flow.route = None
            self.forget(flow)

    def _count_down(self, channel: str) -> None:
        self._waiting[channel] -= 1
        if not self._waiting[channel]:
            del self._waiting[channel]

    def _make_room(self) -> None:
        for flow in self:
            self.forget(flow)
            if self._count < _ROUTES * 7 // 8:
                return
