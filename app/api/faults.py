"""Fault switches of the emulator: which calls and connects fail next, and how. Put around the server's parts."""

import contextlib
from collections import deque
from typing import Any

import msgspec
from starlette.websockets import WebSocket

from app.server import Parts, SocketEndpoint, Sockets
from app.wire import Caller, Operation, error_response, request_id
from channels.errors import AccessDeniedException, InvalidArgumentException, ServiceError

CONNECTS = ("ConnectAsMaster", "ConnectAsViewer")
WAITING_LIMIT = 10_000
_WORDS = "the emulator was told to fail this call"


class Faults:
    """The faults that wait, by operation: each fails one call, oldest first."""

    def __init__(self) -> None:
        self._waiting: dict[str, deque[type[ServiceError]]] = {}

    def add(self, operation: str, error: str, times: int) -> None:
        """Let the next `times` calls of `operation` fail with the error class of this name.

        Raises: InvalidArgumentException for an operation or an error that there is not, or too many that wait.
        """
        kinds = {kind.__name__: kind for kind in ServiceError.__subclasses__()}
        if operation not in self._waiting:
            raise InvalidArgumentException(f"operation must be one of {', '.join(sorted(self._waiting))}")
        if error not in kinds:
            raise InvalidArgumentException(f"error must be one of {', '.join(sorted(kinds))}")
        waiting = self._waiting[operation]
        if len(waiting) + times > WAITING_LIMIT:
            raise InvalidArgumentException(f"over {WAITING_LIMIT} faults of {operation} would wait")
        waiting.extend([kinds[error]] * times)

    def clear(self) -> None:
        """Let nothing fail any more."""
        for waiting in self._waiting.values():
            waiting.clear()

    def take(self, operation: str) -> ServiceError | None:
        """The error that this call has to fail with, if any; it does not wait any more."""
        waiting = self._waiting.get(operation)
        return waiting.popleft()(_WORDS) if waiting else None

    def around(self, parts: Parts) -> Parts:
        """Return parts that fail when they should, once the caller is known, and else do what `parts` do."""
        for name in (*CONNECTS, *(operation.name for operation in parts.operations)):
            self._waiting.setdefault(name, deque())
        return msgspec.structs.replace(
            parts,
            operations=tuple(self._operation(operation) for operation in parts.operations),
            channel_sockets=_Sockets(self, parts.channel_sockets),
        )

    def _operation(self, operation: Operation) -> Operation:
        async def handle(caller: Caller, body: Any) -> msgspec.Struct:
            error = self.take(operation.name)
            if error is not None:
                raise error
            return await operation.handle(caller, body)

        return msgspec.structs.replace(operation, handle=handle)


class _Sockets:
    def __init__(self, faults: Faults, inner: Sockets) -> None:
        self._faults = faults
        self._inner = inner

    async def master(self, websocket: WebSocket) -> None:
        await self._serve("ConnectAsMaster", self._inner.master, websocket)

    async def viewer(self, websocket: WebSocket) -> None:
        await self._serve("ConnectAsViewer", self._inner.viewer, websocket)

    async def _serve(self, name: str, endpoint: SocketEndpoint, websocket: WebSocket) -> None:
        error = self._faults.take(name)
        if error is None:
            await endpoint(websocket)
            return
        response = error_response(error, request_id(websocket))
        if isinstance(error, AccessDeniedException):
            response.status_code = 403  # as ChannelSockets refuses
        with contextlib.suppress(OSError):  # gone before the answer
            await websocket.send_denial_response(response)
