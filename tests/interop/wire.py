"""Wire forms of clients that no registry has: plain HTTP requests and websockets, signed by botocore."""

import base64
import http.client
import json
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import botocore.credentials
import pytest
from websockets.exceptions import InvalidStatus

from tests import signer
from tests.interop.kvs import Credentials, Kvs
from tests.websocket import Socket, connected

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


def opened(kvs: Kvs, url: str, host: str | None = None, **more: Any) -> AbstractContextManager[Socket]:
    """A websocket; `host` is what the client calls the service, where that is not the address of the URL."""
    parts = urlsplit(url)
    address = {"host": parts.hostname, "port": parts.port}
    return connected(url.replace(parts.netloc, host, 1) if host else url, ssl=trusting(kvs), **address, **more)


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
    got: list[dict[str, Any]] = []

    def answer(frame: str | bytes) -> str:
        got.append(json.loads(frame))
        reply = {"action": "SDP_ANSWER", "recipientClientId": got[-1]["senderClientId"]}
        return json.dumps({**reply, "messagePayload": encoded(text)})

    with master(kvs, arn) as socket:
        socket.answer(answer)
        yield got
