import asyncio
import http.client
import json
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from app.api import operations
from app.api.operations import Operations, Pulse
from app.listen import listen


async def fine() -> None:
    return


async def broken() -> str:
    return "the disk is gone"


async def raising() -> None:
    raise OSError("no space")


@asynccontextmanager
async def operating(**checks: operations.Check) -> AsyncIterator[tuple[int, Operations]]:
    with listen("127.0.0.1", 0, "ops_port") as listener:
        answers = Operations("1.2.3", checks, lambda: b"heliograph_up 1\n")
        async with operations.serve(answers, listener) as port:
            yield port, answers


def get(port: int, path: str, method: str = "GET") -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request(method, path)
    answer = connection.getresponse()
    body = answer.read()
    kind = answer.headers["Content-Type"]
    connection.close()
    return answer.status, json.loads(body) if body and kind == "application/json" else body


async def test_livez_tells_the_version_and_asks_no_store() -> None:
    async with operating(catalog=raising) as (port, _):
        status, body = await asyncio.to_thread(get, port, "/livez")
    assert status == 200
    assert (body["status"], body["version"]) == ("ok", "1.2.3")


@pytest.mark.slow
async def test_livez_fails_while_the_loop_is_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "LAG_LIMIT_S", 0.2)
    async with operating() as (port, _):
        answers: list[tuple[int, Any]] = []
        asked = threading.Event()

        def ask() -> None:
            asked.wait()
            answers.append(get(port, "/livez"))

        thread = threading.Thread(target=ask)
        thread.start()
        threading.Event().wait(0.6)  # nothing runs on the loop meanwhile
        asked.set()
        thread.join(60)
    assert answers[0][0] == 503
    assert answers[0][1]["loop_lag_s"] > 0.2


async def test_readyz_names_the_failing_parts() -> None:
    async with operating(catalog=raising, turn=broken, bus=fine) as (port, _):
        status, body = await asyncio.to_thread(get, port, "/readyz")
    assert status == 503
    assert body == {"status": "not ready", "failing": {"catalog": "OSError: no space", "turn": "the disk is gone"}}


async def test_readyz_is_ok_when_every_part_answers() -> None:
    async with operating(catalog=fine) as (port, _):
        assert await asyncio.to_thread(get, port, "/readyz") == (200, {"status": "ok", "failing": {}})


async def test_readyz_fails_while_draining() -> None:
    async with operating(catalog=fine) as (port, answers):
        answers.is_draining = True
        status, body = await asyncio.to_thread(get, port, "/readyz")
    assert (status, body["failing"]) == (503, {"drain": "the node is draining"})


async def test_a_check_that_hangs_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "_CHECK_S", 0.05)

    async def hang() -> None:
        await asyncio.Event().wait()

    async with operating(catalog=hang) as (port, _):
        status, body = await asyncio.to_thread(get, port, "/readyz")
    assert status == 503
    assert body["failing"]["catalog"].startswith("no answer in")


async def test_metrics_are_text() -> None:
    async with operating() as (port, _):
        assert await asyncio.to_thread(get, port, "/metrics?x=1") == (200, b"heliograph_up 1\n")


async def test_other_paths_and_head() -> None:
    async with operating() as (port, _):
        assert (await asyncio.to_thread(get, port, "/nothing"))[0] == 404
        assert await asyncio.to_thread(get, port, "/metrics", "HEAD") == (200, b"")


async def test_the_port_is_closed_afterwards() -> None:
    async with operating() as (port, _):
        pass
    with pytest.raises(ConnectionRefusedError):
        await asyncio.to_thread(get, port, "/livez")


def test_a_pulse_that_beats_has_no_lag() -> None:
    assert Pulse().lag_s == 0
