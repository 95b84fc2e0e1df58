"""The routes: which path is an operation, a page or a websocket, and which host is a role's. Exact paths, one look
each, and one path with others below it; no rule of its own.
"""

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.websockets import WebSocket

from app.assets import Assets
from app.authenticate import Authenticator
from app.endpoints import EndpointSettings
from app.wire import Operation, error_response, operation_endpoint, request_id
from channels.errors import UnknownOperationException
from channels.names import Role

JWKS_PATH: Final = "/.well-known/jwks.json"
RECORDINGS_PATH: Final = "/v1/recordings"
_JWKS_AGE_S: Final = 300
_CLOSE_S: Final = 1.0
_SLASHES: Final = re.compile("//+")

# Calls carry their credential in a header that a page must set itself; nothing is sent along by the browser (no
# cookies), so any origin may call. Source: Fetch standard; the header list is that of the AWS SDK for JavaScript.
_CROSS_ORIGIN: Final = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "x-amzn-RequestId, x-amzn-ErrorType, Date, Retry-After, ETag, Content-Range",
    "X-Content-Type-Options": "nosniff",
}
_PREFLIGHT: Final = {
    **_CROSS_ORIGIN,
    "Access-Control-Allow-Methods": "POST",
    "Access-Control-Allow-Headers": (
        "amz-sdk-invocation-id, amz-sdk-request, authorization, content-type, x-amz-content-sha256, x-amz-date, "
        "x-amz-security-token, x-amz-user-agent"
    ),
    "Access-Control-Max-Age": "7200",
}

_PREFLIGHT_GET: Final = {
    **_PREFLIGHT,
    "Access-Control-Allow-Methods": "GET, HEAD",
    "Access-Control-Allow-Headers": f"{_PREFLIGHT['Access-Control-Allow-Headers']}, if-none-match, if-range, range",
}

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]
Endpoint = Callable[[Request], Awaitable[Response]]
BelowEndpoint = Callable[[str, Request], Awaitable[Response]]
"""Answers whatever lies below a path, which it is told."""
SocketEndpoint = Callable[[WebSocket], Awaitable[None]]


class Sockets(Protocol):
    """The websocket endpoints of signaling channels."""

    async def master(self, websocket: WebSocket) -> None:
        """Serve a master."""

    async def viewer(self, websocket: WebSocket) -> None:
        """Serve a viewer."""


class Parts(msgspec.Struct, frozen=True):
    """What the server routes to; `static` is the folder of the pages, `endpoints` knows the hosts of the roles."""

    operations: tuple[Operation, ...]
    authenticator: Authenticator
    channel_sockets: Sockets
    static: Path
    endpoints: EndpointSettings = EndpointSettings()
    recordings: BelowEndpoint | None = None


def build(parts: Parts) -> Asgi:
    """Return the ASGI application of these parts. Raises: ValueError when two operations share a path."""
    return _Routes(parts)


def fold_slashes(path: str) -> str:
    """Return `path` with runs of slashes as one: some clients append `/v1/...` to an endpoint that ends in a slash."""
    return _SLASHES.sub("/", path) if "//" in path else path


class _Routes:
    def __init__(self, parts: Parts) -> None:
        self._calls: dict[str, Endpoint] = {}
        for operation in parts.operations:
            if operation.path in self._calls:
                raise ValueError(f"two operations have the path {operation.path}")
            self._calls[operation.path] = operation_endpoint(operation, parts.authenticator.request)
        sockets = parts.channel_sockets
        self._sockets: Mapping[str, SocketEndpoint] = {"/master": sockets.master, "/viewer": sockets.viewer}
        self._assets = Assets(parts.static)
        self._roots: Mapping[Role, SocketEndpoint] = {Role.MASTER: sockets.master, Role.VIEWER: sockets.viewer}
        self._endpoints = parts.endpoints
        self._authenticator = parts.authenticator
        self._recordings = parts.recordings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            raise NotImplementedError("the application holds nothing to start or stop: run it with lifespan off")
        path = fold_slashes(scope["path"])
        if scope["type"] == "websocket":
            handshake = _Handshake(receive, send)
            await self._open(path, WebSocket(scope, receive, handshake.send))
            await handshake.end()
            return
        request = Request(scope, receive, send)
        response = await self._answer(path, request)
        await response(scope, receive, send)

    async def _open(self, path: str, websocket: WebSocket) -> None:
        endpoint = self._sockets.get(path)
        if path == "/":
            role = self._endpoints.role_of_host(websocket.headers.get("host", ""))
            endpoint = self._roots[role] if role else None
        if endpoint is not None:
            await endpoint(websocket)
            return
        try:
            await websocket.send_denial_response(_unknown(path, "websocket", request_id(websocket)))
        except OSError:
            return  # gone before the answer: uvicorn says it so until a websocket is open

    async def _answer(self, path: str, request: Request) -> Response:
        call = self._calls.get(path)
        if call is not None:
            if request.method == "OPTIONS":
                return Response(status_code=204, headers=_PREFLIGHT)
            response = await call(request)
        elif self._recordings is not None and f"{path}/".startswith(f"{RECORDINGS_PATH}/"):
            if request.method == "OPTIONS":
                return Response(status_code=204, headers=_PREFLIGHT_GET)
            response = await self._recordings(path, request)
        elif path == JWKS_PATH and request.method in ("GET", "HEAD"):
            response = self._jwks()
        else:
            page = self._assets.answer(path, request)
            if page is not None:
                return page
            response = _unknown(path, request.method, request_id(request))
        response.headers.update(_CROSS_ORIGIN)
        return response

    def _jwks(self) -> Response:
        body = msgspec.json.encode(self._authenticator.verifier.jwks())
        return Response(body, headers={"Cache-Control": f"max-age={_JWKS_AGE_S}"}, media_type="application/json")


class _Handshake:
    """Watches one websocket's handshake: uvicorn logs an error for an application that returns too soon after refusing.

    Too soon is before the connection is closed; it says `disconnect` once for the refusal and once for that.
    """

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._is_refused = False

    async def send(self, message: Message) -> None:
        """Pass on, and see whether it is a refusal."""
        await self._send(message)
        self._is_refused = self._is_refused or message["type"] == "websocket.http.response.start"

    async def end(self) -> None:
        """Return once a refused connection is closed, or after a while; at once for any other."""
        if not self._is_refused:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_S):
                ends = 0
                while ends < 2:
                    ends += (await self._receive())["type"] == "websocket.disconnect"


def _unknown(path: str, method: str, identity: str) -> Response:
    return error_response(UnknownOperationException(f"there is no operation {method} {path}"), identity)
