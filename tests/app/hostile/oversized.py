"""Requests with more of anything than is taken."""

from tests import signer
from tests.app.hostile.harms import (
    HEADERS_TOO_LARGE,
    INCOMPLETE,
    INVALID,
    TOO_LARGE,
    TWO,
    UNPARSED,
    UNRECOGNIZED,
    URL_TOO_LONG,
    Harm,
    Make,
    Outcome,
    authorization,
    by_ticket,
    call,
    header,
    open_,
    parameter,
    target,
)
from tests.app.hostile.rig import Rig
from tests.wire import Wire


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
    "rest, 15,000 parameters": (call, target(lambda text: text + "?" + "a=1&" * 15_000), TWO),
    "rest, a query of 50 kB": (call, target(lambda text: text + "?" + "%41" * 16_000), TWO),
    "rest, 50,000 slashes": (call, target(lambda text: "/" * 50_000 + text), TWO),
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
    "socket, 1,500 parameters": (open_, target(lambda text: text + "&a=1" * 1_500), TWO),
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
