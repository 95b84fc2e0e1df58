"""Requests that botocore signed, changes to them, and whether they are verified."""

from collections.abc import Callable
from urllib.parse import urlencode

from channels.auth import canonical, sigv4
from channels.auth.canonical import SignedRequest
from tests import signer

NOW = 1_700_000_000.0  # 20231114T221320Z
KEY = canonical.signing_key(signer.SECRET, "20231114", signer.REGION)
BODY = b'{"ChannelName":"door"}'
CALL = "http://127.0.0.1:8080/describeSignalingChannel"
ARN = "arn:aws:kinesisvideo:us-west-2:000000000000:channel/door/1700000000000"
SOCKET = f"wss://localhost:8443/viewer?{urlencode({'X-Amz-ChannelARN': ARN, 'X-Amz-ClientId': 'v-1'})}"


def verify(request: SignedRequest, body: bytes = b"", now: float = NOW, key: bytes = KEY) -> bool:
    signature = sigv4.parse(request)
    sigv4.check_scope(signature, [signer.REGION])
    sigv4.check_time(signature, now)
    return sigv4.matches(signature, request, key, sigv4.payload_hash(request, body))


def call(**options: object) -> SignedRequest:
    return signer.header_signed(CALL, BODY, NOW, **options)  # type: ignore[arg-type]  # as the caller names them


def socket(url: str = SOCKET, now: float = NOW, host: str | None = None, **options: object) -> SignedRequest:
    signed = signer.query_signed(url, now, **options)  # type: ignore[arg-type]  # as above
    return signer.received("GET", signed, host=host)


def with_headers(request: SignedRequest, *headers: tuple[str, str]) -> SignedRequest:
    return SignedRequest(request.method, request.path, request.query, (*request.headers, *headers))


def with_query(request: SignedRequest, query: str) -> SignedRequest:
    return SignedRequest(request.method, request.path, query, request.headers)


def replaced(request: SignedRequest, name: str, change: Callable[[str], str]) -> SignedRequest:
    headers = tuple((key, change(value) if key == name else value) for key, value in request.headers)
    return SignedRequest(request.method, request.path, request.query, headers)


JAVASCRIPT_HEADERS = {
    "amz-sdk-invocation-id": "e0a5c2f4-9d43-4b0a-a3c7-0a1b2c3d4e5f",
    "amz-sdk-request": "attempt=1; max=3",
    "content-length": str(len(BODY)),
    "content-type": "application/json",
    "x-amz-content-sha256": canonical.hash_of(BODY),
    "x-amz-user-agent": "aws-sdk-js/3.940.0",
}
