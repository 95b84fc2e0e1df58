"""Requests with the host, or the channel of another account, put in the place of the right one."""

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from tests import signer
from tests.app.hostile.harms import (
    INCOMPLETE,
    INVALID,
    NOT_FOUND,
    Harm,
    Make,
    Outcome,
    by_ticket,
    call,
    header,
    of_session,
    open_,
    open_of_session,
    open_with_header,
    parameter,
    with_body,
)
from tests.app.hostile.rig import DESCRIBE, OTHER_ACCOUNT, Rig
from tests.signaling_service import ACCOUNT
from tests.wire import UPGRADE, Wire

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
        signed = signer.header_signed(f"http://evil.example.org{DESCRIBE}", wire.body, rig.wall, rig.who())
        return rig.wire(signed, wire.body).having(("host", rig.address))
    return rig.open(rig.url(host="evil.example.org")).having(("host", rig.address))


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
    "DescribeRelayUsage": operation("/v1/relay-usage", lambda arn: {"channelArn": arn}),
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
            signer.header_signed(swapped_arn(rig), b"", rig.wall, rig.who(), method="GET"), b""
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
