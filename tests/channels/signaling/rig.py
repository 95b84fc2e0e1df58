"""Parts for tests of the signaling plane: a clock moved by hand, a connection that records, a hub that runs."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from channels.channel import Channel
from channels.embedded.bus import EmbeddedBus
from channels.embedded.presence import EmbeddedPresence
from channels.errors import ServiceError
from channels.names import ChannelArn, Role
from channels.signaling.hub import Hub
from channels.signaling.limits import Limits
from channels.signaling.mailbox import InProcessMailbox, Mail
from channels.signaling.members import Connect, Member
from channels.signaling.protocol import Address

ACCOUNT = "000000000000"


def channel(name: str = "demo", ttl_s: int = 60) -> Channel:
    return Channel(ChannelArn("aws", "us-west-2", ACCOUNT, name, 1700000000000), "v1", ttl_s)


class Clock:
    """Monotonic seconds that move when a test says so."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Recorder:
    """A connection that keeps what it is sent and how it was closed; `room` is how many bytes it still takes."""

    def __init__(self, room: int = 1 << 20) -> None:
        self.frames: list[dict[str, Any]] = []
        self.closed: tuple[int, str] | None = None
        self.is_paused = False
        self.room = room
        self.heard = asyncio.Event()

    def send(self, frame: bytes) -> bool:
        self.room -= len(frame)
        if self.room < 0 or self.closed is not None:
            return False
        self.frames.append(msgspec.json.decode(frame))
        self.heard.set()
        return True

    def pause(self) -> None:
        self.is_paused = True

    def close(self, code: int, reason: str) -> None:
        self.closed = (code, reason)
        self.heard.set()

    @property
    def payloads(self) -> list[str]:
        return [frame["messagePayload"] for frame in self.frames if frame["messageType"] != "STATUS_RESPONSE"]

    @property
    def statuses(self) -> list[dict[str, str]]:
        return [frame["statusResponse"] for frame in self.frames if "statusResponse" in frame]

    async def wait_for(self, count: int) -> list[dict[str, Any]]:
        """The frames, once there are `count` of them."""
        async with asyncio.timeout(15):
            while len(self.frames) < count:
                self.heard.clear()
                await self.heard.wait()
        return self.frames


class Node:
    """A hub with a clock, and connections that record."""

    def __init__(self, hub: Hub, clock: Clock, bus: EmbeddedBus, mailbox: "DistantMailbox") -> None:
        self.hub = hub
        self.bus = bus
        self.clock = clock
        self.mailbox = mailbox

    async def join(
        self, role: Role, client_id: str = "", *, to: Channel | None = None, room: int = 1 << 20
    ) -> tuple[Member, Recorder]:
        recorder = Recorder(room)
        member = await self.hub.connect(Connect(to or channel(), role, client_id, source="198.51.100.7"), recorder)
        return member, recorder

    async def master(self, **more: Any) -> tuple[Member, Recorder]:
        return await self.join(Role.MASTER, **more)

    async def viewer(self, client_id: str, **more: Any) -> tuple[Member, Recorder]:
        return await self.join(Role.VIEWER, client_id, **more)

    def say(self, member: Member, payload: str, action: str = "ICE_CANDIDATE", **more: str) -> None:
        self.hub.receive(member, frame_of(payload, action, **more))

    async def settle(self) -> None:
        """Wait until nothing of this node is on its way to another one or to the mailbox."""
        async with asyncio.timeout(15):
            while self.hub.is_busy:  # noqa: ASYNC110  # a few turns of the loop
                await asyncio.sleep(0)


def frame_of(payload: str, action: str = "ICE_CANDIDATE", **more: str) -> str:
    """What a client sends."""
    return msgspec.json.encode({"action": action, "messagePayload": payload, **more}).decode()


async def turns(count: int = 10) -> None:
    """Let what is ready run for a few turns of the loop."""
    for _ in range(count):
        await asyncio.sleep(0)


@asynccontextmanager
async def running(*nodes: Node) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(node.hub.run()) for node in nodes]
        await asyncio.sleep(0)
        yield
        for task in tasks:
            task.cancel()


class DistantMailbox(InProcessMailbox):
    """A mailbox behind a network: calls to it, and its answers to takes, pass only while their gate is open."""

    def __init__(self, limits: Limits, now: Clock) -> None:
        super().__init__(limits, now)
        self.may_hold, self.may_take, self.may_deliver = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.may_hold.set()
        self.may_take.set()
        self.may_deliver.set()

    async def hold(self, mail: Mail, *, is_expected: bool) -> ServiceError | None:
        await self.may_hold.wait()
        return await super().hold(mail, is_expected=is_expected)

    async def take(self, channel: str, recipient: Address) -> tuple[Mail, ...]:
        await self.may_take.wait()
        taken = await super().take(channel, recipient)
        await self.may_deliver.wait()
        return taken


def cluster(
    limits: Limits | None = None,
    names: tuple[str, ...] = ("a",),
    now: Callable[[], float] | None = None,
    bus: EmbeddedBus | None = None,
) -> tuple[Node, ...]:
    """Nodes of one process over one bus, one presence and one mailbox; `now` takes the place of their clock."""
    limits = limits or Limits.aws()
    clock = Clock()
    bus, presence, mailbox = bus or EmbeddedBus(), EmbeddedPresence(names[0]), DistantMailbox(limits, clock)
    ends = [(name, bus.join()) for name in names]
    return tuple(
        Node(Hub(end, presence.join(name), limits, name, now or clock, mailbox), clock, end, mailbox)
        for name, end in ends
    )
