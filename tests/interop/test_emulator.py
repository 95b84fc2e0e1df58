"""boto3 and aws-cli, unmodified, and presigned websockets against the emulator, through the fixture that users get."""

import contextlib
import os
import re
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from websockets.exceptions import ConnectionClosed

from app.pytest_plugin import KvsLocal, running
from app.wiring.emulator import ACCESS_KEY_ID, SECRET_ACCESS_KEY
from tests.programs import require
from tests.websocket import Socket, connected

pytestmark = [
    pytest.mark.interop,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*:boto3.exceptions.PythonDeprecationWarning"),
]
GUIDE = Path(__file__).parents[2] / "infra" / "guides" / "emulator.md"


@pytest.fixture(scope="module")
def emulator() -> Iterator[KvsLocal]:
    with running() as emulator:
        yield emulator


@pytest.fixture
def kvs(emulator: KvsLocal) -> KvsLocal:
    emulator.reset()
    return emulator


def endpoint(kvs: KvsLocal, arn: str, role: str) -> str:
    """The websocket endpoint as boto3 finds it."""
    wanted = {"Protocols": ["WSS"], "Role": role}
    (found,) = kvs.client().get_signaling_channel_endpoint(
        ChannelARN=arn, SingleMasterChannelEndpointConfiguration=wanted
    )["ResourceEndpointList"]
    return str(found["ResourceEndpoint"])


def opened(
    kvs: KvsLocal, arn: str, role: str = "MASTER", client_id: str = ""
) -> contextlib.AbstractContextManager[Socket]:
    """A websocket by a URL that botocore has signed, over TLS."""
    query = {"X-Amz-ChannelARN": arn} | ({"X-Amz-ClientId": client_id} if client_id else {})
    request = AWSRequest("GET", f"{endpoint(kvs, arn, role)}?{urlencode(query)}")
    credentials = Credentials(kvs.access_key_id, kvs.secret_access_key)
    SigV4QueryAuth(credentials, "kinesisvideo", kvs.region, expires=299).add_auth(request)
    return connected(request.url, ssl=ssl.create_default_context(cafile=kvs.ca_file))


def create(kvs: KvsLocal, name: str = "demo") -> str:
    return str(kvs.client().create_signaling_channel(ChannelName=name)["ChannelARN"])


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_channel_is_created_and_described(kvs: KvsLocal, scheme: str) -> None:
    client = kvs.client("kinesisvideo", endpoint_url=getattr(kvs, scheme), verify=kvs.ca_file)
    arn = client.create_signaling_channel(ChannelName="demo")["ChannelARN"]
    assert arn.startswith(f"arn:aws:kinesisvideo:{kvs.region}:{kvs.account_id}:channel/demo/")
    assert client.describe_signaling_channel(ChannelName="demo")["ChannelInfo"]["ChannelARN"] == arn


def test_a_relay_is_told(kvs: KvsLocal) -> None:
    answer = kvs.client("kinesis-video-signaling").get_ice_server_config(ChannelARN=create(kvs))
    tcp = kvs.turn.replace("transport=udp", "transport=tcp")
    assert [server["Uris"] for server in answer["IceServerList"]] == [[kvs.turn, tcp]]


def test_a_reset_leaves_no_channel(kvs: KvsLocal) -> None:
    create(kvs)
    kvs.reset()
    assert kvs.client().list_signaling_channels()["ChannelInfoList"] == []


def test_a_call_fails_as_told_and_the_next_one_does_not(kvs: KvsLocal) -> None:
    client = kvs.client()
    kvs.fail("CreateSignalingChannel", "ClientLimitExceededException")
    with pytest.raises(client.exceptions.ClientLimitExceededException):
        create(kvs)
    create(kvs)


@pytest.mark.parametrize(
    ("pair", "code"),
    [
        (("AKIAHELIOGRAPHNOBODY", SECRET_ACCESS_KEY), "UnrecognizedClientException"),
        ((ACCESS_KEY_ID, "x" * 40), "InvalidSignatureException"),
    ],
)
def test_only_its_own_key_is_known(kvs: KvsLocal, pair: tuple[str, str], code: str) -> None:
    client = kvs.client("kinesisvideo", aws_access_key_id=pair[0], aws_secret_access_key=pair[1])
    with pytest.raises(ClientError) as caught:
        client.list_signaling_channels()
    assert caught.value.response["Error"]["Code"] == code


def test_programs_find_it_by_their_environment(kvs: KvsLocal, tmp_path: Path) -> None:
    create(kvs)
    aws = Path(sys.executable).with_name("aws")
    home = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    command = [str(aws), "kinesisvideo", "list-signaling-channels", "--query", "ChannelInfoList[].ChannelName"]
    answer = subprocess.run(
        [*command, "--output", "text"],
        env=home | kvs.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.stdout == "demo\n", answer.stderr


def test_the_lines_of_the_guide_work_in_a_shell(tmp_path: Path) -> None:
    require("jq")
    (lines,) = re.findall(r"```sh\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    call = "aws kinesisvideo create-signaling-channel --channel-name demo --query ChannelARN --output text"
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    answer = subprocess.run(
        ["/bin/bash", "-e", "-c", f"{lines}\n{call}\nkill %1\nwait"],
        cwd=tmp_path,
        env={**os.environ, "HOME": str(tmp_path), "PATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    assert re.fullmatch(r"arn:aws:kinesisvideo:us-west-2:000000000000:channel/demo/\d{13}\n", answer.stdout)


def ended(websocket: Socket) -> tuple[int | None, str | None]:
    """How the websocket was closed, once it is."""
    with contextlib.suppress(ConnectionClosed):
        while True:
            websocket.recv()
    return websocket.close_code, websocket.close_reason


def test_a_lifetime_of_an_hour_is_over_at_once(kvs: KvsLocal) -> None:
    with opened(kvs, create(kvs)) as master:
        kvs.advance(3600)
        assert ended(master) == (1001, "the lifetime of a connection is over")


def test_ten_idle_minutes_are_over_too(kvs: KvsLocal) -> None:
    with opened(kvs, create(kvs), "VIEWER", "v1") as viewer:
        kvs.advance(500)  # real time goes on beside it: a slow machine has a minute and more
        viewer.send("")
        kvs.advance(500)
        kvs.advance(100)
        assert ended(viewer) == (1001, "idle for 600 s")


def test_a_held_offer_waits_for_its_time_to_live_and_no_longer(kvs: KvsLocal) -> None:
    arn = create(kvs)
    with opened(kvs, arn, "VIEWER", "v1") as viewer:
        offer = '{"action":"SDP_OFFER","messagePayload":"e30=","correlationId":"c%d"}'
        viewer.send(offer % 1)
        _until_held(viewer)
        kvs.advance(30)  # the rest is for a slow machine to open a websocket in
        with opened(kvs, arn) as master:
            assert '"SDP_OFFER"' in str(master.recv())
        kvs.advance(0)  # answered after the master's end was heard
        viewer.send(offer % 2)
        _until_held(viewer)
        kvs.advance(60)
        assert '"correlationId":"c2"' in str(viewer.recv())
        with opened(kvs, arn) as master, pytest.raises(TimeoutError):
            master.recv(0.1)


def _until_held(websocket: Socket) -> None:
    """A pong comes once what was sent before was read."""
    websocket.ping()


def test_a_client_is_told_to_go_away(kvs: KvsLocal) -> None:
    arn = create(kvs)
    with opened(kvs, arn) as master:
        assert kvs.send(arn, "GO_AWAY") == 1
        assert '"messageType":"GO_AWAY"' in str(master.recv())
        kvs.cut(arn, 4000, "as asked")
        assert ended(master) == (4000, "as asked")


def test_a_reset_closes_what_is_open(kvs: KvsLocal) -> None:
    with opened(kvs, create(kvs)) as master:
        kvs.reset()
        assert ended(master)[0] == 1001
