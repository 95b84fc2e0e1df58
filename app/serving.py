"""uvicorn as this project runs it: bound sockets handed in, with and without TLS, signals left to the wiring, a drain
before the end, and bounds on what a caller may send before anybody has looked at it.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Literal

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app import seam
from app.door import Door
from app.tls import HANDSHAKE_S, TlsListener
from app.ws import connection, handshake
from app.ws.crowd import Crowd
from app.ws.stock import WebSocketProtocol

FRAME_BYTES = 64 * 1024
HEAD_BYTES = 64 * 1024
HEAD_S = 10.0
SETTLE_S = 0.5
TICK_S = 1.0
_CONTINUE = b"HTTP/1.1 100 "
_TLS_HELLO = b"\x16\x03"  # RFC 8446, 5.1: a handshake record
log = logging.getLogger(__name__)

WebSockets = Literal["auto", "own", "stock"]
"""Whose code serves websockets: ours, uvicorn's, or ours wherever the installed uvicorn takes it."""


class _OneWrite:
    """The transport as one answer sees it: head and first body go out together, in one TLS record.

    A common device SDK keeps only the last piece that it reads of a body.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head: bytes | None = None
        self._has_head = False

    def write(self, data: bytes) -> None:
        """Hold the head back; write it before what comes next."""
        if not self._has_head and not data.startswith(_CONTINUE):
            self._has_head = True
            self._head = data
            return
        head, self._head = self._head, None
        self._transport.write(data if head is None else head + data)

    def flush(self) -> None:
        """Write a head without a body."""
        if self._head is not None:
            self.write(b"")

    def close(self) -> None:
        """Close the connection once all is written."""
        self.flush()
        self._transport.close()

    def is_closing(self) -> bool:
        """Whether the connection is closed or about to be."""
        return self._transport.is_closing()


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 with answers in one write, and with bounds that its parser lacks: what it keeps of a request,
    and how long a head may take.

    Of each request it takes HEAD_BYTES, and what one read brings more, beside the body: start line, headers, chunk
    sizes and trailers. A head must be complete HEAD_S after its first byte, the first one after the connection.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Begin to wait for a head."""
        self.begin(transport, self.deadline(self.loop, transport))

    @staticmethod
    def deadline(loop: asyncio.AbstractEventLoop, transport: asyncio.Transport) -> asyncio.TimerHandle:
        """Until when a head must be complete that nothing has come of yet."""
        return loop.call_later(HEAD_S, transport.close)

    def begin(self, transport: asyncio.Transport, deadline: asyncio.TimerHandle) -> None:
        """Go on waiting for a head, until this deadline."""
        super().connection_made(transport)
        self._beside_body = 0
        self._start = b""
        self._deadline: asyncio.TimerHandle | None = deadline

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._end_wait()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse, then end a connection that sent too much beside the body."""
        self._beside_body += len(data)
        self._start = data[:2]
        super().data_received(data)
        if self._beside_body <= HEAD_BYTES or self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete:
            self.send_400_response("The head of the request is too large.")
        else:
            self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP; the server's own line in the log does not say from whom it came."""
        reason = "TLS on the port of plain HTTP" if self._start == _TLS_HELLO else msg
        log.warning("request not read", extra={"source": self.client[0] if self.client else "", "reason": reason})
        super().send_400_response(msg)

    def on_message_begin(self) -> None:
        """Count anew."""
        super().on_message_begin()
        self._upgrades: bool | None = None
        self._beside_body = 0
        self._is_in_head = True
        if self._deadline is None:
            self._deadline = self.deadline(self.loop, self.transport)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; of trailers, which come by the same way once the application has begun, none is wanted."""
        if self._is_in_head:  # RFC 9110, 6.5.1: a trailer must not be taken for a header
            super().on_header(name, value)

    def _get_upgrade(self) -> bytes | None:
        """What it asks to go over to. All headers Connection are one list (RFC 9110, 5.3); uvicorn takes the last."""
        found = dict(self.headers).get(b"upgrade", b"").lower()
        wishes = b",".join(value for name, value in self.headers if name == b"connection").lower()
        return found if b"upgrade" in [wish.strip() for wish in wishes.split(b",")] else None

    def _should_upgrade(self) -> bool:
        """Look once: it is asked three times, from the end of the head on."""
        if self._upgrades is None:
            self._upgrades = super()._should_upgrade()
        return self._upgrades

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._end_wait()
        self._is_in_head = False
        before = self.cycle
        super().on_headers_complete()
        if self.cycle is not before:  # else it is a websocket's
            answer = _OneWrite(self.transport)
            self.cycle.transport = answer  # type: ignore[assignment]  # all of it that a cycle uses
            self.cycle.on_response = lambda: self._end_answer(answer)

    def handle_websocket_upgrade(self) -> None:
        """Hand the connection over with the head as it was parsed; what is wrong with one uvicorn finds, by parsing it
        again, and refuses.
        """
        is_get = self.scope["method"] == "GET" and self.scope["http_version"] == "1.1"
        opening = handshake.read(self.url, self.headers) if is_get else None
        if opening is None:
            self.ws_protocol_class = WebSocketProtocol
            super().handle_websocket_upgrade()
            return
        self.connections.discard(self)
        websocket: Any = self.ws_protocol_class
        websocket = websocket(self.config, self.server_state, self.app_state)
        websocket.open(self.transport, self.scope, self.url, opening)
        self.transport.set_protocol(websocket)
        self.parser: Any = None  # which knows us as we know it: both go at once, not when a collection comes

    def on_body(self, body: bytes) -> None:
        """The application bounds the body."""
        self._beside_body -= len(body)
        super().on_body(body)

    def _end_answer(self, answer: _OneWrite) -> None:
        answer.flush()
        self.on_response_complete()

    def _end_wait(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class FrontDoor(Door):
    """What each connection of this server comes in by."""

    http = HttpProtocol


class HttpServer(uvicorn.Server):
    """HTTP and websockets of one ASGI application on one listener, and on another one by TLS.

    `drain` is called once nothing new is accepted, before the connections that are left are closed. `proxies` are the
    addresses and networks from which X-Forwarded-For and X-Forwarded-Proto say who asks and how; nobody else is heard.
    """

    def __init__(
        self,
        application: Any,
        listener: socket.socket,
        drain: Callable[[], Awaitable[None]],
        tls: TlsListener | None = None,
        proxies: tuple[str, ...] = (),
        websocket: WebSockets = "auto",
    ) -> None:
        self._crowd = Crowd()
        self._websocket = websocket
        super().__init__(
            uvicorn.Config(
                application,
                http=FrontDoor,
                ws=WebSocketProtocol,
                ws_max_size=FRAME_BYTES,
                ws_per_message_deflate=False,
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=bool(proxies),
                forwarded_allow_ips=list(proxies),
                server_header=False,
                log_level="warning",  # at INFO it writes a line per websocket, with its query
                timeout_graceful_shutdown=1,
            )
        )
        self.is_up = asyncio.Event()
        self._ending = asyncio.Event()
        self._hurried = asyncio.Event()
        self._listener = listener
        self._drain = drain
        self._tls = tls

    async def run_until_exit(self) -> None:
        """Serve until `end` is called, then drain."""
        await self.serve(sockets=[self._listener])

    def end(self) -> None:
        """Begin to drain, at once."""
        self.should_exit = True
        self._ending.set()

    def hurry(self) -> None:
        """End at once: cut what is not closed yet."""
        self.force_exit = True
        self._hurried.set()

    async def main_loop(self) -> None:
        """Tick once a second, since nothing that a tick does is due more often."""
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await self._ending.wait()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept, and say so by `is_up`. Raises: SeamError when ours must serve websockets and cannot."""
        await self._choose_websocket()
        await super().startup(sockets)
        if self._tls is not None:
            server = await asyncio.get_running_loop().create_server(
                self._protocol,
                sock=self._tls.socket,
                ssl=self._tls.tls.context,
                ssl_handshake_timeout=HANDSHAKE_S,
                ssl_shutdown_timeout=SETTLE_S,
            )
            self.servers.append(server)
        self.is_up.set()

    async def on_tick(self, counter: int) -> bool:
        """Write the date anew and look for another certificate; True at the end."""
        if self._tls is not None:
            self._tls.tls.refresh()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept nothing new, tell the websockets to go, then close what is left."""
        for server in self.servers:
            server.close()
        await self.unless_hurried(self._drain())
        await self.unless_hurried(self._settle())
        await super().shutdown(sockets)

    async def _settle(self) -> None:
        await self._crowd.settle(SETTLE_S)
        if self.server_state.tasks:  # uvicorn would close websockets over our own reason
            await asyncio.wait(set(self.server_state.tasks), timeout=SETTLE_S)

    async def unless_hurried(self, work: Awaitable[None]) -> None:
        """Wait for it, unless or until somebody is in a hurry."""
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(self._hurried.wait())
            working = group.create_task(_done(work))
            await asyncio.wait((waiting, working), return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            working.cancel()

    async def _choose_websocket(self) -> None:
        if self._websocket == "stock":
            return
        try:
            await seam.check(FrontDoor)
        except seam.SeamError as error:
            if self._websocket == "own":
                raise
            log.warning("uvicorn's own websockets serve, at more cost", extra={"reason": str(error)})
            return
        own: Any = connection.factory(self._crowd)
        self.config.ws_protocol_class = own

    def _protocol(self) -> asyncio.Protocol:
        return FrontDoor(self.config, self.server_state, self.lifespan.state)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone: the wiring ends all parts in order."""
        yield


async def _done(work: Awaitable[None]) -> None:
    await work
