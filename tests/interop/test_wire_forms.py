"""Requests and frames as clients in no registry send them (C SDK, Android, go2rtc, AWS's Python sample), over TLS.

Numbers in brackets are those of the conformance checklist.
"""

import contextlib
import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import msgspec
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests import signer
from tests.interop import wire
from tests.interop.conftest import Note
from tests.interop.kvs import Credentials, Kvs, channel_name
from tests.interop.wire import Answer, encoded, opened, presigned, refusal

pytestmark = [pytest.mark.interop, pytest.mark.timeout(240)]

AGENT = "AWS-WEBRTC-KVS-AGENT/1.14.0 GCC/12.2.0 Linux/6.18 x86_64"
C_SDK, PYTHON, JAVASCRIPT = "C SDK (wire form)", "Python sample (wire form)", "JavaScript SDK (wire form)"
C_HEADERS = ("host", "user-agent", "x-amz-date")


@pytest.fixture
def arn(kvs: Kvs, request: pytest.FixtureRequest) -> str:
    return kvs.create(channel_name(request))


def c_sdk_call(kvs: Kvs, path: str, body: Any, who: Credentials, host: str | None = None) -> Answer:
    """REST as the C SDK does it: three signed headers, and the session token beside them unsigned."""
    url = kvs.https.replace(urlsplit(kvs.https).netloc, host or urlsplit(kvs.https).netloc)
    data = json.dumps(body, indent="\t").encode()
    bare = msgspec.structs.replace(who, session_token=None)
    signed = signer.header_signed(
        url + path, data, time.time(), wire.botocores(bare), {"User-Agent": AGENT}, only=C_HEADERS
    )
    headers = {name: value for name, value in signed.headers if name != "host"}
    if who.session_token:
        headers["x-amz-security-token"] = who.session_token
    return wire.request(kvs, "POST", path, {**headers, "content-type": "application/json"}, data, host)


@pytest.mark.parametrize("slashes", ["/", "//"])
@pytest.mark.parametrize("kind", ["key", "session"])
def test_the_rest_form_of_the_c_sdk(kvs: Kvs, arn: str, note: Note, kind: str, slashes: str) -> None:
    """[14, 23, 24] Signed host, user-agent and x-amz-date; the token is not signed; an endpoint ended in a slash."""
    who = kvs.key if kind == "key" else kvs.session(kvs.key)
    for path in ("describeSignalingChannel", "getSignalingChannelEndpoint", "v1/get-ice-server-config"):
        answer = c_sdk_call(kvs, slashes + path, {"ChannelARN": arn}, who)
        assert answer.status == 200, answer.body
        assert int(answer.headers["content-length"]) == len(answer.body) < 3500
        assert answer.headers["date"]
        assert answer.headers["x-amzn-RequestId"]
        assert answer.headers["content-encoding"] is None
        note(C_SDK, slashes + path, f"{answer.status} by a {kind}")


def test_an_unsigned_token_of_somebody_else_is_refused(kvs: Kvs, arn: str) -> None:
    """[13, 14]"""
    mine, other = kvs.session(kvs.key), kvs.session(kvs.key)
    swapped = msgspec.structs.replace(mine, session_token=other.session_token)
    answer = c_sdk_call(kvs, "/describeSignalingChannel", {"ChannelARN": arn}, swapped)
    assert (answer.status, answer.code) == (403, "UnrecognizedClientException")


def test_a_channel_that_is_not_there_is_told_so(kvs: Kvs, arn: str) -> None:
    """[4] The C SDK then makes the channel, or describes it again."""
    answer = c_sdk_call(kvs, "/describeSignalingChannel", {"ChannelName": "nowhere"}, kvs.key)
    assert (answer.status, answer.code) == (404, "ResourceNotFoundException")
    gone = f"{arn[:-13]}1700000000000"
    answer = c_sdk_call(kvs, "/v1/get-ice-server-config", {"ChannelARN": gone}, kvs.key)
    assert (answer.status, answer.code) == (404, "ResourceNotFoundException")


def test_paths_are_case_sensitive(kvs: Kvs, arn: str) -> None:
    """[10]"""
    body = {"ResourceARN": arn, "Tags": [{"Key": "a", "Value": "b"}]}
    assert c_sdk_call(kvs, "/TagResource", body, kvs.key).status == 200
    assert c_sdk_call(kvs, "/tagResource", body, kvs.key).status == 404


@pytest.mark.parametrize("kind", ["key", "session"])
def test_the_websocket_form_of_the_c_sdk(kvs: Kvs, arn: str, note: Note, kind: str) -> None:
    """[15, 38] Presigned for seven days, offering the subprotocol `wss`; nothing else in the handshake."""
    who = kvs.key if kind == "key" else kvs.session(kvs.key)
    endpoints = kvs.endpoints(arn)
    quiet = {"user_agent_header": None, "compression": None, "subprotocols": ["wss"]}
    url = presigned(endpoints["MASTER", "WSS"], arn, who, expires_s=604_800)
    with opened(kvs, url, **quiet) as master:
        assert master.subprotocol in (None, "wss")
        url = presigned(endpoints["VIEWER", "WSS"], arn, who, "ConsumerViewer", expires_s=604_800)
        with opened(kvs, url, **quiet) as viewer:
            viewer.send(c_frame("SDP_OFFER", "ConsumerViewer", "offer"))
            assert master.receive()["senderClientId"] == "ConsumerViewer"
    note(C_SDK, "ConnectAsMaster, ConnectAsViewer", f"101 by a {kind}")


def test_a_presigned_url_is_good_for_five_minutes_whatever_it_says(kvs: Kvs, arn: str) -> None:
    """[15, 16]"""
    endpoint = kvs.endpoints(arn)["MASTER", "WSS"]
    late = presigned(endpoint, arn, kvs.key, expires_s=604_800, now=time.time() - 360)
    status, _, body = refusal(kvs, late)
    assert status == 403
    assert "Signature expired" in body
    early = presigned(endpoint, arn, kvs.key, expires_s=604_800, now=time.time() + 360)
    status, _, body = refusal(kvs, early)
    assert status == 403
    assert "Signature not yet current" in body


def test_without_an_offer_no_subprotocol_is_named(kvs: Kvs, arn: str) -> None:
    """[38]"""
    with wire.master(kvs, arn) as master:
        assert master.subprotocol is None


def test_the_python_sample_is_master_by_its_endpoint(kvs: Kvs, arn: str, note: Note) -> None:
    """[22] It sends a client id on the master endpoint; on the viewer endpoint one is required."""
    endpoints = kvs.endpoints(arn)
    with (
        opened(kvs, presigned(endpoints["MASTER", "WSS"], arn, kvs.key, "MASTER")) as master,
        wire.viewer(kvs, arn, "browser") as viewer,
    ):
        viewer.send(json.dumps({"action": "SDP_OFFER", "messagePayload": encoded("offer")}))
        offer = master.receive()
        assert offer["senderClientId"] == "browser"
        master.send(
            json.dumps({"action": "SDP_ANSWER", "messagePayload": encoded("a"), "recipientClientId": "browser"})
        )
        assert viewer.receive()["messageType"] == "SDP_ANSWER"
    status, code, _ = refusal(kvs, presigned(endpoints["VIEWER", "WSS"], arn, kvs.key))
    assert (status, code) == (400, "InvalidArgumentException")
    note(PYTHON, "ConnectAsMaster with X-Amz-ClientId=MASTER", "101")


def test_a_url_signed_for_port_443_passes_under_the_bare_host(kvs: Kvs, arn: str, note: Note) -> None:
    """[17] The JavaScript signer keeps `:443`, the socket drops it."""
    path = urlsplit(kvs.endpoints(arn)["MASTER", "WSS"]).path
    url = presigned(f"wss://localhost:443{path}", arn, kvs.key)
    here = url.replace("localhost:443", urlsplit(kvs.https).netloc, 1)
    with opened(kvs, here, host="localhost") as master:
        master.ping()
    note(JAVASCRIPT, "ConnectAsMaster signed for host:443", "101")


def test_parameters_may_come_in_any_order_but_not_changed(kvs: Kvs, arn: str, note: Note) -> None:
    """[17, 18]"""
    url = presigned(kvs.endpoints(arn)["VIEWER", "WSS"], arn, kvs.key, "me")
    address, _, query = url.partition("?")
    for order in (sorted, lambda parts: sorted(parts, reverse=True)):
        with opened(kvs, f"{address}?{'&'.join(order(query.split('&')))}"):
            pass
    status, code, body = refusal(kvs, url.replace("X-Amz-ClientId=me", "X-Amz-ClientId=you"))
    assert (status, code) == (403, "InvalidSignatureException")
    assert "canonical" in body.lower()
    note(JAVASCRIPT, "ConnectAsViewer, parameters sorted", "101")


def test_a_scope_of_another_service_or_day_is_refused(kvs: Kvs, arn: str) -> None:
    """[18]"""
    endpoint = kvs.endpoints(arn)["MASTER", "WSS"]
    assert refusal(kvs, presigned(endpoint, arn, kvs.key, service="execute-api"))[0] == 403
    url = presigned(endpoint, arn, kvs.key)
    today = dict(parse_qsl(urlsplit(url).query))["X-Amz-Date"][:8]
    assert refusal(kvs, url.replace(f"%2F{today}%2F", "%2F20200101%2F"))[0] == 403


def c_frame(action: str, recipient: str, text: str, **more: Any) -> str:
    """A frame as the C SDK prints it: PascalCase keys, tabs and newlines between the tokens."""
    fields = {"action": action, "RecipientClientId": recipient, "MessagePayload": encoded(text), **more}
    lines = ",\n".join(f'\t"{name}": {json.dumps(value)}' for name, value in fields.items())
    return f"{{\n{lines}\n}}"


@pytest.mark.parametrize("recipient", ["ProducerMaster", "watching", "another", ""])
def test_what_a_viewer_says_reaches_the_master_only(kvs: Kvs, arn: str, note: Note, recipient: str) -> None:
    """[28, 29] The C viewer names ProducerMaster or itself, go2rtc itself, Android nobody and an empty sender."""
    with (
        wire.master(kvs, arn) as master,
        wire.viewer(kvs, arn) as viewer,
        wire.viewer(kvs, arn, "another") as another,
    ):
        viewer.send("")  # a keepalive
        viewer.send(c_frame("SDP_OFFER", recipient, "offer", SenderClientId="forged", Unknown={"a": [1]}))
        assert master.receive() == {
            "messageType": "SDP_OFFER",
            "messagePayload": encoded("offer"),
            "senderClientId": "watching",
        }
        master.send("")
        master.send(c_frame("SDP_ANSWER", "watching", "answer", CorrelationId="c-1"))
        assert viewer.receive() == {"messageType": "SDP_ANSWER", "messagePayload": encoded("answer")}
        # Whatever came to the others came before what they are sent now.
        master.send(c_frame("ICE_CANDIDATE", "another", "last"))
        assert another.receive()["messagePayload"] == encoded("last")
        master.send(c_frame("ICE_CANDIDATE", "watching", "last"))
        assert viewer.receive()["messagePayload"] == encoded("last")
    note(C_SDK, "PascalCase frames, tabs, own id or ProducerMaster as recipient, empty frame", "reach the master only")


def test_ice_servers_inside_an_offer_are_dropped_and_never_logged(kvs: Kvs, arn: str, note: Note) -> None:
    """[28] C SDK offers carry the live TURN password of the viewer."""
    servers = [{"Password": "p4ssw0rd-of-turn", "Ttl": 300, "Uris": ["turn:turn.example:443"], "Username": "u5er"}]
    with wire.master(kvs, arn) as master, wire.viewer(kvs, arn) as viewer:
        viewer.send(c_frame("SDP_OFFER", "ProducerMaster", "offer", IceServerList=servers))
        frame = master.receive()
        assert set(frame) == {"messageType", "messagePayload", "senderClientId"}
        viewer.send(c_frame("NO_SUCH_ACTION", "ProducerMaster", "offer", IceServerList=servers, CorrelationId="bad"))
        status = viewer.receive()["statusResponse"]
        assert status["correlationId"] == "bad"
        assert "p4ssw0rd" not in json.dumps(status)
    log = kvs.log()
    assert arn in log or channel_of(arn) in log  # it is the log of this service
    assert "p4ssw0rd" not in log
    assert "turn.example" not in log
    note(C_SDK, "IceServerList in an offer", "dropped, not logged")


def channel_of(arn: str) -> str:
    return arn.split("/")[1]


def test_frames_that_are_not_json_harm_nobody(kvs: Kvs, arn: str) -> None:
    """[37]"""
    with wire.master(kvs, arn) as master, wire.viewer(kvs, arn) as viewer, wire.viewer(kvs, arn, "odd") as odd:
        odd.send("not json")
        odd.send(b"\x00\x01")
        with contextlib.suppress(ConnectionClosed):
            odd.ping()  # it may live on or be closed
        viewer.ping()
        viewer.send(json.dumps({"action": "SDP_OFFER", "messagePayload": encoded("offer")}))
        assert master.receive()["senderClientId"] == "watching"


def test_masters_that_throw_each_other_out_are_held_to_the_rate_and_named(kvs: Kvs, arn: str, note: Note) -> None:
    """[32] Two C SDK masters on one channel reconnect for ever."""
    endpoint = kvs.endpoints(arn)["MASTER", "WSS"]
    url = presigned(endpoint, arn, kvs.key, expires_s=604_800)
    with contextlib.ExitStack() as masters, ThreadPoolExecutor(8) as pool:

        def connect() -> tuple[int, str]:
            try:
                masters.enter_context(opened(kvs, url))
            except InvalidStatus as error:
                return error.response.status_code, error.response.headers["x-amzn-ErrorType"]
            return 101, ""

        started = time.monotonic()
        answers: list[tuple[int, str]] = []
        while (400, "ClientLimitExceededException") not in answers and len(answers) < 400:  # until it is busy enough
            answers += [each.result() for each in [pool.submit(connect) for _ in range(40)]]
        took_s = time.monotonic() - started
    assert set(answers) == {(101, ""), (400, "ClientLimitExceededException")}
    assert answers.count((101, "")) <= 3 + 3 * took_s + 1
    assert "masters compete for a channel" in kvs.log()
    note(C_SDK, "two masters in turn", "3 connects/s, then 400 ClientLimitExceededException; the log names the channel")


def test_the_preflight_of_a_browser_is_granted(kvs: Kvs) -> None:
    """[25]"""
    asked = (
        "amz-sdk-invocation-id,amz-sdk-request,authorization,content-type,x-amz-content-sha256,x-amz-date,"
        "x-amz-security-token,x-amz-user-agent"
    )
    headers = {
        "Origin": "https://page.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": asked,
    }
    answer = wire.request(kvs, "OPTIONS", "/describeSignalingChannel", headers)
    assert answer.status in (200, 204)
    assert answer.headers["access-control-allow-origin"] in ("*", "https://page.example")
    assert "POST" in answer.headers["access-control-allow-methods"]
    granted = {name.strip().lower() for name in answer.headers["access-control-allow-headers"].split(",")}
    assert set(asked.split(",")) <= granted


def test_broken_percent_encoding_is_verified_as_it_came(kvs: Kvs, arn: str) -> None:
    """A proxy or client that encodes the signed URL once more gets 403, not another channel."""
    url = presigned(kvs.endpoints(arn)["MASTER", "WSS"], arn, kvs.key)
    address, _, query = url.partition("?")
    again = urlencode(parse_qsl(query), quote_via=quote, safe=":/")  # another spelling of the same values
    with opened(kvs, f"{address}?{again}"):
        pass
    assert refusal(kvs, f"{address}?{quote(query, safe='=&')}")[0] in (400, 403)
