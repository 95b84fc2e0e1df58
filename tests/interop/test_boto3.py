"""boto3, unmodified, against the real server: every operation of the control plane and GetIceServerConfig."""

import base64
import datetime
import email.utils
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import boto3
import pytest
import uvicorn
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError, ParamValidationError

from app import server
from app.api.channels import ChannelsApi
from app.api.ice import IceApi, IceSettings
from app.api.storage import StorageApi
from app.authenticate import Authenticator
from app.endpoints import EndpointSettings
from channels import ice
from channels.auth import token
from channels.control import ControlPlane, ControlSettings
from channels.embedded.store import SqliteStore
from channels.embedded.tickets import EmbeddedTickets
from channels.names import ChannelArn
from channels.quotas import Quotas
from tests.interop.kvs import channel_name, refused

pytestmark = [
    pytest.mark.interop,
    pytest.mark.filterwarnings("ignore:.*:boto3.exceptions.PythonDeprecationWarning"),
]
SECRET = b"a secret of the relay"
URI = "turn:127.0.0.1:3478?transport=udp"


class NoSockets:
    """This test opens no websocket."""

    async def master(self, websocket: object) -> None:
        raise NotImplementedError

    viewer = master


class Service:
    """The application as it is wired, under uvicorn in a thread of its own, on a catalog in a file."""

    def __init__(self, path: Path, quotas: Quotas, port: int = 0) -> None:
        self.settings = token.TokenSettings()
        self.key = token.new_es256_key()
        self.store = SqliteStore(path)
        control = ControlPlane(self.store, ControlSettings(quotas=quotas), wall_ms=lambda: time.time_ns() // 1_000_000)
        verifier = token.TokenVerifier([self.key], self.settings)
        apis = (
            ChannelsApi(control, EndpointSettings()),
            IceApi(control, IceSettings((URI,), SECRET), wall=time.time),
            StorageApi(control),
        )
        application = server.build(
            server.Parts(
                operations=tuple(operation for api in apis for operation in api.operations),
                authenticator=Authenticator(verifier, EmbeddedTickets(), wall=time.time, monotonic=time.monotonic),
                channel_sockets=NoSockets(),
                static=Path(server.__file__).parent / "static",
            )
        )
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port = self._listener.getsockname()[1]
        self.endpoint = f"http://127.0.0.1:{self.port}"
        config = uvicorn.Config(application, lifespan="off", log_config=None, access_log=False, server_header=False)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self._listener],))
        self._thread.start()

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join(10)
        self._listener.close()
        self.store.close()

    def mint(self, *actions: str, **more: Any) -> str:
        return token.mint(
            self.key,
            self.settings,
            subject="alice",
            actions=actions or ("*",),
            channels=("*",),
            **{"now_wall": time.time(), "lifetime_s": 600.0, **more},
        )

    def client(self, service: str = "kinesisvideo", bearer: str | None = None, **more: Any) -> Any:
        """A stock client without signatures whose requests carry a token instead."""
        made = stock_client(service, self.endpoint, signature_version=UNSIGNED, **more)
        header = f"Bearer {self.mint() if bearer is None else bearer}"

        def authorize(request: Any, **_: Any) -> None:
            request.headers["Authorization"] = header

        made.meta.events.register("before-send", authorize)
        return made


def stock_client(service: str, endpoint: str, **more: Any) -> Any:
    session = boto3.Session("AKIAIOSFODNN7EXAMPLE", "secret", region_name="us-west-2")
    config = Config(retries={"total_max_attempts": 1}, proxies={}, **more)
    return session.client(service, endpoint_url=endpoint, config=config)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    made = Service(tmp_path_factory.mktemp("catalog") / "catalog.sqlite", Quotas.relaxed())
    yield made
    made.close()


@pytest.fixture
def client(service: Service) -> Any:
    return service.client()


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A channel name of this test's own."""
    return channel_name(request)


def test_the_life_of_a_channel(client: Any, name: str) -> None:
    before = datetime.datetime.now(datetime.UTC)
    arn = client.create_signaling_channel(
        ChannelName=name,
        ChannelType="SINGLE_MASTER",
        SingleMasterConfiguration={"MessageTtlSeconds": 30},
        Tags=[{"Key": "room", "Value": "5"}],
    )["ChannelARN"]
    info = client.describe_signaling_channel(ChannelName=name)["ChannelInfo"]
    assert info == client.describe_signaling_channel(ChannelARN=arn)["ChannelInfo"]
    assert (info["ChannelStatus"], info["ChannelType"]) == ("ACTIVE", "SINGLE_MASTER")
    assert info["SingleMasterConfiguration"] == {"MessageTtlSeconds": 30}
    assert abs(info["CreationTime"] - before) < datetime.timedelta(seconds=60)
    assert len(arn.rpartition("/")[2]) == 13
    assert client.list_tags_for_resource(ResourceARN=arn)["Tags"] == {"room": "5"}

    change = {"ChannelARN": arn, "SingleMasterConfiguration": {"MessageTtlSeconds": 90}}
    client.update_signaling_channel(CurrentVersion=info["Version"], **change)
    updated = client.describe_signaling_channel(ChannelARN=arn)["ChannelInfo"]
    assert updated["SingleMasterConfiguration"] == {"MessageTtlSeconds": 90}
    assert updated["Version"] != info["Version"]
    mismatch = client.exceptions.VersionMismatchException
    assert (
        refused(mismatch, client.update_signaling_channel, CurrentVersion=info["Version"], **change)[
            "ResponseMetadata"
        ]["HTTPStatusCode"]
        == 400
    )
    refused(mismatch, client.delete_signaling_channel, ChannelARN=arn, CurrentVersion=info["Version"])

    client.delete_signaling_channel(ChannelARN=arn, CurrentVersion=updated["Version"])
    answer = refused(client.exceptions.ResourceNotFoundException, client.describe_signaling_channel, ChannelARN=arn)
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 404
    again = client.create_signaling_channel(ChannelName=name)["ChannelARN"]
    assert again != arn
    refused(client.exceptions.ResourceNotFoundException, client.describe_signaling_channel, ChannelARN=arn)


def test_a_duplicate_is_in_use(client: Any, name: str) -> None:
    client.create_signaling_channel(ChannelName=name)
    refused(client.exceptions.ResourceInUseException, client.create_signaling_channel, ChannelName=name)


def test_the_paginator_lists_each_channel_once(client: Any, name: str) -> None:
    names = [f"{name}-{number}" for number in range(7)]
    for made in names:
        client.create_signaling_channel(ChannelName=made)
    pages = list(
        client.get_paginator("list_signaling_channels").paginate(
            ChannelNameCondition={"ComparisonOperator": "BEGINS_WITH", "ComparisonValue": f"{name}-"},
            PaginationConfig={"PageSize": 2},
        )
    )
    assert [info["ChannelName"] for page in pages for info in page["ChannelInfoList"]] == names
    assert len(pages) == 4
    for page in pages[:-1]:
        assert set(page["NextToken"]) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=")
    refused(
        client.exceptions.InvalidArgumentException,
        client.list_signaling_channels,
        NextToken=base64.b64encode(b"guess").decode(),
    )


def test_tags(client: Any, name: str) -> None:
    arn = client.create_signaling_channel(ChannelName=name)["ChannelARN"]
    client.tag_resource(ResourceARN=arn, Tags=[{"Key": f"k{n}", "Value": "Größe 名前"} for n in range(50)])
    exceeded = client.exceptions.TagsPerResourceExceededLimitException
    refused(exceeded, client.tag_resource, ResourceARN=arn, Tags=[{"Key": "one", "Value": "more"}])
    many = [{"Key": f"k{n}", "Value": ""} for n in range(51)]
    refused(exceeded, client.create_signaling_channel, ChannelName=f"{name}-2", Tags=many)
    client.untag_resource(ResourceARN=arn, TagKeyList=[f"k{n}" for n in range(1, 50)])
    client.untag_resource(ResourceARN=arn, TagKeyList=["never there"])
    assert client.list_tags_for_resource(ResourceARN=arn)["Tags"] == {"k0": "Größe 名前"}


def test_endpoints_and_media_storage(client: Any, service: Service, name: str) -> None:
    arn = client.create_signaling_channel(ChannelName=name)["ChannelARN"]

    def endpoints(role: str) -> dict[str, str]:
        configuration = {"Protocols": ["WSS", "HTTPS"], "Role": role}
        answer = client.get_signaling_channel_endpoint(
            ChannelARN=arn, SingleMasterChannelEndpointConfiguration=configuration
        )
        return {item["Protocol"]: item["ResourceEndpoint"] for item in answer["ResourceEndpointList"]}

    host = f"127.0.0.1:{service.port}"
    assert endpoints("MASTER") == {"WSS": f"ws://{host}/master", "HTTPS": f"http://{host}"}
    assert endpoints("VIEWER") == {"WSS": f"ws://{host}/viewer", "HTTPS": f"http://{host}"}
    refused(
        client.exceptions.InvalidArgumentException,
        client.get_signaling_channel_endpoint,
        ChannelARN=arn,
        SingleMasterChannelEndpointConfiguration={"Protocols": ["WEBRTC"], "Role": "MASTER"},
    )
    storage = client.describe_media_storage_configuration(ChannelName=name)["MediaStorageConfiguration"]
    assert storage["Status"] == "DISABLED"


def test_ice_servers_by_the_endpoint_that_was_answered(client: Any, service: Service, name: str) -> None:
    arn = client.create_signaling_channel(ChannelName=name)["ChannelARN"]
    (https,) = client.get_signaling_channel_endpoint(
        ChannelARN=arn, SingleMasterChannelEndpointConfiguration={"Protocols": ["HTTPS"], "Role": "VIEWER"}
    )["ResourceEndpointList"]
    assert https["ResourceEndpoint"] == service.endpoint
    signaling = service.client("kinesis-video-signaling")
    (entry,) = signaling.get_ice_server_config(ChannelARN=arn, ClientId="not-connected", Service="TURN")[
        "IceServerList"
    ]
    assert entry["Uris"] == [URI]
    assert entry["Ttl"] > 30
    keys = ice.turn_keys(entry["Username"], [SECRET])
    assert keys is not None
    assert entry["Password"] in keys.passwords
    assert keys.channel == ice.channel_digest(ChannelArn.parse(arn))
    errors = signaling.exceptions
    gone = f"arn:aws:kinesisvideo:us-west-2:000000000000:channel/{name}/1700000000000"
    refused(errors.ResourceNotFoundException, signaling.get_ice_server_config, ChannelARN=gone)
    for client_id in ("two words", "aws_viewer"):
        refused(errors.InvalidArgumentException, signaling.get_ice_server_config, ChannelARN=arn, ClientId=client_id)
    denied = service.client("kinesis-video-signaling", service.mint("kvs:DescribeSignalingChannel"))
    answer = refused(denied.exceptions.NotAuthorizedException, denied.get_ice_server_config, ChannelARN=arn)
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 401


@pytest.mark.parametrize(
    ("operation", "arguments"),
    [
        ("create_signaling_channel", {"ChannelName": "two words"}),
        ("create_signaling_channel", {"ChannelName": "a" * 257}),
        ("create_signaling_channel", {"ChannelName": "x", "ChannelType": "FULL_MESH"}),
        ("create_signaling_channel", {"ChannelName": "x", "ChannelType": "STAR"}),
        ("create_signaling_channel", {"ChannelName": "x", "SingleMasterConfiguration": {"MessageTtlSeconds": 121}}),
        ("create_signaling_channel", {"ChannelName": "x", "Tags": [{"Key": "a*", "Value": "b"}]}),
        ("list_signaling_channels", {"MaxResults": 10_001}),
        ("describe_signaling_channel", {"ChannelARN": "arn:aws:kinesisvideo:us-west-2:1:channel/x"}),
        ("describe_signaling_channel", {}),
        ("delete_signaling_channel", {"ChannelARN": "demo"}),
    ],
)
def test_what_boto3_lets_through_is_refused_by_the_server(client: Any, operation: str, arguments: Any) -> None:
    answer = refused(client.exceptions.InvalidArgumentException, getattr(client, operation), **arguments)
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 400


def test_what_boto3_refuses_itself_never_arrives(client: Any) -> None:
    with pytest.raises(ParamValidationError):
        client.create_signaling_channel(ChannelName="")


def test_a_token_is_held_to_its_actions_and_to_its_time(service: Service, name: str) -> None:
    reader = service.client(bearer=service.mint("kvs:DescribeSignalingChannel"))
    answer = refused(reader.exceptions.AccessDeniedException, reader.create_signaling_channel, ChannelName=name)
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 401
    late = service.client(bearer=service.mint(now_wall=time.time() - 3600, lifetime_s=60.0))
    answer = refused(ClientError, late.list_signaling_channels)
    assert (answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]) == ("ExpiredTokenException", 403)


def test_a_signed_request_is_refused_until_signatures_are_served(service: Service) -> None:
    answer = refused(ClientError, stock_client("kinesisvideo", service.endpoint).list_signaling_channels)
    assert answer["Error"]["Code"] == "UnrecognizedClientException"
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 403


def test_without_a_credential_the_request_is_refused(service: Service) -> None:
    bare = stock_client("kinesisvideo", service.endpoint, signature_version=UNSIGNED)
    answer = refused(ClientError, bare.list_signaling_channels)
    assert answer["Error"]["Code"] == "MissingAuthenticationTokenException"


def test_the_headers_are_those_that_clients_read(client: Any) -> None:
    headers = client.list_signaling_channels()["ResponseMetadata"]["HTTPHeaders"]
    sent = email.utils.parsedate_to_datetime(headers["date"])
    assert abs(sent - datetime.datetime.now(datetime.UTC)) < datetime.timedelta(seconds=60)
    assert headers["x-amzn-requestid"]


def test_endpoints_and_arn_stay_the_same_across_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "catalog.sqlite"
    with closing(Service(path, Quotas.relaxed())) as first:
        client = first.client()
        arn = client.create_signaling_channel(ChannelName="stays")["ChannelARN"]
        before = client.get_signaling_channel_endpoint(ChannelARN=arn)["ResourceEndpointList"]
    with closing(Service(path, Quotas.relaxed(), first.port)) as second:
        client = second.client()
        assert client.describe_signaling_channel(ChannelName="stays")["ChannelInfo"]["ChannelARN"] == arn
        assert client.get_signaling_channel_endpoint(ChannelARN=arn)["ResourceEndpointList"] == before


def test_over_its_quota_a_caller_is_told_the_limit(tmp_path: Path) -> None:
    with closing(Service(tmp_path / "catalog.sqlite", Quotas.aws())) as service:
        client = service.client()
        client.create_signaling_channel(ChannelName="busy")

        def describe_often() -> None:
            for _ in range(200):
                client.describe_signaling_channel(ChannelName="busy")

        answer = refused(client.exceptions.ClientLimitExceededException, describe_often)
        assert "5 calls per second for one channel" in answer["Error"]["Message"]


def raw(service: Service, path: str, body: bytes) -> tuple[bytes, list[bytes]]:
    """Send one request as a device does, `connection: close`; return the head, and the body in its pieces."""
    request = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{service.port}\r\nAuthorization: Bearer {service.mint()}\r\n"
        f"Accept-Encoding: gzip\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", service.port)) as connection:
        connection.sendall(request.encode() + body)
        received = b""
        while b"\r\n\r\n" not in received:
            received += connection.recv(65536)
        head, _, rest = received.partition(b"\r\n\r\n")
        pieces = [rest] if rest else []
        while piece := connection.recv(65536):
            pieces.append(piece)
    return head, pieces


@pytest.mark.parametrize("slashes", ["/", "//"])
def test_answers_for_devices_come_in_one_write_below_3500_bytes(client: Any, service: Service, slashes: str) -> None:
    name = ("n" * 255) + str(len(slashes))
    tags = [{"Key": f"{n:0128}", "Value": "v" * 256} for n in range(50)]
    arn = client.create_signaling_channel(ChannelName=name, Tags=tags)["ChannelARN"]
    body = f'{{"ChannelARN": "{arn}"}}'.encode()
    for path in ("describeSignalingChannel", "getSignalingChannelEndpoint", "v1/get-ice-server-config"):
        head, pieces = raw(service, slashes + path, body)
        lines = head.lower().split(b"\r\n")
        assert lines[0] == b"http/1.1 200 ok"
        assert len(pieces) == 1, "the body must come in one piece"
        assert f"content-length: {len(pieces[0])}".encode() in lines
        assert len(pieces[0]) < 3500
        assert sum(line.startswith(b"date:") for line in lines) == 1
        assert any(line.startswith(b"x-amzn-requestid:") for line in lines)
        assert not any(line.startswith((b"transfer-encoding:", b"content-encoding:")) for line in lines)
