"""Parts for tests of the exchange: one whose connections and whose other node a test plays."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from channels.embedded.bus import EmbeddedBus
from channels.embedded.presence import EmbeddedPresence
from channels.errors import ServiceError
from channels.names import Role
from channels.presence import Holder, PresenceUnavailableError
from channels.signaling import envelope
from channels.signaling.envelope import inbox
from channels.signaling.exchange import Exchange
from channels.signaling.limits import Limits
from channels.signaling.link_frame import Frame, decode, encode
from channels.signaling.mailbox import InProcessMailbox, Mail
from channels.signaling.members import Settle
from channels.signaling.messages import Action
from channels.signaling.node_link import Outcome
from channels.signaling.protocol import MASTER, Address
from channels.signaling.stats import HubStats
from tests.channels.signaling.rig import Clock, turns

VIEWER = Address(Role.VIEWER, "v1")


class Here:
    """A node without connections that notes what it is told."""

    def __init__(self) -> None:
        self.stats = HubStats()
        self.answers: list[tuple[str, str]] = []
        self.kept: list[str] = []
        self.accepted: list[tuple[str, bytes]] = []
        self.is_master_here = False
        self.delivered: list[str] = []

    def deliver(self, mail: Mail) -> bool:
        if self.is_master_here:
            self.delivered.append(mail.id)
        return self.is_master_here

    def accept(self, connection_id: str, frame: bytes) -> Outcome | None:
        self.accepted.append((connection_id, frame))
        return None if connection_id == "a-coming" else Outcome.DELIVERED

    def park(self, connection_id: str, frame: bytes, settle: Settle) -> None:
        self.accepted.append((connection_id, b"parked"))

    async def collect(self, channel: str, recipient: Address) -> None:
        raise AssertionError("nobody is here")

    def look_again(self, connection_id: str) -> None:
        self.accepted.append((connection_id, b"look again"))

    def is_here(self, channel: str) -> bool:
        return True

    def keeps_for(self, channel: str, recipient: Address) -> bool:
        return bool(self.kept)

    def keep_time(self, mail: Mail) -> None:
        self.kept.append(mail.id)

    def answer(self, mail: Mail, error: ServiceError, result: str) -> None:
        self.answers.append((mail.id, result))

    def count(self, mail: Mail, result: str) -> None:
        self.stats.count_message("viewer", mail.action.value, result)

    def close_replaced(self, connection_id: str) -> None:
        self.accepted.append((connection_id, b"replaced"))

    def close_here(self, channel: str, code: int, reason: str) -> None:
        self.answers.append((channel, reason))


class Away(EmbeddedPresence):
    """A presence that answers only while it is not `away`, and counts the questions."""

    is_away = False
    questions = 0

    async def locate(self, channel: str, role: Role, client_id: str) -> Holder | None:
        self.questions += 1
        if self.is_away:
            raise PresenceUnavailableError("away")
        return await super().locate(channel, role, client_id)


class Rig:
    """An exchange `a`, and node `b` as the test plays it: its frames are kept, and answered by hand."""

    def __init__(self) -> None:
        self.clock, self.here, self.bus = Clock(), Here(), EmbeddedBus()
        self.b = self.bus.join()
        self.presence = Away("a")
        limits = Limits(held_messages_per_pair=5000, held_messages_per_channel=5000)
        self.mailbox = InProcessMailbox(limits, self.clock)
        self.exchange = Exchange("a", self.bus, self.presence, self.mailbox, self.here, self.clock)
        self.heard: list[Frame] = []

    async def master_is_on_b(self, connection_id: str = "b-1") -> None:
        await self.presence.join("b").admit("demo", Role.MASTER, "", connection_id, 10)
        await self.b.subscribe(inbox("b"), lambda payload: self.heard.append(decode(payload)))

    def bodies(self) -> list[envelope.Body]:
        return [envelope.decode(body) for frame in self.heard for _, body in frame.messages]

    def acknowledge(self, *refused: tuple[int, Outcome]) -> None:
        last = max(number for frame in self.heard for number, _ in frame.messages)
        self.exchange.receive(encode(Frame("b", 1, 1, self.heard[0].epoch, last, refused)))

    async def wait(self, seconds: float) -> None:
        self.clock.now += seconds
        self.exchange.expire()
        await turns()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        await self.exchange.listen()
        async with asyncio.timeout(15), asyncio.TaskGroup() as group:
            self.exchange.start(group)
            yield
        await self.exchange.stop()


def mail(id: str, hops: int = 0, channel: str = "demo", correlation_id: str = "c", ttl_s: float = 60.0) -> Mail:
    return Mail(id, channel, MASTER, VIEWER, Action.ICE_CANDIDATE, b"{}", correlation_id, ttl_s, "a", "a-1", hops)
