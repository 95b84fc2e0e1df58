"""Hostile requests against the running service: each is refused by status and code, and harmless it succeeds.

A row is what was done to a request that is good, over REST or as a websocket handshake. Whatever the log says of it at
its lowest level, there is no secret in it.
"""

import base64
import hashlib
import hmac
import io
import json
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

import jwt
import msgspec
import pytest

from app import logs
from app.logs import JsonFormatter
from channels.auth import canonical, sigv4, token
from channels.auth.canonical import EMPTY_HASH, SignedRequest
from channels.auth.failures import Failures
from channels.auth.key_ring import AccessKey
from channels.auth.session import SessionCredentials, SessionRequest
from channels.auth.ticket import Ticket
from channels.channel import Channel
from channels.names import Role
from channels.signaling.limits import Limits
from tests import signer
from tests.signaling_service import ACCOUNT, Service, signaling_service
from tests.wire import UPGRADE, Wire, exchange

OTHER_ACCOUNT = "111122223333"
DESCRIBE = "/describeSignalingChannel"
INVALID = (403, "InvalidSignatureException")
INCOMPLETE = (403, "IncompleteSignatureException")
UNRECOGNIZED = (403, "UnrecognizedClientException")
MISSING = (403, "MissingAuthenticationTokenException")
EXPIRED = (403, "ExpiredTokenException")
TWO = (400, "InvalidArgumentException")
UNPARSED = (400, "")  # the HTTP parser refuses it, in plain text
NOT_FOUND = (404, "ResourceNotFoundException")
URL_TOO_LONG, HEADERS_TOO_LARGE = (414, ""), (431, "")  # by the websocket library, in plain text
TOO_LARGE = (413, "RequestEntityTooLargeException")

Outcome = tuple[int, str]


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


class Rig:
    """The service, a key and a session of one account, and a channel each of that account and of another."""

    def __init__(self, service: Service, mine: Channel, theirs: Channel) -> None:
        self.service = service
        self.mine = str(mine.arn)
        self.channel = mine
        self.theirs = str(theirs.arn)
        self.key: AccessKey = service.access_key()
        self.session: SessionCredentials = service.session(self.key)
        self.secrets = {self.key.secret, self.session.secret_access_key, self.session.session_token}
        self.number = 0

    @property
    def address(self) -> str:
        return self.service.address

    def who(self, secret: str | None = None) -> Any:
        return signer.credentials(self.key.id, secret or self.key.secret)

    @property
    def of_session(self) -> Any:
        triple = self.session
        return signer.credentials(triple.access_key_id, triple.secret_access_key, triple.session_token)

    def call(self, path: str = DESCRIBE, body: Any = None, who: Any = None, age_s: float = 0, **more: Any) -> Wire:
        """A REST call in the header form, as boto3 makes it."""
        data = json.dumps({"ChannelARN": self.mine} if body is None else body).encode()
        signed = signer.header_signed(
            f"http://{self.address}{path}",
            data,
            time.time() - age_s,
            who or self.who(),
            {"Content-Type": "application/json"},
            **more,
        )
        return self.wire(signed, data)

    def wire(self, signed: SignedRequest, data: bytes) -> Wire:
        self.note(dict(signed.headers)["authorization"].rpartition("=")[2])
        target = signed.path + (f"?{signed.query}" if signed.query else "")
        headers = {**dict(signed.headers), "content-length": str(len(data))}
        return Wire(signed.method, target, tuple(headers.items()), data)

    def url(self, host: str | None = None, arn: str | None = None, path: str = "/viewer", **more: str) -> str:
        self.number += 1
        query = {"X-Amz-ChannelARN": arn or self.mine, "X-Amz-ClientId": f"v-{self.number}", **more}
        return f"ws://{host or self.address}{path}?{urlencode(query)}"

    def open(self, url: str | None = None, who: Any = None, age_s: float = 0, **more: Any) -> Wire:
        """A websocket handshake by a presigned URL, as the JavaScript SDK makes it."""
        signed = signer.query_signed(url or self.url(), time.time() - age_s, who or self.who(), **more)
        self.note(signed.rpartition("=")[2])
        return self.handshake(signed)

    def handshake(self, url: str) -> Wire:
        return Wire("GET", "/" + url.split("/", 3)[3], (("host", self.address), *UPGRADE))

    def open_with_header(self, age_s: float = 0, who: Any = None, **more: Any) -> Wire:
        """A websocket handshake that is signed in its header."""
        signed = signer.header_signed(self.url(), b"", time.time() - age_s, who or self.who(), method="GET", **more)
        return self.wire(signed, b"").without("content-length").adding(*UPGRADE)

    def bearer(self, text: str, path: str = DESCRIBE) -> Wire:
        data = json.dumps({"ChannelARN": self.mine}).encode()
        headers = (("host", self.address), ("authorization", f"Bearer {text}"), ("content-length", str(len(data))))
        return Wire("POST", path, headers, data)

    def token(self) -> str:
        text = self.service.token()
        self.note(text)
        return text

    def note(self, secret: str) -> None:
        self.secrets.add(secret)


@pytest.fixture(scope="module")
async def rig(anyio_backend: str) -> AsyncIterator[Rig]:
    async with signaling_service(Limits.relaxed()) as service:
        mine = await service.control.create(ACCOUNT, "door")
        theirs = await service.control.create(OTHER_ACCOUNT, "door")
        yield Rig(service, mine, theirs)


@pytest.fixture(autouse=True)
def log(rig: Rig) -> Iterator[io.StringIO]:
    """The whole log of a test at its lowest level; no secret may stand in it."""
    rig.service.authenticator.failures = Failures()
    stream, root = io.StringIO(), logging.getLogger()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    quiet = [
        logging.getLogger(name) for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi", "botocore")
    ]
    states = [(logger, logger.level, logger.filters[:]) for logger in quiet]
    logging.getLogger("botocore").setLevel(logging.INFO)  # it signs for the test, and tells all when debugged
    logs.guard_libraries()
    yield stream
    for logger, before, filters in states:
        logger.setLevel(before)
        logger.filters[:] = filters
    root.removeHandler(handler)
    root.setLevel(level)
    written = stream.getvalue()
    assert not [secret for secret in rig.secrets if secret in written]


Make = Callable[[Rig], Wire]
Harm = Callable[[Rig, Wire], Wire]


async def check(rig: Rig, good: Make, harm: Harm, expected: Outcome) -> None:
    """The harmed request is refused as expected, and the same request unharmed succeeds."""
    answer = await exchange(rig.address, harm(rig, good(rig)))
    assert (answer.status, answer.code) == expected, answer.text
    if answer.code:
        assert answer.body["__type"] == answer.code
        assert answer.body.get("Message") or answer.body.get("message")
        assert answer.headers["x-amzn-requestid"]
    unharmed = await exchange(rig.address, good(rig))
    assert unharmed.status in (200, 101), unharmed.text


def header(name: str, change: Callable[[str], str]) -> Harm:
    def harm(rig: Rig, wire: Wire) -> Wire:
        value = dict(wire.headers)[name]
        changed = change(value)
        assert changed != value, "this harms nothing"
        return wire.having((name, changed))

    return harm


def authorization(old: str, new: str) -> Harm:
    return header("authorization", lambda value: value.replace(old, new))


def target(change: Callable[[str], str]) -> Harm:
    def harm(rig: Rig, wire: Wire) -> Wire:
        changed = change(wire.target)
        assert changed != wire.target, "this harms nothing"
        return wire.at(changed)

    return harm


def parameter(name: str, value: str | None) -> Harm:
    """The query with another value, or without the parameter."""

    def harm(rig: Rig, wire: Wire) -> Wire:
        path, _, query = wire.target.partition("?")
        parts = dict(parse_qsl(query, keep_blank_values=True))
        assert parts.pop(name) != value, "this harms nothing"
        if value is not None:
            parts[name] = value
        return wire.at(f"{path}?{urlencode(parts, quote_via=quote)}")

    return harm


def flipped(text: str) -> str:
    """With the last digit changed."""
    return text[:-1] + ("0" if text[-1] != "0" else "1")


def call(rig: Rig) -> Wire:
    return rig.call()


def open_(rig: Rig) -> Wire:
    return rig.open()


def open_with_header(rig: Rig) -> Wire:
    return rig.open_with_header()


def with_body(change: Callable[[bytes], bytes]) -> Harm:
    def harm(rig: Rig, wire: Wire) -> Wire:
        body = change(wire.body)
        return wire.carrying(body).having(("content-length", str(len(body))))

    return harm


# Tampered signature

TAMPERED = {
    "rest, last digit": (call, header("authorization", flipped), INVALID),
    "rest, zeros": (call, header("authorization", lambda text: text[:-64] + "0" * 64), INVALID),
    "rest, upper case": (call, header("authorization", lambda text: text[:-64] + text[-64:].upper()), INCOMPLETE),
    "rest, cut": (call, header("authorization", lambda text: text[:-1]), INCOMPLETE),
    "rest, none": (call, header("authorization", lambda text: text.partition(", Signature")[0]), INCOMPLETE),
    "rest, body": (call, with_body(lambda body: body.replace(b"door", b"gate")), INVALID),
    "rest, body is longer by a blank": (call, with_body(lambda body: body + b" "), INVALID),
    "rest, path": (call, target(lambda _: "/deleteSignalingChannel"), INVALID),
    "rest, a query is added": (call, target(lambda text: text + "?a=1"), INVALID),
    "rest, signed content type": (call, header("content-type", lambda _: "text/plain"), INVALID),
    "rest, date": (call, header("x-amz-date", lambda text: text[:-2] + ("0Z" if text[-2] != "0" else "1Z")), INVALID),
    "rest, key id": (call, authorization("AKIA", "AKIB"), UNRECOGNIZED),
    "rest, region": (call, authorization("us-west-2", "us-west-1"), INVALID),
    "rest, fewer signed headers": (call, authorization("content-type;", ""), INVALID),
    "socket, last digit": (open_, target(flipped), INVALID),
    "socket, zeros": (open_, parameter("X-Amz-Signature", "0" * 64), INVALID),
    "socket, cut": (open_, target(lambda text: text[:-1]), INCOMPLETE),
    "socket, none": (open_, parameter("X-Amz-Signature", None), INCOMPLETE),
    "socket, empty": (open_, parameter("X-Amz-Signature", ""), INCOMPLETE),
    "socket, path": (open_, target(lambda text: text.replace("/viewer", "/master")), INVALID),
    "socket, client id": (open_, parameter("X-Amz-ClientId", "somebody"), INVALID),
    "socket, no client id": (open_, parameter("X-Amz-ClientId", None), INVALID),
    "socket, expires": (open_, parameter("X-Amz-Expires", "300"), INVALID),
    "socket, a parameter is added": (open_, target(lambda text: text + "&x=1"), INVALID),
    "socket, key id": (open_, target(lambda text: text.replace("AKIA", "AKIB")), UNRECOGNIZED),
    "socket, region": (open_, target(lambda text: text.replace("us-west-2%2Fkin", "us-west-1%2Fkin")), INVALID),
    "socket, by header": (open_with_header, header("authorization", flipped), INVALID),
}


@pytest.mark.parametrize("name", TAMPERED)
async def test_tampered_signature(rig: Rig, name: str) -> None:
    await check(rig, *TAMPERED[name])


# Replay after expiry


def later(age_s: float, **more: Any) -> Harm:
    """The very request that was good `age_s` ago, sent again."""

    def harm(rig: Rig, wire: Wire) -> Wire:
        if wire.method == "POST":
            return rig.call(age_s=age_s, **more)
        return rig.open(age_s=age_s, **more)

    return harm


def header_later(age_s: float) -> Harm:
    return lambda rig, _: rig.open_with_header(age_s=age_s)


def old_session(rig: Rig, wire: Wire) -> Wire:
    """Signed now with a session that ended."""
    ended = rig.service.sessions.mint(session_request(rig), time.time() - 3600)
    rig.secrets |= {ended.secret_access_key, ended.session_token}
    who = signer.credentials(ended.access_key_id, ended.secret_access_key, ended.session_token)
    return rig.call(who=who) if wire.method == "POST" else rig.open(who=who)


def session_request(rig: Rig) -> SessionRequest:
    return SessionRequest("tester", ACCOUNT, ("*",), ("*",), 600, key_id=rig.key.id)


def old_token(rig: Rig, wire: Wire) -> Wire:
    text = token.mint(
        rig.service.key,
        rig.service.settings,
        subject="tester",
        actions=["*"],
        channels=["*"],
        now_wall=time.time() - 3600,
        lifetime_s=60,
    )
    rig.note(text)
    return rig.bearer(text) if wire.method == "POST" else rig.handshake(rig.url(token=text))


def used_ticket(rig: Rig, wire: Wire) -> Wire:
    ticket = issued(rig)
    rig.service.tickets.redeem(ticket, time.monotonic())
    return rig.handshake(f"ws://{rig.address}/master?ticket={ticket}")


def old_ticket(rig: Rig, wire: Wire) -> Wire:
    return rig.handshake(f"ws://{rig.address}/master?ticket={issued(rig, -31.0)}")


def issued(rig: Rig, moved_s: float = 0.0) -> str:
    ticket = Ticket(rig.key.grant(), rig.channel.arn, Role.MASTER, "")
    text = rig.service.tickets.issue(ticket, time.monotonic() + moved_s)
    rig.note(text)
    return text


def of_session(rig: Rig) -> Wire:
    return rig.call(who=rig.of_session)


def open_of_session(rig: Rig) -> Wire:
    return rig.open(who=rig.of_session)


def by_ticket(rig: Rig) -> Wire:
    return rig.handshake(f"ws://{rig.address}/master?ticket={issued(rig)}")


REPLAYED = {
    **{f"rest, after {age} s": (call, later(age), INVALID) for age in (302, 360, 600, 900, 3600, 86_400, 604_800)},
    **{f"rest, {-age} s early": (call, later(age), INVALID) for age in (-302, -3600)},
    "rest, a session that ended": (of_session, old_session, EXPIRED),
    "rest, a token that ended": (call, old_token, EXPIRED),
    **{f"socket, after {age} s": (open_, later(age), INVALID) for age in (302, 600, 3600, 86_400, 604_800)},
    **{
        f"socket, after {age} s though it asked for a week": (open_, later(age, expires_s=604_800), INVALID)
        for age in (302, 600, 86_400)
    },
    "socket, after the second that it asked for": (open_, later(3, expires_s=1), INVALID),
    "socket, early": (open_, later(-302), INVALID),
    "socket, by header": (open_with_header, header_later(302), INVALID),
    "socket, a session that ended": (open_of_session, old_session, EXPIRED),
    "socket, a token that ended": (open_, old_token, EXPIRED),
    "socket, a used ticket": (by_ticket, used_ticket, UNRECOGNIZED),
    "socket, a ticket that ended": (by_ticket, old_ticket, UNRECOGNIZED),
}


@pytest.mark.parametrize("name", REPLAYED)
async def test_replay_after_expiry(rig: Rig, name: str) -> None:
    await check(rig, *REPLAYED[name])


async def test_the_words_that_device_clients_look_for_are_there(rig: Rig) -> None:
    for age_s, words in ((302, "Signature expired"), (-302, "Signature not yet current")):
        for wire in (rig.call(age_s=age_s), rig.open(age_s=age_s)):
            answer = await exchange(rig.address, wire)
            assert words in answer.body["Message"]
            assert answer.headers["date"].endswith("GMT")


# Swapped host


def host(change: Callable[[str], str]) -> Harm:
    return header("host", change)


def port_of(address: str) -> str:
    return address.rpartition(":")[2]


HOSTS: dict[str, tuple[Harm, Outcome]] = {
    "another name": (host(lambda old: f"evil.example.org:{port_of(old)}"), INVALID),
    "another name for the same address": (host(lambda old: f"localhost:{port_of(old)}"), INVALID),
    "no port": (host(lambda old: old.partition(":")[0]), INVALID),
    "the port of https": (host(lambda old: old.partition(":")[0] + ":443"), INVALID),
    "another port": (host(lambda old: old.partition(":")[0] + ":80"), INVALID),
    "a dot at the end": (host(lambda old: f"127.0.0.1.:{port_of(old)}"), INVALID),
    "another spelling of the address": (host(lambda old: f"127.1:{port_of(old)}"), INVALID),
    "a user before it": (host(lambda old: f"evil@{old}"), INVALID),
    "another host behind a comma": (host(lambda old: f"{old},evil"), INVALID),
    "empty": (host(lambda _: ""), INVALID),
    "none": (lambda rig, wire: wire.without("host"), INCOMPLETE),
    "two": (lambda rig, wire: wire.adding(("host", "evil.example.org")), INCOMPLETE),
    "the right one only forwarded": (
        lambda rig, wire: wire.having(("host", "evil.example.org"), ("x-forwarded-host", rig.address)),
        INVALID,
    ),
    "signed for another": (lambda rig, wire: signed_for_another(rig, wire), INVALID),
}


def signed_for_another(rig: Rig, wire: Wire) -> Wire:
    if wire.method == "POST":
        signed = signer.header_signed(f"http://evil.example.org{DESCRIBE}", wire.body, time.time(), rig.who())
        return rig.wire(signed, wire.body).having(("host", rig.address))
    return rig.open(rig.url(host="evil.example.org")).having(("host", rig.address))


@pytest.mark.parametrize("name", HOSTS)
@pytest.mark.parametrize("good", [call, open_], ids=["rest", "socket"])
async def test_swapped_host(rig: Rig, name: str, good: Make) -> None:
    await check(rig, good, *HOSTS[name])


# Another account's channel


def operation(path: str, body: Callable[[str], dict[str, Any]]) -> tuple[Make, Harm]:
    return (lambda rig: rig.call(path, body(rig.mine)), lambda rig, _: rig.call(path, body(rig.theirs)))


def resource(arn: str) -> dict[str, Any]:
    return {"ResourceARN": arn}


FOREIGN: dict[str, tuple[Make, Harm]] = {
    "DescribeSignalingChannel": operation(DESCRIBE, lambda arn: {"ChannelARN": arn}),
    "GetSignalingChannelEndpoint": operation("/getSignalingChannelEndpoint", lambda arn: {"ChannelARN": arn}),
    "TagResource": operation("/TagResource", lambda arn: resource(arn) | {"Tags": [{"Key": "a", "Value": "b"}]}),
    "UntagResource": operation("/UntagResource", lambda arn: resource(arn) | {"TagKeyList": ["a"]}),
    "ListTagsForResource": operation("/ListTagsForResource", resource),
    "GetIceServerConfig": operation("/v1/get-ice-server-config", lambda arn: {"ChannelARN": arn}),
    "CreateConnectTicket": operation("/v1/connect-ticket", lambda arn: {"channelArn": arn, "role": "MASTER"}),
    "//v1/get-ice-server-config": operation("//v1/get-ice-server-config", lambda arn: {"ChannelARN": arn}),
    "DeleteSignalingChannel": (
        call,
        lambda rig, _: rig.call("/deleteSignalingChannel", {"ChannelARN": rig.theirs}),
    ),
    "UpdateSignalingChannel": (
        call,
        lambda rig, _: rig.call("/updateSignalingChannel", {"ChannelARN": rig.theirs, "CurrentVersion": "x"}),
    ),
    "by a session": (of_session, lambda rig, _: rig.call(body={"ChannelARN": rig.theirs}, who=rig.of_session)),
    "by a token": (
        lambda rig: rig.bearer(rig.token()),
        lambda rig, wire: with_body(lambda body: body.replace(ACCOUNT.encode(), OTHER_ACCOUNT.encode()))(rig, wire),
    ),
}


@pytest.mark.parametrize("name", FOREIGN)
async def test_channel_of_another_account_is_not_there_for_calls(rig: Rig, name: str) -> None:
    await check(rig, *FOREIGN[name], NOT_FOUND)
    assert await rig.service.control.find(OTHER_ACCOUNT, "door"), "it was touched"


def swapped_arn(rig: Rig, **more: Any) -> str:
    return rig.url(arn=rig.theirs, **more)


FOREIGN_SOCKETS: dict[str, tuple[Make, Harm, Outcome]] = {
    "viewer": (open_, lambda rig, _: rig.open(swapped_arn(rig)), NOT_FOUND),
    "master": (
        lambda rig: rig.open(rig.url(path="/master")),
        lambda rig, _: rig.open(swapped_arn(rig, path="/master")),
        NOT_FOUND,
    ),
    "doubled slash": (open_, lambda rig, _: rig.open(swapped_arn(rig, path="//viewer")), NOT_FOUND),
    "by a session": (open_of_session, lambda rig, _: rig.open(swapped_arn(rig), who=rig.of_session), NOT_FOUND),
    "by a header": (
        open_with_header,
        lambda rig, _: rig.wire(
            signer.header_signed(swapped_arn(rig), b"", time.time(), rig.who(), method="GET"), b""
        ).adding(*UPGRADE),
        NOT_FOUND,
    ),
    "by a token in the query": (
        lambda rig: rig.handshake(rig.url(token=rig.token())),
        lambda rig, _: rig.handshake(swapped_arn(rig, token=rig.token())),
        NOT_FOUND,
    ),
    "by a token in the header": (
        lambda rig: rig.handshake(rig.url()).adding(("authorization", f"Bearer {rig.token()}")),
        lambda rig, _: rig.handshake(swapped_arn(rig)).adding(("authorization", f"Bearer {rig.token()}")),
        NOT_FOUND,
    ),
    "by a token as subprotocol": (
        lambda rig: rig.handshake(rig.url()).adding(("sec-websocket-protocol", f"bearer.{rig.token()}")),
        lambda rig, _: rig.handshake(swapped_arn(rig)).adding(("sec-websocket-protocol", f"bearer.{rig.token()}")),
        NOT_FOUND,
    ),
    "by a ticket": (
        by_ticket,
        lambda rig, wire: wire.at(f"{wire.target}&X-Amz-ChannelARN={quote(rig.theirs)}"),
        (403, "AccessDeniedException"),
    ),
    "after signing": (open_, lambda rig, wire: parameter("X-Amz-ChannelARN", rig.theirs)(rig, wire), INVALID),
    "beside one's own": (
        open_,
        lambda rig, wire: wire.at(f"{wire.target}&X-Amz-ChannelARN={quote(rig.theirs, safe='')}"),
        INCOMPLETE,
    ),
}


@pytest.mark.parametrize("name", FOREIGN_SOCKETS)
async def test_channel_of_another_account_is_not_there_for_websockets(rig: Rig, name: str) -> None:
    await check(rig, *FOREIGN_SOCKETS[name])


# Algorithm confusion


def forged(headers: dict[str, Any], key: str | bytes, algorithm: str) -> Callable[[Rig], str]:
    def make(rig: Rig) -> str:
        claims = {"iss": "heliograph", "aud": "heliograph", "sub": "x", "exp": int(time.time()) + 60, "scope": "kvs:*"}
        text = jwt.encode(claims, key or None, algorithm, headers={"kid": "k", **headers})
        rig.note(text)
        return text

    return make


def unsigned(rig: Rig) -> str:
    text = rig.token()
    head = base64.urlsafe_b64encode(b'{"alg":"none","kid":"k"}').decode().rstrip("=")
    return f"{head}.{text.split('.')[1]}."


TOKENS: dict[str, Callable[[Rig], str]] = {
    "token, none": unsigned,
    "token, none in capitals": lambda rig: unsigned(rig).replace("eyJhbGciOiJub25l", "eyJhbGciOiJOT05F"),
    "token, no signature": lambda rig: rig.token().rpartition(".")[0] + ".",
    "token, HS512 of another secret": forged({}, b"x" * 64, "HS512"),
    "token, HS256 of another secret": forged({}, b"x" * 64, "HS256"),
    "token, HS256 of an empty secret's length": forged({}, b"\0" * 32, "HS256"),
    "token, unknown kid": forged({"kid": "other"}, b"x" * 64, "HS256"),
    "token, a key inside": forged({"jwk": {"kty": "oct", "k": "eA"}}, b"x" * 64, "HS256"),
    "token, a key elsewhere": forged({"jku": "https://evil.example.org/jwks.json"}, b"x" * 64, "HS256"),
    "token, of a session": lambda rig: rig.session.session_token,
}

# (call, what was done); the unharmed request is the signed one
HEADERS: dict[str, tuple[Callable[[str], str], Outcome]] = {
    "AWS4-HMAC-SHA1": (lambda text: text.replace("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA1"), UNRECOGNIZED),
    "AWS4-HMAC-SHA512": (lambda text: text.replace("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA512"), UNRECOGNIZED),
    "AWS4-ECDSA-P256-SHA256": (lambda text: text.replace("HMAC-SHA256", "ECDSA-P256-SHA256"), UNRECOGNIZED),
    "AWS3": (lambda text: text.replace("AWS4-HMAC-SHA256", "AWS3"), UNRECOGNIZED),
    "lower case": (lambda text: text.replace("AWS4-HMAC-SHA256", "aws4-hmac-sha256"), INCOMPLETE),
    "Basic": (lambda text: "Basic dTpw", UNRECOGNIZED),
    "AWS, version 2": (lambda text: "AWS AKIA:c2ln", UNRECOGNIZED),
    "Bearer": (lambda text: text.replace("AWS4-HMAC-SHA256", "Bearer"), UNRECOGNIZED),
    "Digest": (lambda text: text.replace("AWS4-HMAC-SHA256", "Digest"), UNRECOGNIZED),
    "another terminator": (lambda text: text.replace("aws4_request", "aws3_request"), INCOMPLETE),
    "another service": (lambda text: text.replace("/kinesisvideo/", "/s3/"), INVALID),
}


def resigned(how: Callable[[Rig, str, str], str]) -> Harm:
    """Signed anew by other means: gets the secret and the string to sign."""

    def harm(rig: Rig, wire: Wire) -> Wire:
        path, _, query = wire.target.partition("?")
        request = SignedRequest(wire.method, path, query, wire.headers)
        claimed = sigv4.parse(request)
        payload = canonical.hash_of(wire.body) if wire.body else EMPTY_HASH
        form = next(canonical.canonical_requests(request, claimed.headers, payload))
        text = canonical.string_to_sign(claimed.amz_date, claimed.scope, form)
        made = how(rig, rig.key.secret, text)
        if wire.method == "POST":
            return wire.having(("authorization", dict(wire.headers)["authorization"][:-64] + made))
        return wire.at(wire.target[:-64] + made)

    return harm


MACS: dict[str, Harm] = {
    "signed with the bare secret": resigned(
        lambda rig, secret, text: hmac.new(secret.encode(), text.encode(), "sha256").hexdigest()
    ),
    "signed with the key id": resigned(
        lambda rig, secret, text: hmac.new(rig.key.id.encode(), text.encode(), "sha256").hexdigest()
    ),
    "signed with nothing": resigned(lambda rig, secret, text: hmac.new(b"", text.encode(), "sha256").hexdigest()),
    "a bare hash": resigned(lambda rig, secret, text: hashlib.sha256(text.encode()).hexdigest()),
    "the hash of secret and text": resigned(
        lambda rig, secret, text: hashlib.sha256((secret + text).encode()).hexdigest()
    ),
    "another hash of the same length": resigned(
        lambda rig, secret, text: hmac.new(("AWS4" + secret).encode(), text.encode(), "sha3_256").hexdigest()
    ),
}


@pytest.mark.parametrize("name", HEADERS)
async def test_confused_algorithm_of_a_call(rig: Rig, name: str) -> None:
    change, expected = HEADERS[name]
    await check(rig, call, header("authorization", change), expected)


@pytest.mark.parametrize("name", ["", "none", "HS256", "AWS4-HMAC-SHA1", "AWS4-HMAC-SHA512", "aws4-hmac-sha256"])
async def test_confused_algorithm_of_a_presigned_websocket(rig: Rig, name: str) -> None:
    await check(rig, open_, parameter("X-Amz-Algorithm", name), INCOMPLETE)


@pytest.mark.parametrize("name", MACS)
@pytest.mark.parametrize("good", [call, open_], ids=["rest", "socket"])
async def test_signature_by_other_means(rig: Rig, name: str, good: Make) -> None:
    await check(rig, good, MACS[name], INVALID)


@pytest.mark.parametrize("name", TOKENS)
@pytest.mark.parametrize("good", [call, open_], ids=["rest", "socket"])
async def test_confused_algorithm_of_a_token(rig: Rig, name: str, good: Make) -> None:
    text = TOKENS[name](rig)

    def harm(rig: Rig, wire: Wire) -> Wire:
        return rig.bearer(text) if wire.method == "POST" else rig.handshake(rig.url(token=text))

    await check(rig, good, harm, UNRECOGNIZED)


@pytest.mark.parametrize("name", [name for name in TOKENS if name != "token, of a session"])
@pytest.mark.parametrize("form", ["rest", "socket"])
async def test_forged_session_token_under_a_right_signature(rig: Rig, name: str, form: str) -> None:
    who = signer.credentials(rig.key.id, rig.key.secret, TOKENS[name](rig))
    good = call if form == "rest" else open_
    await check(rig, good, lambda rig, _: rig.call(who=who) if form == "rest" else rig.open(who=who), UNRECOGNIZED)


async def test_session_token_of_one_under_the_signature_of_another(rig: Rig) -> None:
    """The C SDK's header is not signed, so anybody may put a foreign token into it."""
    other = rig.service.session(rig.key)
    rig.secrets |= {other.secret_access_key, other.session_token}

    def harm(rig: Rig, wire: Wire) -> Wire:
        return wire.having(("x-amz-security-token", other.session_token))

    def c_sdk(rig: Rig) -> Wire:
        triple = rig.session
        who = signer.credentials(triple.access_key_id, triple.secret_access_key)
        return rig.call(who=who, only=["host", "x-amz-date"]).adding(("x-amz-security-token", triple.session_token))

    await check(rig, c_sdk, harm, UNRECOGNIZED)


# Two of a kind

PARAMETERS = (
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-SignedHeaders",
    "X-Amz-Signature",
    "X-Amz-ChannelARN",
    "X-Amz-ClientId",
)


def again(name: str, value: str, first: bool = False) -> Harm:
    def harm(rig: Rig, wire: Wire) -> Wire:
        path, _, query = wire.target.partition("?")
        return wire.at(f"{path}?{name}={value}&{query}" if first else f"{path}?{query}&{name}={value}")

    return harm


def signed_twice(rig: Rig, wire: Wire) -> Wire:
    """The doubled parameter is signed with the rest."""
    who = sigv4.Credentials(rig.key.id, rig.key.secret)
    url = sigv4.presign(f"{rig.url()}&X-Amz-ClientId=other", who, signer.REGION, time.time())
    rig.note(url.rpartition("=")[2])
    return rig.handshake(url)


def by_query_token(rig: Rig) -> Wire:
    return rig.handshake(rig.url(token=rig.token()))


DOUBLED: dict[str, tuple[Make, Harm, Outcome]] = {
    **{f"socket, {name} behind": (open_, again(name, "x"), INCOMPLETE) for name in PARAMETERS},
    **{f"socket, {name} before": (open_, again(name, "x", first=True), INCOMPLETE) for name in PARAMETERS},
    **{f"socket, {name} in lower case": (open_, again(name.lower(), "x"), INCOMPLETE) for name in PARAMETERS},
    "socket, encoded": (open_, again("%58-Amz-Expires", "1"), INCOMPLETE),
    "socket, signed twice": (open_, signed_twice, INCOMPLETE),
    "socket, arn beside a token": (by_query_token, again("X-Amz-ChannelARN", "x"), TWO),
    "socket, client id beside a token": (by_query_token, again("X-Amz-ClientId", "x"), TWO),
    "socket, two tokens": (by_query_token, again("token", "x"), TWO),
    "socket, a token and a jwt": (by_query_token, again("jwt", "x"), TWO),
    "socket, a token and a signature": (open_, again("token", "x"), TWO),
    "socket, a ticket and a signature": (open_, again("ticket", "x"), TWO),
    "socket, two tickets": (by_ticket, again("ticket", "x"), TWO),
    "rest, a token beside": (call, again("token", "x"), TWO),
    "rest, a ticket beside": (call, again("ticket", "x"), TWO),
    **{f"rest, {name} beside": (call, again(name, "x"), TWO) for name in PARAMETERS[:2]},
    "rest, a signature beside": (call, again("X-Amz-Signature", "0" * 64), TWO),
    "rest, the same key twice": (call, again("a", "1&a=2"), INVALID),
    "rest, authorization": (call, lambda rig, wire: wire.adding(("authorization", "Bearer x")), TWO),
    "rest, date": (call, lambda rig, wire: wire.adding(("x-amz-date", "20200101T000000Z")), INCOMPLETE),
    "rest, session token": (
        of_session,
        lambda rig, wire: wire.adding(("x-amz-security-token", "x")),
        INCOMPLETE,
    ),
    "rest, content type": (call, lambda rig, wire: wire.adding(("content-type", "text/plain")), INVALID),
    "rest, content length": (call, lambda rig, wire: wire.adding(("content-length", "1")), UNPARSED),
}


@pytest.mark.parametrize("name", DOUBLED)
async def test_doubled_parameters_and_credentials(rig: Rig, name: str) -> None:
    await check(rig, *DOUBLED[name])


# Too much


def large(size: int, name: str = "x-note") -> Harm:
    return lambda rig, wire: wire.adding((name, "a" * size))


def many(count: int) -> Harm:
    return lambda rig, wire: wire.adding(*((f"x-{number}", "a") for number in range(count)))


def announced(size: int) -> Harm:
    return lambda rig, wire: wire.having(("content-length", str(size)))


def of_size(size: int) -> Harm:
    def harm(rig: Rig, wire: Wire) -> Wire:
        return rig.call(body={"ChannelARN": rig.mine, "Padding": "a" * size})

    return harm


def chunked(size: int) -> Harm:
    def harm(rig: Rig, wire: Wire) -> Wire:
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (size, b"a" * size)
        return wire.without("content-length").adding(("transfer-encoding", "chunked")).carrying(body)

    return harm


TOO_MUCH: dict[str, tuple[Make, Harm, Outcome]] = {
    "rest, a header of 1 MB": (call, large(1_000_000), UNPARSED),
    "rest, an authorization of 1 MB": (call, header("authorization", lambda text: text + "a" * 1_000_000), UNPARSED),
    "rest, 100,000 headers": (call, many(100_000), UNPARSED),
    "rest, a query of 1 MB": (call, target(lambda text: text + "?" + "a" * 1_000_000), UNPARSED),
    "rest, an authorization of 30 kB": (call, header("authorization", lambda text: text + "a" * 30_000), INCOMPLETE),
    "rest, 5,000 signed headers": (call, authorization("host;", "host;" + "a;" * 5_000), INCOMPLETE),
    "rest, a token of 8 kB and more": (call, lambda rig, _: rig.bearer("a" * 8_193), UNRECOGNIZED),
    "rest, a session token of 8 kB and more": (
        call,
        lambda rig, _: rig.call(who=signer.credentials(rig.key.id, rig.key.secret, "a" * 8_193)),
        UNRECOGNIZED,
    ),
    "rest, a body of 64 kB and more": (call, of_size(65_536), TOO_LARGE),
    "rest, a body of 1 MB": (call, of_size(1_000_000), TOO_LARGE),
    "rest, a body that is announced as 64 kB and more": (call, announced(65_537), TOO_LARGE),
    "rest, a body that is announced as an exabyte": (call, announced(10**18), TOO_LARGE),
    "rest, a body in chunks": (call, chunked(65_537), TOO_LARGE),
    "socket, a header of 1 MB": (open_, large(1_000_000), UNPARSED),
    "socket, a header of 10 kB": (open_, large(10_000), HEADERS_TOO_LARGE),
    "socket, 200 headers": (open_, many(200), HEADERS_TOO_LARGE),
    "socket, 5,000 headers": (open_, many(5_000), HEADERS_TOO_LARGE),
    "socket, a subprotocol of 10 kB": (
        open_,
        lambda rig, wire: wire.adding(("sec-websocket-protocol", "bearer." + "a" * 10_000)),
        HEADERS_TOO_LARGE,
    ),
    "socket, a query of 10 kB": (open_, target(lambda text: text + "&a=" + "a" * 10_000), URL_TOO_LONG),
    "socket, a query of 7 kB": (open_, target(lambda text: text + "&a=" + "a" * 7_000), INVALID),
    "socket, a signature of 7 kB": (open_, target(lambda text: text + "a" * 7_000), INCOMPLETE),
    "socket, a credential of 7 kB": (open_, parameter("X-Amz-Credential", "a" * 7_000), INCOMPLETE),
    "socket, 1,500 parameters": (open_, target(lambda text: text + "&a=1" * 1_500), INVALID),
    "socket, a token of 10 kB": (open_, lambda rig, _: rig.handshake(rig.url(token="a" * 10_000)), URL_TOO_LONG),
    "socket, a ticket of 7 kB": (
        by_ticket,
        lambda rig, _: rig.handshake(rig.url(ticket="a" * 7_000)),
        UNRECOGNIZED,
    ),
    "socket, an arn of 1,025 characters": (open_, lambda rig, _: rig.open(rig.url(arn="a" * 1_025)), TWO),
    "socket, a client id of 257 characters": (
        open_,
        lambda rig, _: rig.open(rig.url(**{"X-Amz-ClientId": "v" * 257})),
        TWO,
    ),
}


@pytest.mark.parametrize("name", TOO_MUCH)
async def test_too_much(rig: Rig, name: str) -> None:
    await check(rig, *TOO_MUCH[name])


# What is asked for: ten of each class and door


def test_each_class_has_ten_over_either_door() -> None:
    both = len(HEADERS) + len(MACS) + len(TOKENS)
    assert min(both, 6 + len(MACS) + len(TOKENS), len(HOSTS), len(FOREIGN), len(FOREIGN_SOCKETS)) >= 10
    for table in (TAMPERED, REPLAYED, DOUBLED, TOO_MUCH):
        for door in ("rest", "socket"):
            assert sum(name.startswith(door) for name in table) >= 10, door


async def test_the_audit_log_names_who_what_and_the_statement(rig: Rig, log: io.StringIO) -> None:
    await exchange(rig.address, rig.call())
    await exchange(rig.address, rig.open())
    await exchange(rig.address, header("authorization", flipped)(rig, rig.call()))
    await exchange(rig.address, target(flipped)(rig, rig.open()))
    lines = [msgspec.json.decode(line) for line in log.getvalue().splitlines()]
    called, connected, refused, unconnected = [line for line in lines if line["logger"] == "heliograph.audit"]
    for line, name in ((called, "DescribeSignalingChannel"), (connected, "ConnectAsViewer")):
        assert (line["operation"], line["code"], line["sid"]) == (name, "OK", "everything")
        assert (line["subject"], line["channel"], line["source"]) == (f"key/{rig.key.id}", rig.mine, "127.0.0.1")
        assert line["request_id"]
    for line in (refused, unconnected):
        assert line["code"] == "InvalidSignatureException"
        assert len(line["canonical_sha256"].split()[0]) == 64
