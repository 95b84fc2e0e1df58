"""Requests with a credential, and a door that judges them by a clock moved by hand."""

import math
from collections.abc import Callable, Iterable
from typing import Self
from urllib.parse import urlencode

from starlette.requests import HTTPConnection

from channels.auth import token
from channels.auth.canonical import SignedRequest
from channels.auth.grant import Grant, Statement
from channels.auth.token import TokenSettings
from channels.names import ChannelArn
from tests import signer

NOW = 1_700_000_000.0
KEY = token.secret_key("k", b"k" * 32)
SETTINGS = TokenSettings()
ARN = ChannelArn("aws", "us-west-2", "000000000000", "door", 1)
OTHER = ChannelArn("aws", "us-west-2", "000000000000", "gate", 1)
SIGNATURE = (
    "AWS4-HMAC-SHA256 Credential=AKIA/20231114/us-west-2/kinesisvideo/aws4_request, SignedHeaders=host, Signature=0"
)


def jwt(now: float = NOW, subject: str = "alice", client_id: str | None = None) -> str:
    return token.mint(
        KEY,
        SETTINGS,
        subject=subject,
        actions=["ConnectAsViewer"],
        channels=["door"],
        client_id=client_id,
        now_wall=now,
        lifetime_s=60,
    )


class Clock:
    """Wall and monotonic time, moved by hand."""

    def __init__(self) -> None:
        self.wall = NOW
        self.monotonic = 0.0


class Keys:
    """A ring of one key."""

    def __init__(self) -> None:
        self.on_removed: list[Callable[[str], None]] = []
        self.secret = signer.SECRET

    def find(self, access_key_id: str) -> Self | None:
        return self if access_key_id == signer.KEY_ID else None

    def grant(self) -> Grant:
        return Grant(f"key/{signer.KEY_ID}", "000000000000", (), math.inf)

    def secret_of(self, grant: Grant) -> str | None:
        return None


def connection(
    query: Iterable[tuple[str, str]] = (),
    authorization: Iterable[str] = (),
    offered: Iterable[str] = (),
    source: str | None = "192.0.2.1",
) -> HTTPConnection:
    scope = {
        "type": "websocket",
        "path": "/viewer",
        "headers": [(b"authorization", value.encode()) for value in authorization],
        "query_string": urlencode(list(query)).encode(),
        "client": (source, 1) if source else None,
        "subprotocols": list(offered),
    }
    return HTTPConnection(scope)


CALL = "http://127.0.0.1:8080/describeSignalingChannel"
SOCKET = f"wss://localhost/viewer?{urlencode({'X-Amz-ChannelARN': str(ARN)})}"


def over_the_wire(request: SignedRequest, source: str = "192.0.2.1") -> HTTPConnection:
    return HTTPConnection(
        {
            "type": "http",
            "method": request.method,
            "path": "/",
            "raw_path": request.path.encode("latin-1"),
            "query_string": request.query.encode("latin-1"),
            "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in request.headers],
            "client": (source, 1),
            "subprotocols": ["kvs-signaling"],
        }
    )


def signed(body: bytes = b"{}", secret: str = signer.SECRET, now: float = NOW) -> HTTPConnection:
    return over_the_wire(signer.header_signed(CALL, body, now, signer.credentials(secret=secret)))


def presigned(secret: str = signer.SECRET, now: float = NOW) -> HTTPConnection:
    url = signer.query_signed(SOCKET, now, signer.credentials(secret=secret))
    return over_the_wire(signer.received("GET", url))


def bad(source: str | None = "192.0.2.1") -> HTTPConnection:
    return connection(authorization=["Bearer nonsense"], source=source)


def grant(action: str = "*", resource: str = "*", client_id: str | None = None) -> Grant:
    statement = Statement((f"kinesisvideo:{action}",), (resource,))
    return Grant("alice", "000000000000", (statement,), 9e9, client_id)
