"""boto3, unmodified, with its own signatures (SigV4) against a real `heliograph serve`: operations, keys, sessions.

Numbers in brackets are those of the conformance checklist. `test_boto3.py` has what does not depend on signatures.
"""

import datetime
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import msgspec
import pytest
from botocore import UNSIGNED
from botocore.exceptions import ClientError
from websockets.exceptions import ConnectionClosed

from tests.interop import wire
from tests.interop.conftest import Note
from tests.interop.kvs import REGION, Kvs, Observe, channel_name, refused, serving
from tests.interop.wire import encoded

pytestmark = [
    pytest.mark.interop,
    pytest.mark.timeout(240),
    pytest.mark.filterwarnings("ignore:.*:boto3.exceptions.PythonDeprecationWarning"),
]

STREAM = f"arn:aws:kinesisvideo:{REGION}:000000000000:stream/none/1700000000000"
Clients = Callable[..., Any]


@pytest.fixture(params=["https", "http"])
def scheme(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def client_of(kvs: Kvs, scheme: str, boto3_observed: Observe) -> Clients:
    """A function that makes a stock client of a service."""

    def make(service: str = "kinesisvideo", endpoint: str | None = None, **more: Any) -> Any:
        return kvs.client(service, endpoint or kvs.address(scheme), observe=boto3_observed, **more)

    return make


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    return channel_name(request)


def status_of(said: Any) -> int:
    status: int = said["ResponseMetadata"]["HTTPStatusCode"]
    return status


def test_the_life_of_a_channel(client_of: Clients, name: str) -> None:
    """[1, 3, 4, 5, 6]"""
    client = client_of()
    errors = client.exceptions
    before = datetime.datetime.now(datetime.UTC)
    arn = client.create_signaling_channel(ChannelName=name, Tags=[{"Key": "room", "Value": "5"}])["ChannelARN"]
    assert status_of(refused(errors.ResourceInUseException, client.create_signaling_channel, ChannelName=name)) == 400
    info = client.describe_signaling_channel(ChannelName=name)["ChannelInfo"]
    assert info["ChannelARN"] == arn
    assert re.fullmatch(r"arn:aws:kinesisvideo:us-west-2:\d{12}:channel/.+/\d{13}", arn)
    assert abs(info["CreationTime"] - before) < datetime.timedelta(seconds=60)
    change = {"ChannelARN": arn, "CurrentVersion": info["Version"]}
    client.update_signaling_channel(**change, SingleMasterConfiguration={"MessageTtlSeconds": 90})
    assert status_of(refused(errors.VersionMismatchException, client.update_signaling_channel, **change)) == 400
    client.tag_resource(ResourceARN=arn, Tags=[{"Key": "a", "Value": "b"}])
    client.untag_resource(ResourceARN=arn, TagKeyList=["room", "never there"])
    assert client.list_tags_for_resource(ResourceARN=arn)["Tags"] == {"a": "b"}
    client.delete_signaling_channel(ChannelARN=arn)
    assert (
        status_of(refused(errors.ResourceNotFoundException, client.describe_signaling_channel, ChannelARN=arn)) == 404
    )


def test_the_paginator_lists_each_channel_once(client_of: Clients, name: str) -> None:
    """[7]"""
    client = client_of()
    names = [f"{name}-{number}" for number in range(7)]
    for made in names:
        client.create_signaling_channel(ChannelName=made)
    condition = {"ComparisonOperator": "BEGINS_WITH", "ComparisonValue": f"{name}-"}
    pages = client.get_paginator("list_signaling_channels").paginate(
        ChannelNameCondition=condition, PaginationConfig={"PageSize": 2}
    )
    assert [info["ChannelName"] for page in pages for info in page["ChannelInfoList"]] == names


def test_endpoints_differ_by_role_and_are_secure(
    client_of: Clients, kvs: Kvs, scheme: str, name: str, boto3_observed: Observe
) -> None:
    """[21] Asked over plain HTTP the HTTPS protocol is answered so, too: boto3 without the CA works."""
    client_of().create_signaling_channel(ChannelName=name)
    arn = client_of().describe_signaling_channel(ChannelName=name)["ChannelInfo"]["ChannelARN"]
    endpoints = kvs.endpoints(arn, scheme, boto3_observed)
    assert endpoints == kvs.endpoints(arn, scheme)
    assert endpoints["MASTER", "WSS"] != endpoints["VIEWER", "WSS"]
    for (_, protocol), endpoint in endpoints.items():
        assert endpoint.startswith("wss://" if protocol == "WSS" else f"{scheme}://")
        assert not endpoint.endswith("/")
        assert ":443" not in endpoint
    client = client_of()
    webrtc = {"Protocols": ["WEBRTC"], "Role": "MASTER"}
    arguments = {"ChannelARN": arn, "SingleMasterChannelEndpointConfiguration": webrtc}
    refused(client.exceptions.InvalidArgumentException, client.get_signaling_channel_endpoint, **arguments)


def test_ice_servers_by_the_endpoint_that_was_answered(client_of: Clients, kvs: Kvs, scheme: str, name: str) -> None:
    """[4, 26]"""
    arn = client_of().create_signaling_channel(ChannelName=name)["ChannelARN"]
    signaling = client_of("kinesis-video-signaling", kvs.endpoints(arn, scheme)["VIEWER", "HTTPS"])
    servers = signaling.get_ice_server_config(ChannelARN=arn, ClientId="not-connected", Service="TURN")["IceServerList"]
    assert 1 <= len(servers) <= 5
    for server in servers:
        assert 1 <= len(server["Uris"]) <= 4
        assert 30 < server["Ttl"] <= 86_400
        assert max(len(server["Username"]), len(server["Password"])) <= 256
    assert wire.answers_stun(servers[0]["Uris"][0])
    gone = f"{arn[:-13]}1700000000000"
    missing = signaling.exceptions.ResourceNotFoundException
    assert status_of(refused(missing, signaling.get_ice_server_config, ChannelARN=gone)) == 404


def test_media_storage_is_disabled_and_cannot_be_enabled(client_of: Clients, name: str) -> None:
    """[11]"""
    client = client_of()
    arn = client.create_signaling_channel(ChannelName=name)["ChannelARN"]
    for which in ({"ChannelARN": arn}, {"ChannelName": name}):
        said = client.describe_media_storage_configuration(**which)["MediaStorageConfiguration"]
        assert said["Status"] == "DISABLED"
    client.update_media_storage_configuration(ChannelARN=arn, MediaStorageConfiguration={"Status": "DISABLED"})
    enabled = {"Status": "ENABLED", "StreamARN": STREAM}
    arguments = {"ChannelARN": arn, "MediaStorageConfiguration": enabled}
    said = refused(ClientError, client.update_media_storage_configuration, **arguments)
    assert status_of(said) == 400
    assert said["Error"]["Code"] in ("InvalidArgumentException", "NoDataRetentionException")
    missing = client.exceptions.ResourceNotFoundException
    refused(missing, client.describe_mapped_resource_configuration, StreamARN=STREAM)


def test_storage_sessions_are_refused_in_the_words_of_their_service(client_of: Clients, name: str) -> None:
    arn = client_of().create_signaling_channel(ChannelName=name)["ChannelARN"]
    storage = client_of("kinesis-video-webrtc-storage")
    calls = (
        (storage.join_storage_session, {"channelArn": arn}),
        (storage.join_storage_session_as_viewer, {"channelArn": arn, "clientId": "me"}),
    )
    for call, arguments in calls:
        said = refused(storage.exceptions.InvalidArgumentException, call, **arguments)
        assert status_of(said) == 400
        assert "storage" in said["Error"]["Message"].lower()
    gone = f"{arn[:-13]}1700000000000"
    refused(storage.exceptions.ResourceNotFoundException, storage.join_storage_session, channelArn=gone)


def test_an_alexa_offer_waits_for_the_answer_of_the_master(client_of: Clients, kvs: Kvs, name: str) -> None:
    arn = client_of().create_signaling_channel(ChannelName=name)["ChannelARN"]
    signaling = client_of("kinesis-video-signaling")
    with wire.answering_master(kvs, arn, "the answer") as got:
        said = signaling.send_alexa_offer_to_master(
            ChannelARN=arn, SenderClientId="alexa", MessagePayload=encoded("the offer")
        )
    assert said["Answer"] == encoded("the answer")
    (offer,) = got
    assert (offer["messageType"], offer["messagePayload"]) == ("SDP_OFFER", encoded("the offer"))
    assert offer["senderClientId"]


@pytest.mark.parametrize(
    ("form", "service", "operation"),
    [
        ("AWS_ENDPOINT_URL", "kinesisvideo", "list_signaling_channels"),
        ("AWS_ENDPOINT_URL_KINESIS_VIDEO", "kinesisvideo", "list_signaling_channels"),
        ("AWS_ENDPOINT_URL_KINESIS_VIDEO_SIGNALING", "kinesis-video-signaling", "get_ice_server_config"),
        ("AWS_ENDPOINT_URL_KINESIS_VIDEO_WEBRTC_STORAGE", "kinesis-video-webrtc-storage", "join_storage_session"),
    ],
)
def test_one_setting_leads_boto3_here(
    kvs: Kvs, monkeypatch: pytest.MonkeyPatch, name: str, note: Note, form: str, service: str, operation: str
) -> None:
    """[2]"""
    arn = kvs.create(name)
    for setting, value in {form: kvs.https, **kvs.key.environment()}.items():
        monkeypatch.setenv(setting, value)
    call = getattr(boto3.client(service), operation)
    if service == "kinesisvideo":
        assert call(ChannelNameCondition={"ComparisonOperator": "BEGINS_WITH", "ComparisonValue": name})
    elif service == "kinesis-video-signaling":
        assert call(ChannelARN=arn)["IceServerList"]
    else:
        refused(ClientError, call, channelArn=arn)
    note(f"boto3 {boto3.__version__}", f"the setting {form}", "reaches the service")


@pytest.mark.parametrize(
    ("operation", "arguments"),
    [
        ("create_signaling_channel", {"ChannelName": "two words"}),
        ("create_signaling_channel", {"ChannelName": "x", "ChannelType": "FULL_MESH"}),
        ("create_signaling_channel", {"ChannelName": "x", "SingleMasterConfiguration": {"MessageTtlSeconds": 121}}),
        ("list_signaling_channels", {"MaxResults": 10_001}),
        ("describe_signaling_channel", {"ChannelARN": "arn:aws:kinesisvideo:us-west-2:1:channel/x"}),
    ],
)
def test_what_boto3_lets_through_is_refused_by_the_server(kvs: Kvs, operation: str, arguments: Any) -> None:
    """[9]"""
    client = kvs.client()
    said = refused(client.exceptions.InvalidArgumentException, getattr(client, operation), **arguments)
    assert status_of(said) == 400


def test_refused_credentials_have_the_status_and_code_of_aws(client_of: Clients, kvs: Kvs) -> None:
    """[12, 13]"""
    session = kvs.session(kvs.key)
    foreign = kvs.session(kvs.key)
    attempts = {
        "InvalidSignatureException": (kvs.key.altered(), session.altered()),
        "UnrecognizedClientException": (
            msgspec.structs.replace(kvs.key, access_key_id="AKIAIOSFODNN7EXAMPLE"),
            msgspec.structs.replace(session, session_token=foreign.session_token),
            msgspec.structs.replace(session, session_token=None),
            msgspec.structs.replace(kvs.key, session_token=session.session_token),
            msgspec.structs.replace(session, session_token="not.a.token"),
        ),
    }
    for code, several in attempts.items():
        for who in several:
            said = refused(ClientError, client_of(credentials=who).list_signaling_channels)
            assert (said["Error"]["Code"], status_of(said)) == (code, 403), who
    bare = client_of(signature_version=UNSIGNED)
    said = refused(ClientError, bare.list_signaling_channels)
    assert (said["Error"]["Code"], status_of(said)) == ("MissingAuthenticationTokenException", 403)


def test_a_session_is_good_for_every_service(client_of: Clients, kvs: Kvs, name: str) -> None:
    """[13]"""
    session = kvs.session(kvs.key)
    arn = client_of(credentials=session).create_signaling_channel(ChannelName=name)["ChannelARN"]
    signaling = client_of("kinesis-video-signaling", credentials=session)
    assert signaling.get_ice_server_config(ChannelARN=arn)["IceServerList"]


def test_policies_decide_over_rest_and_websocket(kvs: Kvs, boto3_observed: Observe, tmp_path: Path, name: str) -> None:
    """[19] An IAM document: one prefix of channels, all actions but one; everything else is denied."""
    resource = f"arn:aws:kinesisvideo:*:*:channel/{name}-*/*"
    policy = tmp_path / "policy.json"
    policy.write_text(
        json.dumps(
            {
                "Version": "2012-10-17",
                "Statement": [
                    {"Sid": "Own", "Effect": "Allow", "Action": "kinesisvideo:*", "Resource": resource},
                    {"Sid": "Keep", "Effect": "Deny", "Action": "kinesisvideo:Delete*", "Resource": "*"},
                    {"Sid": "Watch", "Effect": "Deny", "Action": ["kinesisvideo:ConnectAsMaster"], "Resource": "*"},
                ],
            }
        )
    )
    limited = kvs.create_key("--policy", str(policy))
    own, other = kvs.create(f"{name}-own"), kvs.create(f"other-{name}")
    client = kvs.client(credentials=limited, observe=boto3_observed)
    denied = client.exceptions.AccessDeniedException
    assert client.describe_signaling_channel(ChannelARN=own)["ChannelInfo"]["ChannelARN"] == own
    assert client.create_signaling_channel(ChannelName=f"{name}-made")["ChannelARN"]
    for call, arguments in (
        (client.describe_signaling_channel, {"ChannelARN": other}),
        (client.create_signaling_channel, {"ChannelName": f"not-{name}"}),
        (client.delete_signaling_channel, {"ChannelARN": own}),
    ):
        assert status_of(refused(denied, call, **arguments)) == 401
    signaling = kvs.client("kinesis-video-signaling", credentials=limited, observe=boto3_observed)
    answer = refused(signaling.exceptions.NotAuthorizedException, signaling.get_ice_server_config, ChannelARN=other)
    assert status_of(answer) == 401
    endpoints = kvs.endpoints(own)
    with wire.opened(kvs, wire.presigned(endpoints["VIEWER", "WSS"], own, limited, "me")):
        pass
    assert wire.refusal(kvs, wire.presigned(endpoints["MASTER", "WSS"], own, limited))[:2] == (
        403,
        "AccessDeniedException",
    )


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Kvs]:
    """A service of this test's own."""
    with serving(tmp_path / "fresh") as service:
        yield service


def test_a_revoked_key_is_refused_and_its_sockets_are_cut(fresh: Kvs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", fresh.ca_file)
    key = fresh.create_key()
    arn = fresh.create("revoked")
    client = fresh.client(credentials=key)
    client.list_signaling_channels()
    with wire.opened(fresh, wire.presigned(fresh.endpoints(arn)["MASTER", "WSS"], arn, key)) as master:
        fresh.command("key", "revoke", key.access_key_id)
        with pytest.raises(ConnectionClosed):
            master.receive()
        assert master.close_code == 1008
    said = refused(ClientError, client.list_signaling_channels)
    assert (said["Error"]["Code"], status_of(said)) == ("UnrecognizedClientException", 403)
    fresh.client().list_signaling_channels()
    fresh.assert_quiet()


def test_endpoints_and_arns_stay_the_same_across_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, note: Note
) -> None:
    """[21, 40]"""
    home = tmp_path / "restarted"
    with serving(home) as first:
        monkeypatch.setenv("AWS_CA_BUNDLE", first.ca_file)
        arn = first.create("stays")
        before = first.endpoints(arn)
    ports = [first.http.rpartition(":")[2], first.https.rpartition(":")[2]]
    with serving(home, "--http-port", ports[0], "--https-port", ports[1]) as second:
        assert second.client(credentials=first.key).describe_signaling_channel(ChannelName="stays")
        assert second.endpoints(arn) == before
        with wire.opened(second, wire.presigned(before["MASTER", "WSS"], arn, first.key)):
            note(
                f"boto3 {boto3.__version__}",
                "a restart of the service",
                "old key, ARN and endpoints are good, by websocket too",
            )
