"""Which path leads where, and with which headers; on the wire where only the wire shows it."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import websockets
from starlette.requests import Request
from starlette.responses import Response
from starlette.websockets import WebSocket

from app import server
from app.authenticate import Authenticator
from app.endpoints import EndpointSettings
from app.server import Asgi, BelowEndpoint, Parts
from app.wire import Caller, Operation
from channels.auth import token
from channels.auth.ticket import Tickets
from channels.auth.token import TokenSettings, TokenVerifier
from tests.live import live

STATIC = Path(__file__).parents[2] / "app" / "static"
KEYS = (token.new_es256_key(), token.secret_key("shared", b"k" * 32))
NOW = 1_700_000_000.0
PATHS = ("/v1/echo", "/TagResource")


class Note(msgspec.Struct):
    text: str = ""


async def echo(caller: Caller, body: Note) -> Note:
    return Note(f"{caller.grant.subject}: {body.text}")


class Sockets:
    """Says which endpoint was taken and closes."""

    async def master(self, websocket: WebSocket) -> None:
        await self._say(websocket, "master")

    async def viewer(self, websocket: WebSocket) -> None:
        await self._say(websocket, "viewer")

    async def _say(self, websocket: WebSocket, name: str) -> None:
        await websocket.accept()
        await websocket.send_text(name)
        await websocket.close()


def authorization() -> dict[str, str]:
    text = token.mint(
        KEYS[0], TokenSettings(), subject="alice", actions=["*"], channels=["*"], now_wall=NOW, lifetime_s=60
    )
    return {"Authorization": f"Bearer {text}"}


def application(
    paths: tuple[str, ...] = PATHS,
    endpoints: EndpointSettings | None = None,
    recordings: BelowEndpoint | None = None,
) -> Asgi:
    verifier = TokenVerifier(KEYS, TokenSettings())
    authenticator = Authenticator(verifier, Tickets(), wall=lambda: NOW, monotonic=lambda: 0.0)
    operations = tuple(Operation("Echo", path, Note, echo, "signaling") for path in paths)
    return server.build(
        Parts(operations, authenticator, Sockets(), STATIC, endpoints or EndpointSettings(), recordings)
    )


def socket_scope() -> dict[str, Any]:
    extensions: dict[str, Any] = {"websocket.http.response": {}}
    return {"type": "websocket", "path": "/nowhere", "headers": [], "query_string": b"", "extensions": extensions}


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(application())
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


@pytest.mark.parametrize("path", ["/v1/echo", "//v1/echo", "/v1//echo", "///v1///echo"])
async def test_runs_of_slashes_lead_to_the_same_operation(client: httpx.AsyncClient, path: str) -> None:
    response = await client.post(f"http://test{path}", json={"text": "hi"}, headers=authorization())
    assert response.json() == {"text": "alice: hi"}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/other"),
        ("POST", "/tagResource"),  # paths are case-sensitive: /TagResource is one
        ("POST", "/v1/echo/"),
        ("POST", "/v1"),
        ("GET", "/v1/echo"),
        ("PUT", "/v1/echo"),
        ("PROPFIND", "/v1/echo"),
        ("GET", "/favicon.ico"),
        ("GET", "/static/"),
        ("GET", "/static/..%2Fassets.py"),
        ("POST", "/viewer"),
        ("POST", "/"),
        ("DELETE", "/master"),
        ("OPTIONS", "/v1/other"),
        ("POST", "/.well-known/jwks.json"),
    ],
)
async def test_path_that_leads_nowhere_is_an_unknown_operation(
    client: httpx.AsyncClient, method: str, path: str
) -> None:
    response = await client.request(method, path, headers=authorization())
    assert response.status_code == 404
    assert response.headers["x-amzn-ErrorType"] == "UnknownOperationException"
    assert response.headers["x-amzn-RequestId"]
    body = response.json()
    assert body["__type"] == "UnknownOperationException"
    assert body.get("Message") or body["message"]


async def test_long_path_is_answered_shortly(client: httpx.AsyncClient) -> None:
    response = await client.post("/" + "x" * 20_000)
    assert response.status_code == 404
    assert len(response.content) < 3500


@pytest.mark.parametrize("path", ["/", "/viewer", "/master", "/static/viewer.js"])
async def test_page_is_read_without_a_token(client: httpx.AsyncClient, path: str) -> None:
    response = await client.get(path)
    assert response.status_code == 200
    assert "content-security-policy" in response.headers
    assert "access-control-allow-origin" not in response.headers
    again = await client.get(path, headers={"If-None-Match": response.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


async def test_page_of_another_origin_may_ask_and_call(client: httpx.AsyncClient) -> None:
    wanted = (
        "amz-sdk-invocation-id,amz-sdk-request,authorization,content-type,x-amz-content-sha256,x-amz-date,"
        "x-amz-security-token,x-amz-user-agent"
    )
    asked = await client.options(
        "/v1/echo",
        headers={
            "Origin": "https://example.org",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": wanted,
        },
    )
    assert asked.status_code == 204
    assert asked.headers["access-control-allow-origin"] == "*"
    assert asked.headers["access-control-allow-methods"] == "POST"
    allowed = {name.strip() for name in asked.headers["access-control-allow-headers"].split(",")}
    assert set(wanted.split(",")) <= allowed
    assert "access-control-allow-credentials" not in asked.headers
    for headers in (authorization(), {}):
        called = await client.post("/v1/echo", headers=headers)
        assert called.headers["access-control-allow-origin"] == "*"
        exposed = {name.strip() for name in called.headers["access-control-expose-headers"].split(",")}
        assert {"x-amzn-RequestId", "x-amzn-ErrorType", "Date"} <= exposed


async def test_call_without_token_is_refused_in_the_shape_of_its_service(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/echo", content=b"no json")
    assert response.status_code == 403
    assert response.json()["__type"] == "MissingAuthenticationTokenException"
    assert response.json()["message"]


async def test_public_keys_are_published(client: httpx.AsyncClient) -> None:
    response = await client.get("/.well-known/jwks.json")
    assert response.headers["content-type"] == "application/json"
    assert response.headers["cache-control"] == "max-age=300"
    (key,) = response.json()["keys"]
    assert (key["kid"], key["alg"]) == (KEYS[0].kid, "ES256")
    assert "kkkk" not in response.text


def test_two_operations_of_one_path_stop_the_start() -> None:
    with pytest.raises(ValueError, match="two operations have the path /v1/echo"):
        application(("/v1/echo", "/v1/echo"))


async def test_lifespan_is_declined() -> None:
    async def nothing(*_: Any) -> Any:
        raise AssertionError("not called")

    with pytest.raises(NotImplementedError):
        await application()({"type": "lifespan"}, nothing, nothing)


@pytest.mark.parametrize("name", ["master", "viewer"])
async def test_plain_get_is_the_page_and_an_upgrade_is_the_websocket(name: str) -> None:
    async with live(application()) as address, httpx.AsyncClient(verify=False) as client:
        page = await client.get(f"http://{address}/{name}?X-Amz-ClientId=v-1")
        assert page.status_code == 200
        assert page.content == (STATIC / f"{name}.html").read_bytes()
        for path in (f"/{name}", f"//{name}", f"/{name}?ticket=x"):
            async with websockets.connect(f"ws://{address}{path}") as socket:
                assert await socket.recv() == name


@pytest.mark.parametrize("path", ["", "/", "//", "///"])
@pytest.mark.parametrize(("label", "name"), [("m-0a1b2c3d", "master"), ("v-0a1b2c3d", "viewer")])
async def test_under_a_wildcard_name_the_host_says_the_role(path: str, label: str, name: str) -> None:
    endpoints = EndpointSettings(wildcard="kvs.test")
    async with live(application(endpoints=endpoints)) as base:
        host, port = base.split(":")
        url = f"ws://{label}.kvs.test:{port}{path}?X-Amz-ClientId=MASTER"
        async with websockets.connect(url, host=host, port=int(port)) as socket:
            assert await socket.recv() == name
        other = "viewer" if name == "master" else "master"
        async with websockets.connect(f"ws://{label}.kvs.test:{port}/{other}", host=host, port=int(port)) as socket:
            assert await socket.recv() == other


@pytest.mark.parametrize("host", ["r-0a1b2c3d.kvs.test", "kvs.test", "m-0a1b2c3d.other.test"])
async def test_the_root_of_other_hosts_is_no_websocket(host: str) -> None:
    async with live(application(endpoints=EndpointSettings(wildcard="kvs.test"))) as base:
        place = base.split(":")
        with pytest.raises(websockets.InvalidStatus) as caught:
            await websockets.connect(f"ws://{host}/", host=place[0], port=int(place[1]))
    assert caught.value.response.status_code == 404


@pytest.mark.parametrize("path", ["/", "/other", "/v1/echo", "/viewer/", "/static/viewer.js"])
async def test_upgrade_elsewhere_is_an_unknown_operation_and_no_error_of_ours(
    path: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with live(application()) as address:
        with pytest.raises(websockets.InvalidStatus) as refused:
            async with websockets.connect(f"ws://{address}{path}"):
                pass
    assert refused.value.response.status_code == 404
    assert json.loads(refused.value.response.body or b"{}")["__type"] == "UnknownOperationException"
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_refused_peer_that_never_closes_is_left_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_CLOSE_S", 0.01)

    async def receive() -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    sent: list[str] = []

    async def send(message: Any) -> None:
        sent.append(message["type"])

    await application()(socket_scope(), receive, send)
    assert sent == ["websocket.http.response.start", "websocket.http.response.body"]


async def test_peer_that_is_gone_before_the_refusal_harms_nobody() -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "websocket.disconnect"}

    async def send(_: Any) -> None:
        raise OSError("gone")

    await application()(socket_scope(), receive, send)


async def test_head_has_the_headers_of_get_on_the_wire() -> None:
    async with live(application()) as address, httpx.AsyncClient(verify=False) as client:
        got = await client.get(f"http://{address}/viewer")
        asked = await client.head(f"http://{address}/viewer")
    assert asked.content == b""
    for name in ("content-length", "content-type", "etag", "content-security-policy"):
        assert asked.headers[name] == got.headers[name]
    assert "date" in asked.headers


@pytest.mark.parametrize(("path", "folded"), [("//a///b/", "/a/b/"), ("/a", "/a"), ("", ""), ("/", "/"), ("//", "/")])
def test_slashes_are_folded(path: str, folded: str) -> None:
    assert server.fold_slashes(path) == folded


async def test_recordings_lie_below_one_path_and_may_be_asked_for_by_any_origin() -> None:
    async def recorded(path: str, request: Request) -> Response:
        return Response(path, headers={"ETag": '"1"'})

    with_recordings = application(recordings=recorded)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(with_recordings), base_url="http://test") as client:
        for path in ("/v1/recordings", "/v1/recordings/demo", "//v1/recordings//demo/index.m3u8"):
            answer = await client.get(f"http://test{path}")
            assert answer.text == path.replace("//", "/")
            assert answer.headers["access-control-allow-origin"] == "*"
            assert "ETag" in answer.headers["access-control-expose-headers"]
        before = await client.options("/v1/recordings/demo")
        assert before.headers["access-control-allow-methods"] == "GET, HEAD"
        assert "range" in before.headers["access-control-allow-headers"].split(", ")
        assert (await client.get("/v1/recordingsx")).status_code == 404
    async with httpx.AsyncClient(transport=httpx.ASGITransport(application()), base_url="http://test") as client:
        assert (await client.get("/v1/recordings/demo")).status_code == 404
