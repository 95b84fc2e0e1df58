from typing import Any

import pytest

from app.request_counter import PAGES, RECORDINGS, SECONDS, RequestCounter


def answering(status: int, *headers: tuple[bytes, bytes]) -> Any:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": status, "headers": list(headers)})
        await send({"type": "http.response.body", "body": b""})

    return application


OPERATIONS = {"/createSignalingChannel": "CreateSignalingChannel", "/v1/connect-ticket": "CreateConnectTicket"}


async def call(application: Any, path: str, kind: str = "http", method: str = "POST") -> RequestCounter:
    counter = RequestCounter(application, OPERATIONS)

    async def send(message: Any) -> None:
        return

    await counter({"type": kind, "path": path, "method": method}, send, send)  # nothing is received
    return counter


@pytest.mark.parametrize(
    ("status", "headers", "code"),
    [
        (200, (), "OK"),
        (304, (), "OK"),
        (404, (), "HTTP 404"),
        (400, ((b"X-Amzn-ErrorType", b"ResourceInUseException:http://x"),), "ResourceInUseException"),
    ],
)
async def test_a_request_counts_by_operation_and_code(status: int, headers: Any, code: str) -> None:
    counter = await call(answering(status, *headers), "//createSignalingChannel")
    assert counter.stats.requests == {("CreateSignalingChannel", code): 1}
    assert sum(counter.stats.counts["CreateSignalingChannel"]) == 1
    assert len(counter.stats.counts["CreateSignalingChannel"]) == len(SECONDS) + 1
    assert counter.stats.seconds["CreateSignalingChannel"] > 0


@pytest.mark.parametrize("path", ["/v1/connect-ticket", "//v1/connect-ticket", "/v1//connect-ticket"])
async def test_a_path_is_counted_as_it_is_routed(path: str) -> None:
    counter = await call(answering(200), path)
    assert counter.stats.requests == {("CreateConnectTicket", "OK"): 1}


async def test_a_preflight_is_no_call() -> None:
    counter = await call(answering(204), "/createSignalingChannel", method="OPTIONS")
    assert counter.stats.requests == {(PAGES, "OK"): 1}


async def test_any_other_path_counts_as_a_page_so_that_paths_make_no_labels() -> None:
    counter = await call(answering(404), "/" + "x" * 50)
    assert list(counter.stats.requests) == [(PAGES, "HTTP 404")]


@pytest.mark.parametrize("path", ["/v1/recordings", "/v1/recordings/demo/index.m3u8", "//v1/recordings/demo"])
async def test_recordings_count_as_one_whatever_their_path(path: str) -> None:
    counter = await call(answering(200), path, method="GET")
    assert list(counter.stats.requests) == [(RECORDINGS, "OK")]


async def test_websockets_are_counted_elsewhere() -> None:
    counter = await call(answering(200), "/viewer", kind="websocket")
    assert counter.stats.requests == {}


async def test_a_request_without_answer_counts_too() -> None:
    async def fail(scope: Any, receive: Any, send: Any) -> None:
        raise ConnectionResetError

    counter = RequestCounter(fail, {})
    with pytest.raises(ConnectionResetError):
        await counter({"type": "http", "path": "/", "method": "GET"}, answering(200), answering(200))
    assert list(counter.stats.requests) == [(PAGES, "no answer")]
