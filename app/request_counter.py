"""Counts every HTTP request by operation and outcome, around the application; plain numbers, read at scrape time."""

import time
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final

import msgspec

from app.server import RECORDINGS_PATH, fold_slashes

SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
PAGES: Final = "pages"
RECORDINGS: Final = "recordings"

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]


class RequestStats(msgspec.Struct):
    """Requests by (operation, code), where the code is `OK` or that of the error, and their time by operation.

    `counts` of a time belong to SECONDS and one more for all above.
    """

    requests: dict[tuple[str, str], int] = {}
    counts: dict[str, list[int]] = {}
    seconds: dict[str, float] = {}


class RequestCounter:
    """An ASGI application around another; `operations` names what a POST of each path calls; all else are
    recordings and pages."""

    def __init__(self, application: Asgi, operations: Mapping[str, str]) -> None:
        self.stats = RequestStats()
        self._application = application
        self._operations = operations

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, and count what is HTTP."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        code = "no answer"

        async def watched(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = _code(message)
            await send(message)

        started = time.perf_counter()
        try:
            await self._application(scope, receive, watched)
        finally:
            self._count(self._name(fold_slashes(scope["path"]), scope["method"]), code, time.perf_counter() - started)

    def _name(self, path: str, method: str) -> str:
        if method == "POST":
            return self._operations.get(path, PAGES)
        return RECORDINGS if f"{path}/".startswith(f"{RECORDINGS_PATH}/") else PAGES

    def _count(self, operation: str, code: str, seconds: float) -> None:
        stats = self.stats
        stats.requests[operation, code] = stats.requests.get((operation, code), 0) + 1
        counts = stats.counts.setdefault(operation, [0] * (len(SECONDS) + 1))
        counts[bisect_left(SECONDS, seconds)] += 1
        stats.seconds[operation] = stats.seconds.get(operation, 0.0) + seconds


def _code(message: Message) -> str:
    for name, value in message.get("headers", ()):
        if name.lower() == b"x-amzn-errortype":
            return str(value.decode("latin-1")).partition(":")[0]
    return "OK" if message["status"] < 400 else f"HTTP {message['status']}"
