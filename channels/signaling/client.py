"""Signaling client of our own masters and viewers: finds the endpoint, opens the websocket, sends and receives."""

import asyncio
import base64
import http
import logging
import random
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any, Final, TypeVar
from urllib.parse import urlencode, urlsplit

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from channels.access import Access
from channels.errors import ClientLimitExceededException, Limit
from channels.ice import IceServer
from channels.names import Role
from channels.service import EndpointUnreachableError, ServiceClient, in_words, service_error, tls, untrusted
from channels.signaling import messages
from channels.signaling.messages import Action, ClientMessage, FrameError, Status

_OPEN_TIMEOUT_S: Final = 10.0
_CLOSE_TIMEOUT_S: Final = 2.0
_PING_S: Final = 20.0
_KEEP_ALIVE_S: Final = 240.0  # under the 10-minute idle rule of the `aws` profile
_FRAME_LIMIT: Final = 64 * 1024
_PATIENCE_S: Final = 5.0  # how long a rate limit, which says when to come back, is waited for
_RECEIVE_QUEUE: Final = 256  # frames; above it the socket is not read, so the service sees a slow peer
T = TypeVar("T")
S = TypeVar("S", bound=msgspec.Struct)
log = logging.getLogger(__name__)
# The library writes request headers, and with them the token, at DEBUG: its logger stays above that.
_library_log = logging.getLogger(__name__ + ".websocket")
_library_log.setLevel(logging.INFO)


class ClientSettings(msgspec.Struct, frozen=True):
    """Where and as whom to connect, `access` being a token or more; a master needs no `client_id`, a viewer does."""

    endpoint: str
    access: Access | str
    channel_name: str
    role: Role
    client_id: str | None = None

    def __repr__(self) -> str:
        return f"ClientSettings({self.endpoint!r}, ***, {self.channel_name!r}, {self.role!r}, {self.client_id!r})"


class Message(msgspec.Struct, frozen=True):
    """One message of the service: `type` as on the wire, `payload` decoded; `status` only with STATUS_RESPONSE."""

    type: str
    payload: bytes
    sender_client_id: str | None = None
    status: Status | None = None


class _ChannelInfo(msgspec.Struct):
    arn: str = msgspec.field(name="ChannelARN")


class _Described(msgspec.Struct, rename="pascal"):
    channel_info: _ChannelInfo


class _Endpoint(msgspec.Struct, rename="pascal"):
    protocol: str
    resource_endpoint: str


class _Endpoints(msgspec.Struct, rename="pascal"):
    resource_endpoint_list: tuple[_Endpoint, ...]


class _IceServer(msgspec.Struct, rename="pascal"):
    uris: tuple[str, ...]
    username: str = ""
    password: str = ""
    ttl: int = 0

    def __repr__(self) -> str:
        return f"_IceServer(uris={self.uris!r})"


class _IceServers(msgspec.Struct, rename="pascal"):
    ice_server_list: tuple[_IceServer, ...] = ()


class RefusedError(Exception):
    """The service refused the websocket before the upgrade: HTTP status, AWS code, sentence and limit."""

    def __init__(self, status: int, code: str, message: str, limit: Limit | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.limit = limit


class ConnectionEndedError(Exception):
    """The websocket is closed: nothing more can be sent. The connection has close code and reason."""


class SignalingConnection:
    """An open websocket; iterate it for messages until it ends, then read `close_code` and `close_reason`."""

    def __init__(self, websocket: ClientConnection) -> None:
        self._websocket = websocket
        self.close_code: int | None = None
        self.close_reason = ""

    async def send(
        self, type: str, payload: bytes, recipient_client_id: str | None = None, correlation_id: str | None = None
    ) -> None:
        """Send one message; calls keep their order.

        `type` is SDP_OFFER, SDP_ANSWER or ICE_CANDIDATE. Raises: ConnectionEndedError; ValueError (unknown type).
        """
        text = base64.b64encode(payload).decode("ascii")
        message = ClientMessage(Action(type), text, recipient_client_id or "", correlation_id or "")
        try:
            await self._websocket.send(messages.encode_client(message))
        except ConnectionClosed:
            self._note_close()
            raise ConnectionEndedError(f"closed with {self.close_code} {self.close_reason}".rstrip()) from None

    async def __aiter__(self) -> AsyncIterator[Message]:
        while (frame := await self._receive()) is not None:
            message = _read(frame)
            if message is not None:
                yield message

    async def _receive(self) -> str | bytes | None:
        """The next frame, None at the end; after a silence an empty frame tells the service that we are there."""
        while True:
            try:
                async with asyncio.timeout(_KEEP_ALIVE_S):
                    return await self._websocket.recv()
            except TimeoutError:
                await self._keep_alive()
            except ConnectionClosed:
                self._note_close()
                return None

    async def _keep_alive(self) -> None:
        try:
            await self._websocket.send("")
        except ConnectionClosed:
            return  # the next receive reports it

    def _note_close(self) -> None:
        self.close_code = self._websocket.close_code
        self.close_reason = self._websocket.close_reason or ""

    async def close(self) -> None:
        """Close with 1000; waits at most two seconds for the service's close frame. Closing twice is harmless."""
        await self._websocket.close()
        self._note_close()


class SignalingClient:
    """Connects to one channel in one role; every `open` looks the channel and its endpoint up anew."""

    def __init__(self, settings: ClientSettings) -> None:
        self.settings = settings
        self._access = Access(settings.access) if isinstance(settings.access, str) else settings.access
        self._service = ServiceClient(settings.endpoint, self._access)
        self._https_endpoint: str | None = None
        self._arn = ""

    @property
    def arn(self) -> str:
        """ARN of the channel as it was described last; empty before the first `open`."""
        return self._arn

    async def open(self) -> SignalingConnection:
        """Describe the channel, ask for its endpoint, open the websocket. A rate limit is waited for, up to 5 s.

        Raises: ServiceError subclasses of the REST calls, RefusedError (the service refused the upgrade, with the
        reason), EndpointUnreachableError.
        """
        url = await self._websocket_url()
        return SignalingConnection(await _patiently(partial(self._connect, url)))

    async def _connect(self, url: str) -> ClientConnection:
        target, headers = self._access.socket(url, time.time())
        try:
            return await connect(
                target,
                additional_headers=headers,
                ssl=tls(self._access) if urlsplit(url).scheme == "wss" else None,
                user_agent_header="heliograph",
                compression=None,
                proxy=None,
                open_timeout=_OPEN_TIMEOUT_S,
                close_timeout=_CLOSE_TIMEOUT_S,
                ping_interval=_PING_S,
                ping_timeout=_PING_S,
                max_size=_FRAME_LIMIT,
                max_queue=_RECEIVE_QUEUE,
                logger=_library_log,
            )
        except InvalidStatus as error:
            raise _refusal(error) from None
        except ssl.SSLCertVerificationError as error:
            raise untrusted(_place(url), error) from None
        except (OSError, InvalidHandshake, InvalidURI, TimeoutError, ConnectionClosed) as error:
            raise EndpointUnreachableError(
                f"no websocket opens at {_place(url)} ({in_words(error)}): check that the service can be reached there"
            ) from None

    async def ice_servers(self) -> tuple[IceServer, ...]:
        """The ICE servers for this role and client id (KVS API: GetIceServerConfig).

        Raises: ServiceError subclasses, EndpointUnreachableError.
        """
        if self._https_endpoint is None:
            await self._websocket_url()
        service = ServiceClient(self._https_endpoint or self.settings.endpoint, self._access)
        body = {"ChannelARN": self._arn}
        if self.settings.client_id:
            body["ClientId"] = self.settings.client_id
        answer = await _patiently(partial(service.call, "/v1/get-ice-server-config", body))
        servers = _shaped(answer, _IceServers).ice_server_list
        return tuple(IceServer(each.uris, each.username, each.password, each.ttl) for each in servers)

    async def _websocket_url(self) -> str:
        name = {"ChannelName": self.settings.channel_name}
        described = await _patiently(partial(self._service.call, "/describeSignalingChannel", name))
        self._arn = _shaped(described, _Described).channel_info.arn
        wanted = {"Protocols": ["WSS", "HTTPS"], "Role": self.settings.role.value}
        question = {"ChannelARN": self._arn, "SingleMasterChannelEndpointConfiguration": wanted}
        answer = await _patiently(partial(self._service.call, "/getSignalingChannelEndpoint", question))
        listed = _shaped(answer, _Endpoints).resource_endpoint_list
        endpoints = {each.protocol: each.resource_endpoint for each in listed}
        self._https_endpoint = endpoints.get("HTTPS")
        base = endpoints.get("WSS")
        if base is None:
            raise EndpointUnreachableError("the answer has no endpoint for WSS: is another program listening there?")
        query = {"X-Amz-ChannelARN": self._arn}
        if self.settings.role is Role.VIEWER and self.settings.client_id:
            query["X-Amz-ClientId"] = self.settings.client_id
        path = "" if urlsplit(base).path else "/"
        return f"{base}{path}?{urlencode(query)}"


async def _patiently(attempt: Callable[[], Awaitable[T]]) -> T:
    """Repeat what a rate limit refused, when it says; a limit that only somebody's leaving lifts is raised at once."""
    end = time.monotonic() + _PATIENCE_S
    while True:
        try:
            return await attempt()
        except (ClientLimitExceededException, RefusedError) as error:
            wait_s = None if error.limit is None else error.limit.retry_after_s
            if wait_s is None or time.monotonic() + wait_s > end:
                raise
            await asyncio.sleep(wait_s * random.uniform(1.0, 1.5))  # noqa: S311  # spreads load, hides nothing


def _place(url: str) -> str:
    """The URL without its query."""
    return "{0.scheme}://{0.netloc}{0.path}".format(urlsplit(url))


def _shaped(answer: dict[str, Any], shape: type[S]) -> S:
    try:
        return msgspec.convert(answer, shape)
    except msgspec.ValidationError:
        raise EndpointUnreachableError(
            "the endpoint's answer is not that of this service: is another program listening there?"
        ) from None


def _refusal(error: InvalidStatus) -> RefusedError:
    response = error.response
    try:
        body = msgspec.json.decode(bytes(response.body or b"{}"), type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeError):
        body = {}
    code = response.headers.get("x-amzn-ErrorType", "") or body.get("__type", "")
    if not body:
        phrase = http.HTTPStatus(response.status_code).phrase if response.status_code in _PHRASES else "unknown"
        return RefusedError(response.status_code, code or "Refused", f"HTTP {response.status_code} {phrase}")
    parsed = service_error(response.status_code, code, body)
    return RefusedError(response.status_code, code or parsed.code, parsed.message, parsed.limit)


_PHRASES: Final = frozenset(status.value for status in http.HTTPStatus)


def _read(frame: str | bytes) -> Message | None:
    """The message of a frame; None for a frame that is no message, which is logged without its text."""
    try:
        wire = messages.decode_server(frame)
        payload = base64.b64decode(wire.message_payload + "==", altchars=b"-_" if _is_url_safe(wire) else None)
    except (FrameError, ValueError):
        log.warning("signaling frame ignored", extra={"characters": len(frame)})
        return None
    return Message(wire.message_type, payload, wire.sender_client_id, wire.status_response)


def _is_url_safe(wire: messages.ServerMessage) -> bool:
    return "-" in wire.message_payload or "_" in wire.message_payload
