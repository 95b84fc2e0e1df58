"""`heliograph serve --emulator`: a node on loopback that is made anew at each reset and lives in a virtual time."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable
from typing import Final

import msgspec

from app.api.emulator import EmulatorApi, EmulatorRoutes
from app.api.faults import Faults
from app.parent import ParentLink
from app.processes import Child, Ending
from app.server import Receive, Scope, Send
from app.serving import HttpServer
from app.settings import Settings
from app.tls import TlsListener
from app.virtual_clock import VirtualClock
from app.wiring import loop
from app.wiring.listeners import url_of
from app.wiring.memory import InMemory, in_memory
from app.wiring.node import Node, Twists, serving
from channels.auth.grant import Statement
from channels.auth.key_ring import AccessKey
from channels.names import ChannelArn
from channels.signaling.messages import Event

# Everybody knows them: they open nothing but emulators, which only their own machine can reach.
ACCESS_KEY_ID: Final = "AKIAHELIOGRAPHPUBLIC"
SECRET_ACCESS_KEY: Final = "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"  # noqa: S105  # as it says
_EVERYTHING: Final = Statement(("*",), ("*",), sid="emulator")
_SETTLE_S: Final = 1.0

Announce = Callable[[dict[str, object]], None]
"""Takes the fields of the ready line but `ready_ms`."""


class EmulatorParts(msgspec.Struct, frozen=True):
    """The relay's process and the sockets, made before anything heavy is loaded; `parent` is whose end is ours, too."""

    http: socket.socket
    turn: Child
    tls: TlsListener | None = None
    parent: ParentLink | None = None

    @property
    def ports(self) -> tuple[int, ...]:
        """The TCP ports at which pages are served."""
        http = int(self.http.getsockname()[1])
        return (http, self.tls.port) if self.tls else (http,)


def start(settings: Settings, parts: EmulatorParts, on_ready: Announce) -> None:
    """Emulate until SIGINT, SIGTERM or the parent's end, on an event loop of its own.

    Raises: CommandError when a part cannot start or ends by itself.
    """
    loop.run(settings, _run(settings, parts, on_ready))


async def _run(settings: Settings, parts: EmulatorParts, on_ready: Announce) -> None:
    ending = Ending()
    if parts.parent is not None:
        parts.parent.watch(ending.event.set)
    async with ending.by_signal():
        if parts.tls is not None:
            settings = msgspec.structs.replace(settings, https_port=parts.tls.port)
        memory = in_memory(settings, "heliograph-emulator")
        parts.turn.configure(memory.order.for_turn())
        emulator = Emulator(memory, parts.turn)
        async with emulator.running(parts, ending):
            if emulator.turn_uris:
                on_ready(_ready_line(settings, parts, emulator.turn_uris[0], memory.token))
            await ending.event.wait()


def _ready_line(settings: Settings, parts: EmulatorParts, turn_uri: str, token: str) -> dict[str, object]:
    return {
        "http": url_of("http", parts.http),
        "https": url_of("https", parts.tls.socket) if parts.tls else None,
        "turn": turn_uri,
        "access_key_id": ACCESS_KEY_ID,
        "secret_access_key": SECRET_ACCESS_KEY,
        "token": token,
        "ca_file": str(parts.tls.ca) if parts.tls and parts.tls.ca else None,
        "region": settings.region,
        "account_id": settings.account,
    }


class Emulator:
    """The node of now, its clock and its faults; a reset puts a new node in its place, behind the same port."""

    def __init__(self, memory: InMemory, turn: Child) -> None:
        self.clock = VirtualClock(time.monotonic)
        self.faults = Faults()
        self.turn_uris: tuple[str, ...] = ()
        self.ports: tuple[int, ...] = ()
        self._memory = memory
        self._turn = turn
        self._is_new = asyncio.Event()
        self._one_reset = asyncio.Lock()
        self.node = self._make_node()
        self.application = EmulatorRoutes(EmulatorApi(self), lambda: self.clock.offset_s, self._answer)

    @contextlib.asynccontextmanager
    async def running(self, parts: EmulatorParts, ending: Ending) -> AsyncIterator[None]:
        """Serve while the block runs, beside the relay's process, as `Node.running`; there is no operations port.

        Raises: CommandError when the relay cannot start.
        """
        self.ports = self.node.ports = parts.ports
        websocket = self._memory.order.settings.websocket
        http = HttpServer(self.application, parts.http, self._drain, parts.tls, websocket=websocket)
        try:
            async with serving(http, self._turn, ending, self._work(), lambda: self.node.hub.settle()) as uris:
                self.turn_uris = self.node.turn_uris = uris
                yield
        finally:
            self.node.close()

    async def reset(self) -> None:
        """Put a new node in the place of the old one, whose websockets close with 1001; nothing it held is left."""
        async with self._one_reset:
            old = self.node
            self.clock.reset()
            self.faults.clear()
            self.node = self._make_node()
            self._is_new.set()
            await old.revoke_relays()
            await old.hub.drain(0.0)
            old.close()

    async def advance(self, by_s: float) -> float:
        """Move the clock and return once what came due is done; the answer is how far it is ahead of the real one."""
        await self._settle()  # a message on its way to the mailbox was sent before the jump
        self.clock.advance(by_s)
        self.node.hub.clock_moved(by_s)
        await self._settle()
        return self.clock.offset_s

    def fail(self, operation: str, error: str, times: int) -> None:
        """Let the next calls fail. Raises: InvalidArgumentException."""
        self.faults.add(operation, error, times)

    async def cut(self, arn: ChannelArn, code: int, reason: str) -> None:
        """Close the channel's websockets. Raises: ResourceNotFoundException."""
        channel = await self.node.control.resolve(arn)
        self.node.hub.cut(channel.arn, code, reason)

    async def _settle(self) -> None:
        """Wait until no message is on its way, but not for ever: others may go on sending."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SETTLE_S):
                while self.node.hub.is_busy:  # noqa: ASYNC110  # a few turns of the loop
                    await asyncio.sleep(0)

    async def send(self, arn: ChannelArn, event: Event) -> int:
        """Tell the channel's websockets an event, whether or not it is switched on; the answer is how many heard it.

        Raises: ResourceNotFoundException.
        """
        channel = await self.node.control.resolve(arn)
        return self.node.hub.announce(channel.arn, event, in_any_case=True)

    def _make_node(self) -> Node:
        node = Node(self._memory.order, self._turn, Twists(now=self.clock.now, parts=self.faults.around))
        node.turn_uris, node.ports = self.turn_uris, self.ports
        node.key_ring.add(
            AccessKey(ACCESS_KEY_ID, self._memory.order.settings.account, SECRET_ACCESS_KEY, (_EVERYTHING,))
        )
        return node

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.node.application(scope, receive, send)

    async def _drain(self) -> None:
        await self.node.hub.drain(self._memory.order.settings.drain_s)

    async def _work(self) -> None:
        """Let each node work until the next one takes its place."""
        while True:
            self._is_new.clear()
            async with asyncio.TaskGroup() as group:
                working = group.create_task(self.node.work())
                await self._is_new.wait()
                working.cancel()
