"""The signaling websockets: ConnectAsMaster and ConnectAsViewer. Refuses before the upgrade; knows no signaling rule.

The role comes from the endpoint, never from a client id. One reader and one writer per connection; nobody waits for
a peer. Source: KVS developer guide, websocket APIs; ASGI `websocket.http.response`.
"""

import asyncio
import contextlib
import itertools
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Final, Protocol

import msgspec
from starlette.requests import HTTPConnection
from starlette.websockets import WebSocket, WebSocketDisconnect

from app import query
from app.authenticate import SocketCredential, authorise_connect, claimed_key
from app.origins import Origins
from app.wire import error_response, failure, request_id
from channels.auth.grant import Grant
from channels.channel import Channel
from channels.errors import AccessDeniedException, InternalFailureException, InvalidArgumentException, ServiceError
from channels.names import ChannelArn, Role, parse_client_id
from channels.signaling.hub import Hub
from channels.signaling.members import Connect, Member
from channels.signaling.protocol import TOO_SLOW

ARN_PARAMETER: Final = "X-Amz-ChannelARN"
CLIENT_ID_PARAMETER: Final = "X-Amz-ClientId"
_UNSUPPORTED_DATA: Final = 1003
_FAULTS_OF_FRAMES: Final = (1002, 1007, 1009)  # RFC 6455, 7.4.1: for these the server closes by itself
_TURN_FRAMES: Final = 16  # of one connection, then it is the others' turn
_NAMES: Final = {Role.MASTER: "ConnectAsMaster", Role.VIEWER: "ConnectAsViewer"}
log = logging.getLogger(__name__)
audit = logging.getLogger("heliograph.audit")


class Resolver(Protocol):
    """Where channels are looked up: the control plane."""

    async def resolve(self, arn: ChannelArn, account: str | None = None) -> Channel:
        """The living channel of this ARN. Raises: ResourceNotFoundException."""


class SocketAuthenticator(Protocol):
    """Who decides who connects."""

    async def socket(self, connection: HTTPConnection) -> SocketCredential:
        """The credential of a websocket request. Raises: ServiceError."""


class SocketSettings(msgspec.Struct, frozen=True):
    """How long a peer may take to answer our close frame, how long a connection outlives its token, which pages may
    connect."""

    close_s: float = 2.0
    expiry_grace_s: float = 30.0
    origins: Origins = Origins()


class SocketConnection:
    """One websocket as the hub sees it: a bounded queue in front of a writer that alone awaits the peer.

    The writer is there from the first frame on: many connections come and go without one.
    """

    def __init__(self, websocket: WebSocket, bytes_limit: int) -> None:
        self._websocket = websocket
        self._bytes_limit = bytes_limit
        self._bytes = 0
        self._frames: deque[bytes] = deque()
        self.end: tuple[int, str] | None = None  # close code and reason, once we close it
        self._has_work = asyncio.Event()
        self._start: Callable[[], asyncio.Task[None]] | None = None
        self._writer: asyncio.Task[None] | None = None
        self._on_closing: Callable[[], None] | None = None

    @property
    def is_ending(self) -> bool:
        """Whether we close it."""
        return self.end is not None

    def send(self, frame: bytes) -> bool:
        """Queue a frame; False when the queue is full or the socket is closing."""
        if self.end is not None or self._bytes + len(frame) > self._bytes_limit:
            return False
        self._frames.append(frame)
        self._bytes += len(frame)
        self._wake()
        return True

    def close(self, code: int, reason: str) -> None:
        """Close after what is queued; a peer that is too slow does not get its queue any more."""
        if self.end is not None:
            return
        self.end = (code, reason)
        if code == TOO_SLOW:
            self._frames.clear()
        if self._on_closing is not None:
            self._on_closing()
        self._wake()

    async def relay(self, reading: Coroutine[None, None, None], close_s: float) -> None:
        """Read to the end, and write meanwhile; a peer that does not answer our close frame is left after `close_s`."""
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None) as limit:
                    self._start = lambda: group.create_task(self.write())
                    self._on_closing = lambda: limit.reschedule(loop.time() + close_s)
                    if self.is_ending:
                        self._on_closing()
                    if self._frames or self.is_ending:
                        self._wake()
                    await reading
            self._start = self._on_closing = None
            if self._writer is not None:
                self._writer.cancel()

    def _wake(self) -> None:
        self._has_work.set()
        if self._writer is None and self._start is not None:
            self._writer = self._start()

    async def write(self) -> None:
        """Send what is queued until the close frame is out or the peer is gone."""
        try:
            while True:
                await self._has_work.wait()
                self._has_work.clear()
                while self._frames:
                    frame = self._frames.popleft()
                    await self._websocket.send_text(frame.decode())
                    self._bytes -= len(frame)
                if self.end is not None:
                    await self._websocket.close(*self.end)
                    return
        except (WebSocketDisconnect, RuntimeError):
            # The peer is gone, or the server closed by itself (a bad frame, no pong), after which it takes nothing
            # more and says so by RuntimeError. The reader sees the end, too.
            return


class ChannelSockets:
    """The two websocket endpoints of a node."""

    def __init__(
        self,
        hub: Hub,
        control: Resolver,
        authenticator: SocketAuthenticator,
        settings: SocketSettings | None = None,
    ) -> None:
        self._hub = hub
        self._control = control
        self._authenticator = authenticator
        self._settings = settings or SocketSettings()

    async def master(self, websocket: WebSocket) -> None:
        """Serve `/master` (KVS API: ConnectAsMaster); a client id in the query is ignored."""
        await self._serve(websocket, Role.MASTER)

    async def viewer(self, websocket: WebSocket) -> None:
        """Serve `/viewer` (KVS API: ConnectAsViewer)."""
        await self._serve(websocket, Role.VIEWER)

    async def _serve(self, websocket: WebSocket, role: Role) -> None:
        connection = SocketConnection(websocket, self._hub.limits.queued_bytes_per_connection)
        event = {"operation": _NAMES[role], "source": _source(websocket), "request_id": request_id(websocket)}
        try:
            credential, connect = await self._decide(websocket, role, event)
            member = await self._hub.connect(connect, connection)
        except ServiceError as error:
            await self._refuse(websocket, error, event)
            return
        except Exception:  # the door: our own fault is logged here, once, and told without details
            log.exception("connect failed", extra=event)
            await self._refuse(websocket, InternalFailureException("the service failed; its log has the reason"), event)
            return
        event["connection_id"] = member.id
        try:
            await websocket.accept(subprotocol=credential.subprotocol)
            audit.info("connected", extra={**event, "code": "OK"})
            await connection.relay(self._read(websocket, member, connection), self._settings.close_s)
        except OSError:
            pass  # gone before the upgrade was complete
        finally:
            if connection.end is not None:
                close_code, reason = connection.end
                audit.info("closed", extra={**event, "close_code": close_code, "reason": reason})
            await self._hub.disconnect(member)

    async def _decide(
        self, websocket: WebSocket, role: Role, event: dict[str, str]
    ) -> tuple[SocketCredential, Connect]:
        """Who connects to what, and whether that is allowed. Raises: ServiceError."""
        self._settings.origins.check(websocket)
        credential = await self._authenticator.socket(websocket)
        event["subject"] = credential.grant.subject
        ticket = credential.ticket
        arn_text = _only(websocket, ARN_PARAMETER)
        if arn_text is None and ticket is None:
            raise InvalidArgumentException(f"{ARN_PARAMETER} is missing from the query")
        arn = ticket.arn if ticket is not None and arn_text is None else ChannelArn.parse(arn_text or "")
        event["channel"] = str(arn)
        client_id = ""
        if role is Role.VIEWER:
            given = _only(websocket, CLIENT_ID_PARAMETER) or (ticket.client_id if ticket else "")
            if not given:
                raise InvalidArgumentException(f"{CLIENT_ID_PARAMETER} is missing from the query")
            client_id = parse_client_id(given)
            event["client_id"] = client_id
        authorise_connect(credential.grant, ticket, arn, role, client_id, event)
        channel = await self._control.resolve(arn, credential.grant.account)
        grant = credential.grant
        connect = Connect(
            channel, role, client_id, self._expires_at(grant), event["source"], credential_ids=grant.credential_ids
        )
        return credential, connect

    def _expires_at(self, grant: Grant) -> float | None:
        """When the grant ends, on the hub's clock; that of an access key does not."""
        if math.isinf(grant.expires_at):
            return None
        return self._hub.now() + grant.expires_at - time.time() + self._settings.expiry_grace_s

    async def _refuse(self, websocket: WebSocket, error: ServiceError, event: dict[str, str]) -> None:
        claimed = {} if "subject" in event else claimed_key(websocket)
        audit.info("connect refused", extra=event | claimed | failure(error))
        response = error_response(error, request_id(websocket))
        if isinstance(error, AccessDeniedException):
            response.status_code = 403  # 401 in the control plane, 403 on the websocket (KVS API)
        with contextlib.suppress(OSError):  # gone before the answer: uvicorn says it so until a websocket is open
            await websocket.send_denial_response(response)

    async def _read(self, websocket: WebSocket, member: Member, connection: SocketConnection) -> None:
        for number in itertools.count(1):
            if number % _TURN_FRAMES == 0:
                await asyncio.sleep(0)  # frames that came in one piece are received without a pause
            message = await websocket.receive()
            if message["type"] == "websocket.disconnect":
                if message["code"] in _FAULTS_OF_FRAMES and not connection.is_ending:
                    connection.end = (message["code"], message.get("reason") or "")
                return
            text = message.get("text")
            if text is None:
                self._hub.close(member, _UNSUPPORTED_DATA, "signaling messages are text frames")
            else:
                self._hub.receive(member, text)


def _source(websocket: WebSocket) -> str:
    return websocket.client.host if websocket.client else ""


def _only(websocket: WebSocket, name: str) -> str | None:
    """The value of a parameter. Raises: InvalidArgumentException when it is there twice: the reader may take either."""
    found = query.values(websocket, name)
    if len(found) > 1:
        raise InvalidArgumentException(f"{name} is in the query more than once")
    return found[0] if found else None
