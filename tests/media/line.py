"""A signaling line in memory: what `channels/signaling/client.py` gives a master and its viewers, without a service."""

import asyncio
from collections.abc import AsyncIterator

from channels.ice import IceServer
from channels.names import Role
from channels.signaling.client import ClientSettings, ConnectionEndedError, Message


class LineConnection:
    def __init__(self, line: "Line", client_id: str | None) -> None:
        self._line = line
        self._client_id = client_id
        self._inbox: asyncio.Queue[Message | None] = asyncio.Queue()
        self.sent: list[tuple[str, bytes, str | None]] = []
        self.close_code: int | None = None
        self.close_reason = ""

    async def send(
        self, type: str, payload: bytes, recipient_client_id: str | None = None, correlation_id: str | None = None
    ) -> None:
        if self.close_code is not None:
            raise ConnectionEndedError("closed")
        self.sent.append((type, payload, recipient_client_id))
        if type == "SDP_ANSWER":
            self._line.answered.set()
        target = self._line.master if self._client_id else self._line.viewers.get(recipient_client_id or "")
        message = Message(type, payload, self._client_id)
        if target is not None and target.close_code is None:
            target.receive(message)
        elif target is not None and self._client_id:
            self._line.held.append(message)

    def receive(self, message: Message) -> None:
        self._inbox.put_nowait(message)

    async def __aiter__(self) -> AsyncIterator[Message]:
        while (message := await self._inbox.get()) is not None:
            yield message

    def end(self, code: int, reason: str = "") -> None:
        self.close_code, self.close_reason = code, reason
        self._inbox.put_nowait(None)

    async def close(self) -> None:
        if self.close_code is None:
            self.end(1000)


class Line:
    """One channel: the newest master, and viewers by client id."""

    def __init__(self) -> None:
        self.master: LineConnection | None = None
        self.viewers: dict[str, LineConnection] = {}
        self.held: list[Message] = []
        """What came after a master had gone; the next one gets it, as from the service."""
        self.servers: tuple[IceServer, ...] = ()
        self.master_opened = asyncio.Event()
        self.viewer_opened = asyncio.Event()
        self.answered = asyncio.Event()

    def client(self, client_id: str | None = None) -> "LineClient":
        return LineClient(self, client_id)


class LineClient:
    def __init__(self, line: Line, client_id: str | None) -> None:
        self._line = line
        role = Role.VIEWER if client_id else Role.MASTER
        self.settings = ClientSettings("http://127.0.0.1:1", "t", "demo", role, client_id)

    async def open(self) -> LineConnection:
        client_id = self.settings.client_id
        connection = LineConnection(self._line, client_id)
        if client_id:
            self._line.viewers[client_id] = connection
            self._line.viewer_opened.set()
        else:
            self._line.master = connection
            for message in self._line.held:
                connection.receive(message)
            self._line.held.clear()
            self._line.master_opened.set()
        return connection

    async def ice_servers(self) -> tuple[IceServer, ...]:
        return self._line.servers
