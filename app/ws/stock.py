"""uvicorn's own websocket, behind the same door: what serves where the installed uvicorn does not take ours.

An application waits for each message and a task of it lives as long as the websocket.
"""

import asyncio
from http import HTTPStatus
from urllib.parse import unquote

from uvicorn._types import ASGISendEvent, HTTPScope
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from app.ws import frames, handshake
from app.ws.handshake import Opening


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
        """Parse; what the library refuses by itself (414, 431) uvicorn would neither send nor end, and to a head with
        a body the library says nothing.
        """
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.transport.is_closing():
            said = b"".join(self.conn.data_to_send())
            self.transport.write(said or handshake.refuse(HTTPStatus.BAD_REQUEST, [], b""))
            self.transport.close()

    def handle_ping(self) -> None:
        """Answer, but not while the peer leaves the answers before unread (RFC 6455, 5.5.3)."""
        if self.writable.is_set():
            super().handle_ping()
        else:
            self.conn.data_to_send()

    def shutdown(self) -> None:
        """End now; a peer that has not heard it yet is told with 1001, not with uvicorn's 1012."""
        if self.handshake_complete and not self.close_sent and not self.transport.is_closing():
            self.queue.put_nowait({"type": "websocket.disconnect", "code": frames.GOING_AWAY})
            self.conn.send_close(frames.GOING_AWAY, "this node is going away")
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.close_sent = True
        super().shutdown()
