"""Parameters, headers and credentials that come twice."""

from channels.auth import sigv4
from tests import signer
from tests.app.hostile.harms import (
    INCOMPLETE,
    INVALID,
    TWO,
    UNPARSED,
    Harm,
    Make,
    Outcome,
    by_ticket,
    call,
    of_session,
    open_,
)
from tests.app.hostile.rig import Rig
from tests.wire import Wire

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
    url = sigv4.presign(f"{rig.url()}&X-Amz-ClientId=other", who, signer.REGION, rig.wall)
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
