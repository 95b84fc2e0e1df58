"""Wire forms of clients that no registry has: plain HTTP requests and websockets, signed by botocore."""

import asyncio
import base64
import http.client
import json
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import botocore.credentials
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from tests import signer
from tests.interop.kvs import Credentials, Kvs

LIMIT_S = 10.0


class Answer:
    """Status, headers and body of a plain HTTP answer; the body comes in the pieces that one read each gave."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def code(self) -> str:
        return str(self.headers["x-amzn-ErrorType"])

    def json(self) -> Any:
        return json.loads(self.body)


def trusting(kvs: Kvs) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=kvs.ca_file)


def botocores(who: Credentials) -> botocore.credentials.Credentials:
    return signer.credentials(who.access_key_id, who.secret_access_key, who.session_token)


def request(
    kvs: Kvs, method: str, path: str, headers: Mapping[str, str], body: bytes = b"", host: str | None = None
) -> Answer:
    """Send exactly these headers (and Host) over TLS, one request per connection as devices do."""
    netloc = urlsplit(kvs.https).netloc
    connection = http.client.HTTPSConnection(netloc, context=trusting(kvs), timeout=LIMIT_S)
    try:
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in {"Host": host or netloc, "Connection": "close", **headers}.items():
            connection.putheader(name, value)
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        return Answer(connection.getresponse())
    finally:
        connection.close()


def presigned(
    endpoint: str, arn: str, who: Credentials, client_id: str | None = None, *, now: float | None = None, **more: Any
) -> str:
    """The URL of a websocket, signed in its query; `more` as for the signer."""
    parameters = {"X-Amz-ChannelARN": arn} | ({"X-Amz-ClientId": client_id} if client_id is not None else {})
    url = f"{endpoint}?{urlencode(parameters, quote_via=quote, safe='')}"
    return signer.query_signed(url, time.time() if now is None else now, botocores(who), **more)


class Socket:
    """A websocket for tests without an event loop.

    Not the `sync` client of websockets: over TLS its two threads share one OpenSSL connection, and one in some hundred
    handshakes hangs in it, whatever the server.
    """

    def __init__(self, portal: BlockingPortal, connection: ClientConnection) -> None:
        self._portal = portal
        self._connection = connection

    @property
    def subprotocol(self) -> str | None:
        return self._connection.subprotocol

    @property
    def close_code(self) -> int | None:
        return self._connection.close_code

    def send(self, frame: str | bytes) -> None:
        self._portal.call(self._connection.send, frame)

    def receive(self) -> dict[str, Any]:
        """The next frame as JSON. Raises: ConnectionClosed."""

        async def receive() -> str | bytes:
            async with asyncio.timeout(LIMIT_S):
                return await self._connection.recv()

        frame: dict[str, Any] = json.loads(self._portal.call(receive))
        return frame

    def ping(self) -> None:
        """Wait for the pong. Raises: ConnectionClosed."""

        async def ping() -> None:
            async with asyncio.timeout(LIMIT_S):
                await (await self._connection.ping())

        self._portal.call(ping)

    def answer(self, text: str) -> list[dict[str, Any]]:
        """As a master answer each offer from now on; the list gets the frames that came."""
        got: list[dict[str, Any]] = []

        async def answer() -> None:
            async for frame in self._connection:
                got.append(json.loads(frame))
                reply = {"action": "SDP_ANSWER", "recipientClientId": got[-1]["senderClientId"]}
                await self._connection.send(json.dumps({**reply, "messagePayload": encoded(text)}))

        self._portal.start_task_soon(answer)
        return got


@contextmanager
def opened(kvs: Kvs, url: str, host: str | None = None, **more: Any) -> Iterator[Socket]:
    """A websocket; `host` is what the client calls the service, where that is not the address of the URL."""
    parts = urlsplit(url)
    connecting = connect(
        url.replace(parts.netloc, host, 1) if host else url,
        host=parts.hostname,
        port=parts.port,
        ssl=trusting(kvs),
        proxy=None,
        open_timeout=LIMIT_S,
        close_timeout=LIMIT_S,
        **more,
    )
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(connecting) as connection:
        yield Socket(portal, connection)


def refusal(kvs: Kvs, url: str, **more: Any) -> tuple[int, str, str]:
    """Status, code and body of a refused handshake."""
    with pytest.raises(InvalidStatus) as caught, opened(kvs, url, **more):
        pass
    response = caught.value.response
    return response.status_code, response.headers.get("x-amzn-ErrorType", ""), (response.body or b"").decode()


@contextmanager
def master(kvs: Kvs, arn: str) -> Iterator[Socket]:
    with opened(kvs, presigned(kvs.endpoints(arn)["MASTER", "WSS"], arn, kvs.key)) as opening:
        yield opening


@contextmanager
def viewer(kvs: Kvs, arn: str, client_id: str = "watching") -> Iterator[Socket]:
    with opened(kvs, presigned(kvs.endpoints(arn)["VIEWER", "WSS"], arn, kvs.key, client_id)) as opening:
        yield opening


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def answers_stun(uri: str) -> bool:
    """Whether the relay of a TURN URI answers a Binding request with XOR-MAPPED-ADDRESS (RFC 8489)."""
    host, _, port = uri.partition(":")[2].partition("?")[0].rpartition(":")
    identity = bytes(range(12))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(LIMIT_S)
        client.sendto(b"\x00\x01\x00\x00\x21\x12\xa4\x42" + identity, (host, int(port)))
        said = client.recv(1500)
    return said[:2] == b"\x01\x01" and said[8:20] == identity and b"\x00\x20\x00\x08" in said


@contextmanager
def answering_master(kvs: Kvs, arn: str, text: str) -> Iterator[list[dict[str, Any]]]:
    """A master that answers every offer with `text`; gives the frames that it got."""
    with master(kvs, arn) as socket:
        yield socket.answer(text)
