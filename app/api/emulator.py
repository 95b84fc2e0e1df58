"""The routes that drive an emulator: reset, clock, faults, cuts, events. There is no credential for them, so only this
machine may ask, and of the pages on it only our own: no Host but a loopback one, no Origin but the same, no CORS.
"""

import math
from collections.abc import Callable
from typing import Annotated, Final, Protocol

import msgspec
from msgspec import Meta
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from app.api.shapes import Empty
from app.loopback import is_loopback
from app.server import Asgi, Receive, Scope, Send, fold_slashes
from app.wire import Caller, Operation, error_response, operation_endpoint, request_id, struct_response
from channels.auth.grant import Grant
from channels.errors import (
    AccessDeniedException,
    InvalidArgumentException,
    ServiceError,
    UnknownOperationException,
)
from channels.names import ChannelArn
from channels.signaling.messages import Event

PREFIX: Final = "/_emulator/"
CLOCK_PATH: Final = PREFIX + "clock"
_LEAP_MAX_S: Final = 366 * 86_400
_CLOSE_CODES: Final = frozenset((*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)))  # RFC 6455, 7.4.2
_GRANT: Final = Grant("emulator", "", (), math.inf)


class ClockInput(msgspec.Struct, frozen=True, rename="camel"):
    """How far the clock jumps forward."""

    advance_seconds: Annotated[float, Meta(ge=0, le=_LEAP_MAX_S)]


class ClockOutput(msgspec.Struct, frozen=True, rename="camel"):
    """How far the clock is ahead of the real one."""

    offset_seconds: float


class FaultInput(msgspec.Struct, frozen=True, rename="camel"):
    """Which calls fail and how: the next `times` of `operation`, which may be ConnectAsMaster or ConnectAsViewer."""

    operation: str
    error: str
    times: Annotated[int, Meta(ge=1, le=1000)] = 1


class CutInput(msgspec.Struct, frozen=True, rename="camel"):
    """Which channel's websockets are closed, by which close code (RFC 6455, 7.4) and reason."""

    channel_arn: Annotated[str, Meta(min_length=1, max_length=1024)]
    code: int = 1001
    reason: Annotated[str, Meta(max_length=120, pattern="^[ -~]*$")] = "cut by the emulator"


class SendInput(msgspec.Struct, frozen=True, rename="camel"):
    """What the channel's websockets are told."""

    channel_arn: Annotated[str, Meta(min_length=1, max_length=1024)]
    type: Event


class SendOutput(msgspec.Struct, frozen=True):
    """How many websockets were told."""

    sent: int


class World(Protocol):
    """What the routes drive."""

    async def reset(self) -> None:
        """Be as after the start."""

    async def advance(self, by_s: float) -> float:
        """Move the clock and do what is due; the answer is how far it is ahead of the real one."""

    def fail(self, operation: str, error: str, times: int) -> None:
        """Let the next calls fail. Raises: InvalidArgumentException."""

    async def cut(self, arn: ChannelArn, code: int, reason: str) -> None:
        """Close the channel's websockets. Raises: ResourceNotFoundException."""

    async def send(self, arn: ChannelArn, event: Event) -> int:
        """Tell the channel's websockets; the answer is how many. Raises: ResourceNotFoundException."""


class EmulatorApi:
    """The operations on an emulator."""

    def __init__(self, world: World) -> None:
        self._world = world

    @property
    def operations(self) -> tuple[Operation, ...]:
        """Each operation with its path."""
        table = (
            ("ResetEmulator", "reset", Empty, self._reset),
            ("AdvanceClock", "clock", ClockInput, self._advance),
            ("FailNextCalls", "faults", FaultInput, self._fail),
            ("CutChannel", "cut", CutInput, self._cut),
            ("SendEvent", "send", SendInput, self._send),
        )
        return tuple(Operation(name, PREFIX + path, request, do, "emulator") for name, path, request, do in table)

    async def _reset(self, _: Caller, __: Empty) -> Empty:
        await self._world.reset()
        return Empty()

    async def _advance(self, _: Caller, body: ClockInput) -> ClockOutput:
        return ClockOutput(await self._world.advance(body.advance_seconds))

    async def _fail(self, _: Caller, body: FaultInput) -> Empty:
        self._world.fail(body.operation, body.error, body.times)
        return Empty()

    async def _cut(self, _: Caller, body: CutInput) -> Empty:
        if body.code not in _CLOSE_CODES:
            raise InvalidArgumentException("code must be 1000 to 1003, 1007 to 1014 or 3000 to 4999")
        await self._world.cut(ChannelArn.parse(body.channel_arn), body.code, body.reason)
        return Empty()

    async def _send(self, _: Caller, body: SendInput) -> SendOutput:
        return SendOutput(await self._world.send(ChannelArn.parse(body.channel_arn), body.type))


class EmulatorRoutes:
    """An ASGI application: the emulator's own paths, all else to `others`."""

    def __init__(self, api: EmulatorApi, offset_s: Callable[[], float], others: Asgi) -> None:
        self._calls = {
            operation.path: operation_endpoint(operation, lambda call, _: _local(call)) for operation in api.operations
        }
        self._offset_s = offset_s
        self._others = others

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer or pass on."""
        path = fold_slashes(scope["path"])
        if scope["type"] != "http" or not path.startswith(PREFIX):
            await self._others(scope, receive, send)
            return
        request = Request(scope, receive, send)
        if path == CLOCK_PATH and request.method == "GET":
            response = self._clock(request)
        elif path in self._calls:
            response = await self._calls[path](request)
        else:
            error = UnknownOperationException(f"the emulator has no {path}: there are {', '.join(self._calls)}")
            response = error_response(error, request_id(request), lower_case=True)
        await response(scope, receive, send)

    def _clock(self, request: Request) -> Response:
        try:
            _local(request)
        except ServiceError as error:
            return error_response(error, request_id(request), lower_case=True)
        return struct_response(ClockOutput(self._offset_s()), request_id(request))


def _local(connection: HTTPConnection) -> Grant:
    """Return who asks. Raises: AccessDeniedException for a page of another origin, or a name that is not loopback.

    A page elsewhere cannot hide its Origin from a POST; one whose name was made to point here says that name in Host.
    """
    hosts, origins = (connection.headers.getlist(name) for name in ("host", "origin"))
    if len(hosts) != 1 or not is_loopback(hosts[0]):
        raise AccessDeniedException("the emulator is asked under a loopback name: localhost or 127.0.0.1")
    if origins not in ([], [f"{connection.scope['scheme']}://{hosts[0]}"]):
        raise AccessDeniedException("the emulator is not driven by pages of another origin")
    return _GRANT
