"""The operations port: /livez, /readyz and /metrics in a thread of their own, so that a stuck loop can be seen."""

import asyncio
import concurrent.futures
import contextlib
import http.server
import selectors
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from http import HTTPStatus

import msgspec

LAG_LIMIT_S = 5.0
BEAT_S = 0.25
_CHECK_S = 2.0
_CLIENT_S = 5.0

Check = Callable[[], Awaitable[str | None]]


class Alive(msgspec.Struct, frozen=True):
    """Answer of /livez; the lag of the event loop in seconds."""

    status: str
    version: str
    loop_lag_s: float


class Ready(msgspec.Struct, frozen=True):
    """Answer of /readyz: the failing parts and, in a sentence each, why."""

    status: str
    failing: dict[str, str]


class Pulse:
    """Beats on the event loop, so that another thread can tell how late the loop is."""

    def __init__(self) -> None:
        self._beat = time.monotonic()

    async def run(self) -> None:
        """Beat for ever."""
        while True:
            self._beat = time.monotonic()
            await asyncio.sleep(BEAT_S)

    @property
    def lag_s(self) -> float:
        """Seconds by which the last beat is overdue."""
        return max(0.0, time.monotonic() - self._beat - BEAT_S)


class Operations:
    """What the operations port answers from; `checks` run on the event loop, None or a sentence each."""

    def __init__(
        self, version: str, checks: Mapping[str, Check], metrics: Callable[[], bytes], pulse: Pulse | None = None
    ) -> None:
        self.pulse = pulse or Pulse()
        self.is_draining = False
        self._version = version
        self._checks = checks
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()

    def livez(self) -> tuple[HTTPStatus, bytes]:
        """200 while the loop is less than 5 s late; asks no store."""
        lag_s = self.pulse.lag_s
        is_alive = lag_s < LAG_LIMIT_S
        answer = Alive("ok" if is_alive else "the event loop is stuck", self._version, round(lag_s, 3))
        return _status(is_alive), msgspec.json.encode(answer)

    def readyz(self) -> tuple[HTTPStatus, bytes]:
        """200 when every part answers and the node is not draining; else 503 with the failing parts."""
        failing = self._failing()
        if self.is_draining:
            failing["drain"] = "the node is draining"
        return _status(not failing), msgspec.json.encode(Ready("ok" if not failing else "not ready", failing))

    def metrics(self) -> tuple[HTTPStatus, bytes]:
        """Prometheus text."""
        return HTTPStatus.OK, self._metrics()

    def _failing(self) -> dict[str, str]:
        checking = self._check_all()
        try:
            future = asyncio.run_coroutine_threadsafe(checking, self._loop)
        except RuntimeError:  # the loop is closed
            checking.close()
            return {"event_loop": "ended"}
        try:
            return future.result(_CHECK_S + 1)
        except concurrent.futures.TimeoutError:
            future.cancel()
            return {"event_loop": f"no answer in {_CHECK_S + 1:.0f} s"}
        except concurrent.futures.CancelledError:
            return {"event_loop": "ending"}

    async def _check_all(self) -> dict[str, str]:
        failing = {}
        for name, check in self._checks.items():
            try:
                async with asyncio.timeout(_CHECK_S):
                    reason = await check()
            except TimeoutError:
                reason = f"no answer in {_CHECK_S:.0f} s"
            except Exception as error:  # noqa: BLE001  # the door of a probe: any failure is its answer
                reason = f"{type(error).__name__}: {error}"
            if reason is not None:
                failing[name] = reason
        return failing


def _status(is_good: bool) -> HTTPStatus:
    return HTTPStatus.OK if is_good else HTTPStatus.SERVICE_UNAVAILABLE


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    timeout = 0  # of `handle_request`, for a connection that is gone again
    operations: Operations

    def answer_until(self, end: socket.socket) -> None:
        """Answer until there is something to read at `end`. `serve_forever` would look for its end many times a second,
        which is half of what a service does that nobody uses.
        """
        with selectors.DefaultSelector() as ready:
            ready.register(self, selectors.EVENT_READ)
            ready.register(end, selectors.EVENT_READ)
            while end not in [key.fileobj for key, _ in ready.select()]:
                self.handle_request()


class _Handler(http.server.BaseHTTPRequestHandler):
    """Routes of the operations port; anything else is 404."""

    server: _Server
    timeout = _CLIENT_S
    protocol_version = "HTTP/1.1"
    server_version = "heliograph"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer one of the three paths."""
        operations = self.server.operations
        routes = {
            "/livez": (operations.livez, "application/json"),
            "/readyz": (operations.readyz, "application/json"),
            "/metrics": (operations.metrics, "text/plain; version=0.0.4; charset=utf-8"),
        }
        answer, kind = routes.get(self.path.partition("?")[0], (_not_found, "application/json"))
        status, body = answer()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815  # name set by http.server

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: probes come every few seconds."""


def _not_found() -> tuple[HTTPStatus, bytes]:
    return HTTPStatus.NOT_FOUND, b'{"status":"there are /livez, /readyz and /metrics"}'


@contextlib.asynccontextmanager
async def serve(operations: Operations, listener: socket.socket) -> AsyncIterator[int]:
    """Answer on the bound `listener` from a thread while the block runs; gives the port."""
    server = _Server(listener.getsockname(), _Handler, bind_and_activate=False)
    server.socket.close()
    server.socket = listener
    server.operations = operations
    ours, end = socket.socketpair()
    thread = threading.Thread(target=server.answer_until, args=(end,), name="operations", daemon=True)
    thread.start()
    try:
        async with asyncio.TaskGroup() as group:
            beating = group.create_task(operations.pulse.run())
            yield int(listener.getsockname()[1])
            beating.cancel()
    finally:
        ours.close()
        await asyncio.to_thread(thread.join, 1.0)
        server.server_close()
        end.close()
