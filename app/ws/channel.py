"""The signaling websockets: ConnectAsMaster and ConnectAsViewer. Refuses before the upgrade; knows no signaling rule.

The role comes from the endpoint, never from a client id. What an open websocket says goes straight to the hub.
Source: KVS developer guide, websocket APIs; ASGI `websocket.http.response`.
"""

import asyncio
import contextlib
import itertools
import logging
import math
from collections.abc import Callable
from types import MethodType
from typing import Final, Protocol

import msgspec
from starlette.requests import HTTPConnection
from starlette.websockets import WebSocket

from app import query
from app.authenticate import SocketCredential, authorise_connect, claimed_key, source_of
from app.origins import Origins
from app.wire import error_response, failure, request_id
from app.ws.connection import TAKE_OVER, Connection, End
from app.ws.frames import INVALID_DATA, PROTOCOL_ERROR, TOO_BIG, UNSUPPORTED_DATA
from app.ws.queued import SocketConnection
from channels.auth.grant import Grant
from channels.channel import Channel
from channels.errors import AccessDeniedException, InternalFailureException, InvalidArgumentException, ServiceError
from channels.names import ChannelArn, Role, parse_client_id
from channels.signaling.hub import Hub
from channels.signaling.members import Connect, Member

ARN_PARAMETER: Final = "X-Amz-ChannelARN"
CLIENT_ID_PARAMETER: Final = "X-Amz-ClientId"
_FAULTS_OF_FRAMES: Final = (
    PROTOCOL_ERROR,
    INVALID_DATA,
    TOO_BIG,
)  # RFC 6455, 7.4.1: for these the server closes by itself
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


class ChannelSockets:
    """The two websocket endpoints of a node. `wall` gives epoch seconds, in which a credential ends."""

    def __init__(
        self,
        hub: Hub,
        control: Resolver,
        authenticator: SocketAuthenticator,
        wall: Callable[[], float],
        settings: SocketSettings | None = None,
    ) -> None:
        self._hub = hub
        self._control = control
        self._authenticator = authenticator
        self._wall = wall
        self._settings = settings or SocketSettings()

    async def master(self, websocket: WebSocket) -> None:
        """Serve `/master` (KVS API: ConnectAsMaster); a client id in the query is ignored."""
        await self._serve(websocket, Role.MASTER)

    async def viewer(self, websocket: WebSocket) -> None:
        """Serve `/viewer` (KVS API: ConnectAsViewer)."""
        await self._serve(websocket, Role.VIEWER)

    async def _serve(self, websocket: WebSocket, role: Role) -> None:
        own: Connection | None = websocket.scope.get("extensions", {}).get(TAKE_OVER)
        connection = self._queued(websocket) if own is None else self._bounded(own)
        event = {"operation": _NAMES[role], "source": source_of(websocket), "request_id": request_id(websocket)}
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
        heard = _Heard(self._hub, member, event)
        is_handed_over = False
        try:
            await websocket.accept(subprotocol=credential.subprotocol)
            audit.info("connected", extra={**event, "code": "OK"})
            if isinstance(connection, SocketConnection):
                await connection.relay(self._read(websocket, heard, connection), self._settings.close_s)
            else:
                connection.take_over(heard)
                is_handed_over = True
        except OSError:
            pass  # gone before the upgrade was complete
        finally:
            if not is_handed_over:
                heard.closed(connection.end)
                await heard.ended()

    def _queued(self, websocket: WebSocket) -> SocketConnection:
        return SocketConnection(websocket, self._hub.limits.queued_bytes_per_connection)

    def _bounded(self, own: Connection) -> Connection:
        limits = self._hub.limits
        rate = limits.frames
        own.bound(limits.queued_bytes_per_connection, *((rate.per_s, rate.burst) if rate else ()))
        return own

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
        return self._hub.now() + grant.expires_at - self._wall() + self._settings.expiry_grace_s

    async def _refuse(self, websocket: WebSocket, error: ServiceError, event: dict[str, str]) -> None:
        claimed = {} if "subject" in event else claimed_key(websocket)
        audit.info("connect refused", extra=event | claimed | failure(error))
        response = error_response(error, request_id(websocket))
        if isinstance(error, AccessDeniedException):
            response.status_code = 403  # 401 in the control plane, 403 on the websocket (KVS API)
        with contextlib.suppress(OSError):  # gone before the answer: uvicorn says it so until a websocket is open
            await websocket.send_denial_response(response)

    async def _read(self, websocket: WebSocket, heard: "_Heard", connection: SocketConnection) -> None:
        for number in itertools.count(1):
            if number % _TURN_FRAMES == 0:
                await asyncio.sleep(0)  # frames that came in one piece are received without a pause
            message = await websocket.receive()
            if message["type"] == "websocket.disconnect":
                if message["code"] in _FAULTS_OF_FRAMES and not connection.is_ending:
                    connection.end = (message["code"], message.get("reason") or "")
                return
            if connection.is_paused:
                await connection.until_closed()
            text = message.get("text")
            if text is None:
                heard.binary(message["bytes"])
            else:
                heard.text(text)


class _Heard:
    """What a member's websocket says, for the hub; the audit log gets how it ended when it was we who closed it."""

    __slots__ = ("_end", "_event", "_hub", "_member", "late", "text")

    def __init__(self, hub: Hub, member: Member, event: dict[str, str]) -> None:
        self._hub = hub
        self._member = member
        self._event = event
        self._end: End | None = None
        self.text = self.late = MethodType(hub.receive, member)  # as a partial, but a third of its memory

    def binary(self, data: bytes) -> None:
        self._hub.close(self._member, UNSUPPORTED_DATA, "signaling messages are text frames")

    def closed(self, end: End | None) -> None:
        self._end = end
        self._hub.forget(self._member)

    async def ended(self) -> None:
        if self._end is not None:
            close_code, reason = self._end
            audit.info("closed", extra={**self._event, "close_code": close_code, "reason": reason})
        await self._hub.disconnect(self._member)


def _only(websocket: WebSocket, name: str) -> str | None:
    """The value of a parameter. Raises: InvalidArgumentException when it is there twice: the reader may take either."""
    found = query.values(websocket, name)
    if len(found) > 1:
        raise InvalidArgumentException(f"{name} is in the query more than once")
    return found[0] if found else None
