"""Good requests, what may be done to them, and how they are refused then."""

import time
from collections.abc import Callable
from urllib.parse import parse_qsl, quote, urlencode

from channels.auth.ticket import Ticket
from channels.names import Role
from tests.app.hostile.rig import Rig
from tests.wire import Wire

INVALID = (403, "InvalidSignatureException")
INCOMPLETE = (403, "IncompleteSignatureException")
UNRECOGNIZED = (403, "UnrecognizedClientException")
EXPIRED = (403, "ExpiredTokenException")
TWO = (400, "InvalidArgumentException")
UNPARSED = (400, "")  # the HTTP parser refuses it, in plain text
NOT_FOUND = (404, "ResourceNotFoundException")
URL_TOO_LONG, HEADERS_TOO_LARGE = (414, ""), (431, "")  # by the websocket library, in plain text
TOO_LARGE = (413, "RequestEntityTooLargeException")
Outcome = tuple[int, str]
Make = Callable[[Rig], Wire]
Harm = Callable[[Rig, Wire], Wire]


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
