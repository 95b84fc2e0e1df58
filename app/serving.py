"""uvicorn as this project runs it: bound sockets handed in, with and without TLS, signals left to the wiring, a drain
before the end, and bounds on what a caller may send before anybody has looked at it.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Awaitable, Callable, Iterator
from typing import Any
from urllib.parse import unquote

import uvicorn
from uvicorn._types import ASGISendEvent, HTTPScope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from app.tls import HANDSHAKE_S, TlsListener
from app.ws import handshake
from app.ws.handshake import Opening

FRAME_BYTES = 64 * 1024
HEAD_BYTES = 64 * 1024
HEAD_S = 10.0
SETTLE_S = 0.5
TICK_S = 1.0
_CONTINUE = b"HTTP/1.1 100 "
_TLS_HELLO = b"\x16\x03"  # RFC 8446, 5.1: a handshake record
log = logging.getLogger(__name__)


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
        super().connection_made(transport)
        self._beside_body = 0
        self._start = b""
        self._deadline: asyncio.TimerHandle | None = self.loop.call_later(HEAD_S, transport.close)

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
        self._beside_body = 0
        self._is_in_head = True
        if self._deadline is None:
            self._deadline = self.loop.call_later(HEAD_S, self.transport.close)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; of trailers, which come by the same way once the application has begun, none is wanted."""
        if self._is_in_head:  # RFC 9110, 6.5.1: a trailer must not be taken for a header
            super().on_header(name, value)

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
            super().handle_websocket_upgrade()
            return
        self.connections.discard(self)
        protocol = WebSocketProtocol(self.config, self.server_state, self.app_state)
        protocol.open(self.transport, self.scope, self.url, opening)
        self.transport.set_protocol(protocol)

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


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's websocket with an answer to every head, the good ones without being parsed a second time, and with a
    bound on pongs, which alone no application limits.
    """

    _opening: Opening | None = None

    def open(self, transport: asyncio.Transport, head: HTTPScope, url: bytes, opening: Opening) -> None:
        """Begin with a head that is good: call the application, which accepts or refuses."""
        self.connections.add(self)
        self.transport = transport
        self.server, self.client = head["server"], head["client"]
        self.scheme = "wss" if head["scheme"] == "https" else "ws"
        self._opening = opening
        self.handshake_initiated = True
        # From here on it reads frames; left to itself it would wait for a head.
        self.conn.parser = super(type(self.conn), self.conn).parse()
        next(self.conn.parser)
        path, _, query = url.partition(b"?")
        self.scope = {
            "type": "websocket",
            "asgi": {"version": self.asgi_version, "spec_version": "2.4"},
            "http_version": "1.1",
            "scheme": self.scheme,
            "server": self.server,
            "client": self.client,
            "root_path": self.root_path,
            "path": self.root_path + unquote(path.decode("ascii")),
            "raw_path": self.root_path.encode("ascii") + path,
            "query_string": query,
            "headers": head["headers"],
            "subprotocols": list(opening.subprotocols),
            "state": self.app_state.copy(),
            "extensions": {"websocket.http.response": {}},
        }
        self.queue.put_nowait({"type": "websocket.connect"})
        task = self.loop.create_task(self.run_asgi())
        task.add_done_callback(self.on_task_complete)
        self.tasks.add(task)

    async def send(self, message: ASGISendEvent) -> None:
        """Open the websocket, where that is what the application wants; all else is uvicorn's."""
        opening = self._opening
        is_open = self.handshake_complete or self.initial_response is not None or self.disconnected
        if opening is None or is_open or message["type"] != "websocket.accept":
            await super().send(message)
            return
        if self.transport.is_closing():
            return
        headers = (*self.default_headers, *message.get("headers", ()))
        self.handshake_complete = True
        self.conn.state = type(self.conn.state).OPEN
        self.transport.write(handshake.switch(opening, headers, message.get("subprotocol")))
        self.start_keepalive()

    def data_received(self, data: bytes) -> None:
        """Parse; what the library refuses by itself (414, 431) uvicorn would neither send nor end."""
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.transport.is_closing():
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.transport.close()

    def handle_ping(self) -> None:
        """Answer, but not while the peer leaves the answers before unread (RFC 6455, 5.5.3)."""
        if self.writable.is_set():
            super().handle_ping()
        else:
            self.conn.data_to_send()


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
    ) -> None:
        super().__init__(
            uvicorn.Config(
                application,
                http=HttpProtocol,
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

    async def main_loop(self) -> None:
        """Tick once a second, since nothing that a tick does is due more often."""
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await self._ending.wait()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept, and say so by `is_up`."""
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
        await self._drain()
        if self.server_state.tasks:  # uvicorn would close websockets with 1012 over our own reason
            await asyncio.wait(set(self.server_state.tasks), timeout=SETTLE_S)
        await super().shutdown(sockets)

    def _protocol(self) -> asyncio.Protocol:
        return HttpProtocol(self.config, self.server_state, self.lifespan.state)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone: the wiring ends all parts in order."""
        yield
