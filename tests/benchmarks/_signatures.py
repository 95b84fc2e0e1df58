"""Requests signed by botocore, as stock clients sign them, and what verifying one costs beside signing it."""

import datetime
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from urllib.parse import quote, urlencode, urlsplit

import msgspec
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from app.bench import Ratio, Row
from channels.auth.canonical import SignedRequest
from channels.auth.grant import Grant, Statement
from channels.auth.key_ring import AccessKey
from channels.auth.signature import SignatureVerifier

REGION = "us-west-2"
SERVICE = "kinesisvideo"
EXPIRES_S = 299  # what the JavaScript SDK asks for
KEY = AccessKey(
    "AKIAIOSFODNN7EXAMPLE",
    "000000000000",
    "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    (Statement(("*",), ("*",)),),
)
_CREDENTIALS = Credentials(KEY.id, KEY.secret)
_HOST = "kinesisvideo.us-west-2.amazonaws.com"
_REQUESTS = 1000
_GOAL = "<= 60"

Signed = tuple[SignedRequest, bytes]
Progress = Callable[[str], None]


class _Costs(msgspec.Struct, frozen=True):
    """Microseconds a request; `sign` is botocore."""

    verify: float
    sign: float


class _OneKey:
    """Knows one key."""

    def __init__(self) -> None:
        self.on_removed: list[Callable[[str], None]] = []

    def find(self, access_key_id: str) -> AccessKey | None:
        return KEY if access_key_id == KEY.id else None


class _NoSessions:
    """Knows no session and no token."""

    def secret_of(self, grant: Grant) -> str | None:
        return None

    def verify(self, token: str, now_wall: float) -> Grant:
        raise NotImplementedError


def presigned(url: str, credentials: Credentials) -> str:
    """The URL of a websocket with its query signed, as the JavaScript SDK does it."""
    request = AWSRequest("GET", url)
    SigV4QueryAuth(credentials, SERVICE, REGION, expires=EXPIRES_S).add_auth(request)
    return str(request.url)


def rows(runs: int, progress: Progress) -> tuple[Row, Row]:
    """Verify requests of the header form (boto3) and of the query form (JavaScript SDK), each one another request."""
    forms = (
        ("sigv4_verify_us", _calls, SigV4Auth(_CREDENTIALS, SERVICE, REGION), "header form of boto3, body hashed"),
        (
            "sigv4_verify_query_us",
            _connects,
            SigV4QueryAuth(_CREDENTIALS, SERVICE, REGION, expires=EXPIRES_S),
            "query form of the JavaScript SDK",
        ),
    )
    measured = []
    for name, make, signer, note in forms:
        costs = [_measure(make, signer) for _ in range(runs)]
        row = _row(name, costs, f"{note}; one core, requests all different, signing key of the day known")
        progress(f"{name}: {row.ours:.1f} us, botocore signs it in {row.peer:.1f} us")
        measured.append(row)
    return measured[0], measured[1]


def _measure(make: Callable[[], Iterator[AWSRequest]], signer: SigV4Auth) -> _Costs:
    requests = list(make())
    started = time.process_time()
    for request in requests:
        signer.add_auth(request)
    sign_s = time.process_time() - started
    received = [_received(request) for request in requests]
    now = datetime.datetime.now(datetime.UTC).timestamp()
    verifier = SignatureVerifier(_OneKey(), _NoSessions(), _NoSessions(), (REGION,))
    started = time.process_time()
    for signed, body in received:
        verifier.verify(signed, body, now)
    verify_s = time.process_time() - started
    return _Costs(verify_s / len(requests) * 1e6, sign_s / len(requests) * 1e6)


def _calls() -> Iterator[AWSRequest]:
    for number in range(_REQUESTS):
        yield AWSRequest(
            "POST",
            f"https://{_HOST}/describeSignalingChannel",
            {"Content-Type": "application/json"},
            f'{{"ChannelName": "channel-{number}"}}'.encode(),
        )


def _connects() -> Iterator[AWSRequest]:
    for number in range(_REQUESTS):
        query = {
            "X-Amz-ChannelARN": f"arn:aws:kinesisvideo:{REGION}:000000000000:channel/demo/1700000000000",
            "X-Amz-ClientId": f"viewer-{number}",
        }
        yield AWSRequest("GET", f"https://v-1a2b3c4d.{_HOST}/?{urlencode(query, quote_via=quote)}")


def _received(request: AWSRequest) -> Signed:
    """The request as the service finds it, with the headers that come beside the signed ones."""
    parts = urlsplit(request.url)
    headers = {
        "host": parts.netloc,
        "user-agent": "Boto3/1.44.5 md/Botocore#1.44.5",
        "accept-encoding": "identity",
        **{name.lower(): str(value) for name, value in request.headers.items()},
    }
    body = request.body or b""
    return SignedRequest(request.method, parts.path, parts.query, tuple(headers.items())), body


def _row(name: str, costs: Sequence[_Costs], note: str) -> Row:
    ours, theirs = [cost.verify for cost in costs], [cost.sign for cost in costs]
    return Row(
        name=name,
        ours=round(statistics.median(ours), 1),
        peer=round(statistics.median(theirs), 1),
        peer_name="botocore signs",
        unit="us",
        ratio=Ratio.of(ours, theirs),
        goal=_GOAL,
        note=f"{min(ours):.1f} to {max(ours):.1f}; {note}",
    )
