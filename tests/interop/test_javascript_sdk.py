"""The stock JavaScript SDKs under node against a real `heliograph serve`: wire form, order, limits, admission.

Numbers in brackets are those of the conformance checklist.
"""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from channels.service import ServiceClient
from tests.interop import node, wire
from tests.interop.conftest import Note
from tests.interop.kvs import ROLES, Kvs, channel_name
from tests.running import FREE_PORTS, heliograph, running

pytestmark = [pytest.mark.interop, pytest.mark.timeout(240)]

JWT, SIGNED = "requestSigner with a JWT, ws", "SigV4RequestSigner, wss"
# What each scenario shows, for the table.
SHOWN = {
    "exchange": ("offer, answer, early candidates", "byte-identical, in order"),
    "ghost": ("a message to an absent client id", "STATUS_RESPONSE 404, only with a correlation id"),
    "secondMaster": ("a second master", "the first is closed"),
    "sameViewer": ("a second viewer of one client id", "the first is closed"),
    "crowd": ("eleven viewers", "ten open; error, then close; open after one left"),
    "viewerFirst": ("viewer first, master later", "newest offer once, candidates in order"),
    "tokens": ("JWT of another role, channel, client id, or none", "error, then close"),
    "signatures": ("wrong secret, unknown key, foreign or missing session token", "error, then close"),
}
Result = dict[str, Any]
Scenario = Callable[..., Result]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """One without TLS: a requestSigner may lead to plain `ws://`."""
    node.install_packages()
    home = tmp_path_factory.mktemp("service")
    with running("serve", *FREE_PORTS, home=home) as ready:
        yield home, ready["http"]


def mint(home: Path, channel: str, role: str, *more: str) -> str:
    done = heliograph("token", "--channel", channel, "--role", role, *more, home=home)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def with_a_token(service: tuple[Path, str], request: pytest.FixtureRequest, note: Note) -> Scenario:
    """A function that runs one scenario on a channel of this test's own, by a JWT."""
    home, endpoint = service
    name = channel_name(request)
    token = mint(home, name, "admin")
    arn, endpoints = asyncio.run(made(ServiceClient(endpoint, token), name))
    configuration = {"arn": arn, "token": token, **endpoints}
    return scenario_of(configuration, JWT, note, home)


async def made(client: ServiceClient, name: str) -> tuple[str, dict[str, str]]:
    arn = (await client.call("/createSignalingChannel", {"ChannelName": name}))["ChannelARN"]
    endpoints = {}
    for role in ROLES:
        wanted = {"Protocols": ["WSS"], "Role": role}
        body = {"ChannelARN": arn, "SingleMasterChannelEndpointConfiguration": wanted}
        answer = await client.call("/getSignalingChannelEndpoint", body)
        endpoints[f"{role.lower()}Endpoint"] = answer["ResourceEndpointList"][0]["ResourceEndpoint"]
    return arn, endpoints


@pytest.fixture
def signed(kvs: Kvs, request: pytest.FixtureRequest, note: Note) -> Scenario:
    """The same by an access key and the SDK's own signer."""
    arn = kvs.create(channel_name(request))
    endpoints = kvs.endpoints(arn)
    configuration = {"arn": arn, "credentials": kvs.key.javascript()}
    configuration |= {f"{role.lower()}Endpoint": endpoints[role, "WSS"] for role in ROLES}
    return scenario_of(configuration, SIGNED, note, kvs.home, kvs.ca_file)


def scenario_of(configuration: Result, way: str, note: Note, home: Path, ca_file: str | None = None) -> Scenario:
    node.install_packages()

    def run(which: str, **more: Any) -> Result:
        operation, outcome = SHOWN[which]
        note(f"kvs-webrtc {node.version(node.SIGNALING)} under node, {way}", operation, outcome)
        result: Result = node.run("kvs_clients.mjs", which, given={**configuration, **more}, home=home, ca_file=ca_file)
        return result

    return run


@pytest.fixture(params=["with_a_token", "signed"])
def scenario(request: pytest.FixtureRequest) -> Scenario:
    found: Scenario = request.getfixturevalue(request.param)
    return found


def test_offer_answer_and_early_candidates_pass_unchanged(scenario: Scenario) -> None:
    """[27]"""
    result = scenario("exchange")
    sent = result["sent"]
    assert result["offers"] == [{"name": "sdpOffer", "payload": sent["offer"], "clientId": "watching"}]
    assert [event["payload"] for event in result["early"]] == sent["candidates"][:2]
    assert {event["clientId"] for event in result["early"]} == {"watching"}
    # Messages to a viewer name no sender.
    assert result["answers"] == [{"name": "sdpAnswer", "payload": sent["answer"], "clientId": None}]
    assert [event["payload"] for event in result["back"]] == sent["candidates"][2:]


def test_an_absent_recipient_is_reported_only_to_who_gave_a_correlation_id(scenario: Scenario) -> None:
    """[30]"""
    statuses = scenario("ghost")["statuses"]
    assert [status["payload"]["correlationId"] for status in statuses] == ["asked"]
    assert statuses[0]["payload"]["statusCode"] == "404"
    assert statuses[0]["payload"]["errorType"] == "ResourceNotFoundException"


def test_a_second_master_closes_the_first(scenario: Scenario) -> None:
    """[31]"""
    result = scenario("secondMaster")
    assert result == {"first": ["open", "close"], "second": ["open", "sdpOffer"]}


def test_a_second_viewer_of_one_client_id_closes_the_first(scenario: Scenario) -> None:
    """[31]"""
    result = scenario("sameViewer")
    assert result["first"] == ["open", "close"]
    assert result["offer"]["clientId"] == "same"


def test_ten_viewers_enter_the_eleventh_is_refused_until_one_leaves(scenario: Scenario) -> None:
    """[33, 41]"""
    result = scenario("crowd")
    assert result["inside"] == [True] * 10
    assert result["eleventh"] == ["error", "close"]
    assert result["next"] == ["open"]


def test_an_offer_waits_for_a_master_that_comes_at_once(with_a_token: Scenario) -> None:
    assert_held(with_a_token("viewerFirst"))


def test_an_offer_waits_for_a_master_that_comes_ten_seconds_later(signed: Scenario) -> None:
    """[34]"""
    assert_held(signed("viewerFirst", masterAfterMs=10_000))


def assert_held(result: Result) -> None:
    assert [event["payload"] for event in result["offers"]] == [result["sent"]]
    candidates = [event["payload"]["candidate"].split()[0] for event in result["candidates"]]
    assert candidates == ["candidate:1", "candidate:2", "candidate:3"]


def test_tokens_open_only_their_role_channel_and_client_id(
    with_a_token: Scenario, service: tuple[Path, str], request: pytest.FixtureRequest
) -> None:
    """[20]"""
    home, _ = service
    name = channel_name(request)
    tokens = {
        "viewer": mint(home, name, "viewer"),
        "master": mint(home, name, "master"),
        "otherChannel": mint(home, "another", "viewer"),
        "bound": mint(home, name, "viewer", "--client-id", "me"),
    }
    result = with_a_token("tokens", tokens=tokens)
    refused = ("viewerAsMaster", "masterAsViewer", "otherChannel", "otherClientId", "noToken")
    assert {attempt: result[attempt] for attempt in refused} == {attempt: ["error", "close"] for attempt in refused}
    assert result["ownClientId"] == ["open"]
    assert result["master"] == ["open"]


def test_a_signature_is_good_only_with_its_own_secret_and_token(signed: Scenario, kvs: Kvs) -> None:
    """[13, 41]"""
    session, other = kvs.session(kvs.key), kvs.session(kvs.key)
    several = {
        "session": session,
        "key": kvs.key,
        "wrongSecret": kvs.key.altered(),
        "unknownKey": msgspec.structs.replace(kvs.key, access_key_id="AKIAIOSFODNN7EXAMPLE"),
        "foreignToken": msgspec.structs.replace(session, session_token=other.session_token),
        "tokenOnAKey": msgspec.structs.replace(kvs.key, session_token=session.session_token),
        "noToken": msgspec.structs.replace(session, session_token=None),
    }
    result = signed("signatures", several={name: who.javascript() for name, who in several.items()})
    assert result.pop("session") == ["open"]
    assert result.pop("key") == ["open"]
    refused = ("wrongSecret", "unknownKey", "foreignToken", "tokenOnAKey", "noToken", "unknownChannel")
    assert result == {attempt: ["error", "close"] for attempt in refused}


@pytest.fixture
def operations(kvs: Kvs, note: Note) -> Callable[..., list[Result]]:
    """A function that runs a scenario of the AWS SDK for JavaScript v3."""
    node.install_packages()

    def run(which: str, scheme: str, **given: Any) -> list[Result]:
        given = {"endpoint": kvs.address(scheme), "credentials": kvs.key.javascript(), **given}
        calls: list[Result] = node.run("kvs_operations.mjs", which, given=given, home=kvs.home, ca_file=kvs.ca_file)
        for call in calls:
            note(f"AWS SDK for JavaScript {node.version(node.CONTROL)} under node", call["operation"], call["answer"])
        return calls

    return run


@pytest.mark.parametrize("scheme", ["https", "http"])
def test_every_operation_of_the_javascript_sdk(
    operations: Callable[..., list[Result]], request: pytest.FixtureRequest, scheme: str
) -> None:
    """[1, 3, 4, 5, 11, 26]"""
    name = channel_name(request)
    calls = operations("life", scheme, name=name)
    outputs = {call["operation"]: call["output"] for call in calls if call["output"] is not None}
    assert [(call["operation"], call["answer"]) for call in calls] == [
        ("CreateSignalingChannel", "200"),
        ("CreateSignalingChannel", "400 ResourceInUseException"),
        ("DescribeSignalingChannel", "200"),
        ("ListSignalingChannels", "200"),
        ("UpdateSignalingChannel", "200"),
        ("UpdateSignalingChannel", "400 VersionMismatchException"),
        ("TagResource", "200"),
        ("UntagResource", "200"),
        ("ListTagsForResource", "200"),
        ("GetSignalingChannelEndpoint", "200"),
        ("DescribeMediaStorageConfiguration", "200"),
        ("UpdateMediaStorageConfiguration", "200"),
        ("UpdateMediaStorageConfiguration", "400 InvalidArgumentException"),
        ("DescribeMappedResourceConfiguration", "404 ResourceNotFoundException"),
        ("GetIceServerConfig", "200"),
        ("JoinStorageSession", "400 InvalidArgumentException"),
        ("JoinStorageSessionAsViewer", "400 InvalidArgumentException"),
        ("DeleteSignalingChannel", "200"),
        ("DescribeSignalingChannel", "404 ResourceNotFoundException"),
        ("GetIceServerConfig", "404 ResourceNotFoundException"),
    ]
    assert all(call["requestId"] for call in calls)
    assert all(call["isTyped"] and call["message"] for call in calls if call["output"] is None)
    assert outputs["ListTagsForResource"]["Tags"] == {"room": "Größe 5"}
    assert [info["ChannelName"] for info in outputs["ListSignalingChannels"]["ChannelInfoList"]] == [name]
    assert outputs["DescribeMediaStorageConfiguration"]["MediaStorageConfiguration"]["Status"] == "DISABLED"
    for server in outputs["GetIceServerConfig"]["IceServerList"]:
        assert 1 <= len(server["Uris"]) <= 4
        assert server["Ttl"] > 30


def test_the_javascript_sdk_gets_the_answer_of_a_master(
    operations: Callable[..., list[Result]], kvs: Kvs, request: pytest.FixtureRequest
) -> None:
    arn = kvs.create(channel_name(request))
    with wire.answering_master(kvs, arn, "the answer"):
        (call,) = operations("alexa", "https", arn=arn, offer=wire.encoded("the offer"))
    assert (call["answer"], call["output"]) == ("200", {"Answer": wire.encoded("the answer")})


def test_the_paginator_of_the_javascript_sdk(
    operations: Callable[..., list[Result]], kvs: Kvs, request: pytest.FixtureRequest
) -> None:
    """[7]"""
    prefix = channel_name(request)
    names = [f"{prefix}-{number}" for number in range(5)]
    for name in names:
        kvs.create(name)
    (call,) = operations("page", "https", name=prefix)
    assert call["output"] == names


def test_the_javascript_sdk_sends_session_tokens_and_reads_refusals(
    operations: Callable[..., list[Result]], kvs: Kvs
) -> None:
    """[12, 13]"""
    session = kvs.session(kvs.key)
    foreign = msgspec.structs.replace(session, session_token=kvs.session(kvs.key).session_token)
    unknown = msgspec.structs.replace(kvs.key, access_key_id="AKIAIOSFODNN7EXAMPLE")
    several = [who.javascript() for who in (session, kvs.key.altered(), unknown, foreign)]
    assert [call["answer"] for call in operations("credentials", "https", several=several)] == [
        "200",
        "403 InvalidSignatureException",
        "403 UnrecognizedClientException",
        "403 UnrecognizedClientException",
    ]


def test_the_lock_file_holds_no_address() -> None:
    text = (node.FOLDER / "package-lock.json").read_text()
    assert "resolved" not in text
    assert "https://" not in text
