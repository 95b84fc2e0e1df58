"""aws-cli, unmodified, against a real `heliograph serve` with an access key: operations, endpoint settings, exit codes.

Numbers in brackets are those of the conformance checklist. Each run of the program takes most of a second: tests that
need several channels make them with boto3.
"""

import importlib.metadata
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.interop.conftest import Note
from tests.interop.kvs import Credentials, Kvs, channel_name
from tests.interop.wire import answering_master

pytestmark = [pytest.mark.interop, pytest.mark.timeout(240)]

PROGRAM = Path(sys.executable).parent / "aws"
REFUSED = 255  # what version 1 ends with when the service answers an error (version 2: 254)


class Said(msgspec.Struct, frozen=True):
    """What a run said: its exit code, its output as JSON (None when there is none), its error text."""

    code: int
    output: Any
    error: str


Aws = Callable[..., Said]


@pytest.fixture
def aws(kvs: Kvs, tmp_path: Path, note: Note) -> Aws:
    """Run `aws SERVICE OPERATION ...`; `endpoint` is the setting in its environment, AWS_ENDPOINT_URL by default."""

    def run(
        service: str,
        operation: str,
        *words: str,
        credentials: Credentials | None = None,
        endpoint: dict[str, str] | None = None,
    ) -> Said:
        settings = {"AWS_ENDPOINT_URL": kvs.https} if endpoint is None else endpoint
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "HELIOGRAPH_"))}
        done = subprocess.run(
            [PROGRAM, service, operation, *words],
            env={
                **kept,
                **kvs.client_settings(tmp_path),
                **(credentials or kvs.key).environment(),
                **settings,
                "HOME": str(tmp_path),
                "AWS_MAX_ATTEMPTS": "1",
                "AWS_PAGER": "",
            },
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        code = done.stderr.partition("error occurred (")[2].partition(")")[0]
        answer = f"exit {done.returncode} {code}".rstrip()
        note(f"aws-cli {importlib.metadata.version('awscli')}", f"{service} {operation}", answer)
        return Said(done.returncode, json.loads(done.stdout) if done.stdout.strip() else None, done.stderr)

    return run


def test_the_life_of_a_channel(aws: Aws, request: pytest.FixtureRequest) -> None:
    """[1, 3, 4, 6]"""
    name = channel_name(request)

    def call(operation: str, *words: str) -> Any:
        said = aws("kinesisvideo", operation, *words)
        assert said.code == 0, said.error
        return said.output

    def refused(code: str, operation: str, *words: str) -> None:
        said = aws("kinesisvideo", operation, *words)
        assert said.code == REFUSED
        assert f"({code})" in said.error

    arn = call("create-signaling-channel", "--channel-name", name, "--tags", "Key=room,Value=Größe 5")["ChannelARN"]
    refused("ResourceInUseException", "create-signaling-channel", "--channel-name", name)
    info = call("describe-signaling-channel", "--channel-name", name)["ChannelInfo"]
    assert (info["ChannelARN"], info["ChannelStatus"]) == (arn, "ACTIVE")
    by_arn = ("--channel-arn", arn)
    change = (*by_arn, "--current-version", info["Version"], "--single-master-configuration", "MessageTtlSeconds=90")
    assert call("update-signaling-channel", *change) is None
    refused("VersionMismatchException", "update-signaling-channel", *change)
    by_resource = ("--resource-arn", arn)
    assert call("tag-resource", *by_resource, "--tags", "Key=a,Value=b", "Key=c,Value=d") is None
    assert call("untag-resource", *by_resource, "--tag-key-list", "a", "never-there") is None
    assert call("list-tags-for-resource", *by_resource)["Tags"] == {"room": "Größe 5", "c": "d"}
    wanted = ("--single-master-channel-endpoint-configuration", "Protocols=WSS,HTTPS,Role=MASTER")
    endpoints = call("get-signaling-channel-endpoint", *by_arn, *wanted)["ResourceEndpointList"]
    assert {entry["Protocol"] for entry in endpoints} == {"WSS", "HTTPS"}
    assert call("delete-signaling-channel", *by_arn) is None
    refused("ResourceNotFoundException", "describe-signaling-channel", *by_arn)


def test_media_storage_is_disabled_and_stays_so(aws: Aws, kvs: Kvs, request: pytest.FixtureRequest) -> None:
    """[11]"""
    arn = kvs.create(channel_name(request))
    said = aws("kinesisvideo", "describe-media-storage-configuration", "--channel-arn", arn)
    assert said.output["MediaStorageConfiguration"]["Status"] == "DISABLED"
    update = ("kinesisvideo", "update-media-storage-configuration", "--channel-arn", arn)
    assert aws(*update, "--media-storage-configuration", "Status=DISABLED").code == 0
    stream = "arn:aws:kinesisvideo:us-west-2:000000000000:stream/none/1700000000000"
    said = aws(*update, "--media-storage-configuration", f"Status=ENABLED,StreamARN={stream}")
    assert (said.code, "(InvalidArgumentException)" in said.error) == (REFUSED, True)
    said = aws("kinesisvideo", "describe-mapped-resource-configuration", "--stream-arn", stream)
    assert (said.code, "(ResourceNotFoundException)" in said.error) == (REFUSED, True)


def test_signaling_and_storage_services(aws: Aws, kvs: Kvs, request: pytest.FixtureRequest) -> None:
    arn = kvs.create(channel_name(request))
    said = aws("kinesis-video-signaling", "get-ice-server-config", "--channel-arn", arn, "--client-id", "absent")
    assert all(entry["Ttl"] > 30 for entry in said.output["IceServerList"])
    offer = ("kinesis-video-signaling", "send-alexa-offer-to-master", "--channel-arn", arn)
    with answering_master(kvs, arn, "the answer"):
        said = aws(*offer, "--sender-client-id", "alexa", "--message-payload", "dGhlIG9mZmVy")
    assert said.output == {"Answer": "dGhlIGFuc3dlcg=="}
    said = aws("kinesis-video-webrtc-storage", "join-storage-session", "--channel-arn", arn)
    assert (said.code, "(InvalidArgumentException)" in said.error) == (REFUSED, True)
    viewer = ("join-storage-session-as-viewer", "--channel-arn", arn, "--client-id", "me")
    said = aws("kinesis-video-webrtc-storage", *viewer)
    assert (said.code, "(InvalidArgumentException)" in said.error) == (REFUSED, True)


def test_seven_channels_in_pages_of_two(aws: Aws, kvs: Kvs, request: pytest.FixtureRequest) -> None:
    """[7]"""
    prefix = channel_name(request)
    names = [f"{prefix}-{number}" for number in range(7)]
    for name in names:
        kvs.create(name)
    condition = f"ComparisonOperator=BEGINS_WITH,ComparisonValue={prefix}"
    words = ("--page-size", "2", "--channel-name-condition", condition)
    said = aws("kinesisvideo", "list-signaling-channels", *words)
    assert [info["ChannelName"] for info in said.output["ChannelInfoList"]] == names


@pytest.mark.parametrize("scheme", ["https", "http"])
@pytest.mark.parametrize("form", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_KINESIS_VIDEO", "--endpoint-url"])
def test_each_form_of_the_endpoint_setting_reaches_the_service(aws: Aws, kvs: Kvs, form: str, scheme: str) -> None:
    """[2]"""
    address = kvs.address(scheme)
    words, endpoint = ((form, address), {}) if form.startswith("--") else ((), {form: address})
    said = aws("kinesisvideo", "list-signaling-channels", *words, endpoint=endpoint)
    assert said.code == 0, said.error
    assert "ChannelInfoList" in said.output


@pytest.mark.parametrize("name", ["SIGNALING", "WEBRTC_STORAGE"])
def test_the_services_of_the_data_plane_have_settings_of_their_own(
    aws: Aws, kvs: Kvs, request: pytest.FixtureRequest, name: str
) -> None:
    """[2]"""
    arn = kvs.create(channel_name(request))
    endpoint = {f"AWS_ENDPOINT_URL_KINESIS_VIDEO_{name}": kvs.https}
    if name == "SIGNALING":
        said = aws("kinesis-video-signaling", "get-ice-server-config", "--channel-arn", arn, endpoint=endpoint)
        assert said.code == 0, said.error
    else:
        said = aws("kinesis-video-webrtc-storage", "join-storage-session", "--channel-arn", arn, endpoint=endpoint)
        assert "(InvalidArgumentException)" in said.error


def test_refused_credentials_end_with_the_code_of_aws(aws: Aws, kvs: Kvs) -> None:
    """[12, 13]"""
    session = kvs.session(kvs.key)
    unknown = msgspec.structs.replace(kvs.key, access_key_id="AKIAIOSFODNN7EXAMPLE")
    foreign = msgspec.structs.replace(session, session_token=kvs.session(kvs.key).session_token)
    listing = ("kinesisvideo", "list-signaling-channels")
    assert aws(*listing, credentials=session).code == 0
    for who, code in (
        (kvs.key.altered(), "InvalidSignatureException"),
        (unknown, "UnrecognizedClientException"),
        (foreign, "UnrecognizedClientException"),
    ):
        said = aws(*listing, credentials=who)
        assert said.code == REFUSED
        assert f"({code})" in said.error
