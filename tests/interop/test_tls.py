"""Stock clients over TLS against a real `heliograph serve --tls`, trusting its CA as its start tells them to."""

import base64
import json
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import SSLError
from cryptography import x509
from websockets.asyncio.client import ClientConnection, connect

from app.certificates import Pair
from tests.certificates import made, trusting
from tests.interop import node
from tests.programs import require
from tests.running import FREE_PORTS, environment, heliograph, running

pytestmark = [
    pytest.mark.interop,
    pytest.mark.timeout(240),
    pytest.mark.filterwarnings("ignore:.*:boto3.exceptions.PythonDeprecationWarning"),
]
TLS = ("--tls", "--https-port", "0")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, Any]]]:
    home = tmp_path_factory.mktemp("service")
    with running("serve", *FREE_PORTS, *TLS, "--tls-names", "*.kvs.test", home=home) as ready:
        yield home, ready


def mint(home: Path) -> str:
    done = heliograph("token", "--role", "admin", home=home)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def client(endpoint: str, token: str, verify: str | None) -> Any:
    """A stock client that carries a token in the place of a signature."""
    session = boto3.Session("AKIAIOSFODNN7EXAMPLE", "secret", region_name="us-west-2")
    config = Config(retries={"total_max_attempts": 1}, proxies={}, signature_version=UNSIGNED)
    stock = session.client("kinesisvideo", endpoint_url=endpoint, config=config, verify=verify)

    def authorize(request: Any, **_: Any) -> None:
        request.headers["Authorization"] = f"Bearer {token}"

    stock.meta.events.register("before-send", authorize)
    return stock


def endpoints(stock: Any, arn: str, role: str) -> dict[str, str]:
    configuration = {"Protocols": ["WSS", "HTTPS"], "Role": role}
    answer = stock.get_signaling_channel_endpoint(
        ChannelARN=arn, SingleMasterChannelEndpointConfiguration=configuration
    )
    return {item["Protocol"]: item["ResourceEndpoint"] for item in answer["ResourceEndpointList"]}


@pytest.mark.parametrize("by", ["verify", "variable"])
def test_boto3_trusts_the_ca_by_argument_and_by_variable(
    service: tuple[Path, dict[str, Any]], by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, ready = service
    token = mint(home)
    with pytest.raises(SSLError):
        client(ready["https"], token, None).list_signaling_channels()
    if by == "variable":
        monkeypatch.setenv("AWS_CA_BUNDLE", ready["ca_file"])
    stock = client(ready["https"], token, ready["ca_file"] if by == "verify" else None)
    arn = stock.create_signaling_channel(ChannelName=f"by-{by}")["ChannelARN"]
    place = ready["https"].removeprefix("https://")
    for role in ("MASTER", "VIEWER"):
        assert endpoints(stock, arn, role) == {"WSS": f"wss://{place}/{role.lower()}", "HTTPS": ready["https"]}


def test_boto3_without_the_ca_is_answered_http_and_told_of_wss(service: tuple[Path, dict[str, Any]]) -> None:
    home, ready = service
    stock = client(ready["http"], mint(home), None)
    arn = stock.create_signaling_channel(ChannelName="plain")["ChannelARN"]
    place = ready["https"].removeprefix("https://")
    assert endpoints(stock, arn, "MASTER") == {"WSS": f"wss://{place}/master", "HTTPS": ready["http"]}


def url_of(endpoint: str, arn: str, token: str, **more: str) -> str:
    query = "&".join(f"{name}={value}" for name, value in {"X-Amz-ChannelARN": arn, "token": token, **more}.items())
    return f"{endpoint}?{query}"


async def exchange(master: ClientConnection, viewer: ClientConnection) -> None:
    payload = base64.b64encode(b"v=0").decode()
    await viewer.send(json.dumps({"action": "SDP_OFFER", "messagePayload": payload}))
    frame = json.loads(await master.recv())
    assert (frame["messageType"], frame["messagePayload"], frame["senderClientId"]) == ("SDP_OFFER", payload, "v1")


async def test_websockets_of_python_meet_over_wss(service: tuple[Path, dict[str, Any]]) -> None:
    home, ready = service
    token = mint(home)
    stock = client(ready["https"], token, ready["ca_file"])
    arn = stock.create_signaling_channel(ChannelName="python")["ChannelARN"]
    trust = trusting(Path(ready["ca_file"]))
    async with (
        connect(
            url_of(endpoints(stock, arn, "MASTER")["WSS"], arn, token, **{"X-Amz-ClientId": "MASTER"}), ssl=trust
        ) as master,
        connect(
            url_of(endpoints(stock, arn, "VIEWER")["WSS"], arn, token, **{"X-Amz-ClientId": "v1"}), ssl=trust
        ) as viewer,
    ):
        await exchange(master, viewer)


async def test_under_a_wildcard_name_each_role_connects_at_its_own_host(tmp_path: Path) -> None:
    words = ("--endpoint-wildcard", "*.kvs.test")
    seen = []
    for _ in range(2):
        with running("serve", *FREE_PORTS, *TLS, *words, home=tmp_path) as ready:
            token = mint(tmp_path)
            stock = client(ready["https"], token, ready["ca_file"])
            found = stock.list_signaling_channels()["ChannelInfoList"]
            arn = found[0]["ChannelARN"] if found else stock.create_signaling_channel(ChannelName="w")["ChannelARN"]
            port = urlsplit(ready["https"]).port
            trust = trusting(Path(ready["ca_file"]))
            urls = [endpoints(stock, arn, role)["WSS"] for role in ("MASTER", "VIEWER")]
            assert {urlsplit(url).port for url in urls} == {port}
            seen.append([str(urlsplit(url).hostname) for url in urls])
            to = {"host": "127.0.0.1", "port": port, "ssl": trust}
            async with (
                connect(url_of(urls[0], arn, token), **to) as master,
                connect(url_of(urls[1] + "//", arn, token, **{"X-Amz-ClientId": "v1"}), **to) as viewer,
            ):
                await exchange(master, viewer)
    assert seen[0] == seen[1]
    assert [host[:2] for host in seen[0]] == ["m-", "v-"]


NODE = """
const [url, token] = process.argv.slice(1);
const headers = { Authorization: `Bearer ${token}`, "Content-Type": "application/json" };
fetch(`${url}/listSignalingChannels`, { method: "POST", headers, body: "{}" }).then(
  async (answer) => console.log(answer.status, Object.keys(await answer.json()).join()),
  (error) => console.log(error.cause.code),
);
"""


def test_node_trusts_the_ca_by_its_variable(service: tuple[Path, dict[str, Any]]) -> None:
    home, ready = service
    command = [require("node"), "-e", NODE, ready["https"], mint(home)]
    said = []
    for extra in ({}, {"NODE_EXTRA_CA_CERTS": ready["ca_file"]}):
        run = subprocess.run(command, capture_output=True, text=True, env=environment(home) | extra, check=True)
        said.append(run.stdout.strip())
    assert said == ["UNABLE_TO_VERIFY_LEAF_SIGNATURE", "200 ChannelInfoList"]


def test_the_stock_signaling_client_of_javascript_meets_over_wss(service: tuple[Path, dict[str, Any]]) -> None:
    node.install_packages()
    home, ready = service
    token = mint(home)
    stock = client(ready["https"], token, ready["ca_file"])
    arn = stock.create_signaling_channel(ChannelName="javascript")["ChannelARN"]
    given = {"arn": arn, "token": token}
    for role in ("MASTER", "VIEWER"):
        given[f"{role.lower()}Endpoint"] = endpoints(stock, arn, role)["WSS"]
    result = node.run("kvs_clients.mjs", "exchange", given=given, home=home, ca_file=ready["ca_file"])
    assert [offer["clientId"] for offer in result["offers"]] == ["watching"]


def reads(connection: socket.socket, place: str, path: str, body: dict[str, str], token: str) -> list[bytes]:
    """What each read of the C SDK's kind brings of an answer: one request per connection, 4 KB at a time."""
    data = json.dumps(body)
    head = f"POST {path} HTTP/1.1\r\nHost: {place}\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n"
    connection.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n{data}".encode())
    found = []
    while piece := connection.recv(4096):
        found.append(piece)
    return found


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_the_largest_answers_that_the_c_sdk_reads_come_in_one_piece(
    service: tuple[Path, dict[str, Any]], scheme: str
) -> None:
    home, ready = service
    token = mint(home)
    stock = client(ready["http"], token, None)
    tags = [{"Key": f"{number:02}" + "k" * 126, "Value": "v" * 256} for number in range(50)]
    arn = stock.create_signaling_channel(ChannelName=scheme[-1] * 256, Tags=tags)["ChannelARN"]
    place = ready[scheme].partition("//")[2]
    host, port = place.split(":")
    for path in ("/describeSignalingChannel", "//v1/get-ice-server-config", "/getSignalingChannelEndpoint"):
        with socket.create_connection((host, int(port)), 5) as plain:
            trust = trusting(Path(ready["ca_file"]))
            wrapped = trust.wrap_socket(plain, server_hostname=host) if scheme == "https" else plain
            with wrapped as connection:
                found = reads(connection, place, path, {"ChannelARN": arn}, token)
        assert len(found) == 1, path
        head, _, body = found[0].partition(b"\r\n\r\n")
        lines = head.lower().decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines[1:])
        assert lines[0] == "http/1.1 200 ok"
        assert int(headers["content-length"]) == len(body)
        assert {"date", "x-amzn-requestid"} <= set(headers)
        assert not {"content-encoding", "transfer-encoding"} & set(headers)
        assert len(found[0]) < 3500


def served(place: str, trust: ssl.SSLContext) -> int:
    """The serial number that a new client sees."""
    host, port = place.split(":")
    with (
        socket.create_connection((host, int(port)), 5) as plain,
        trust.wrap_socket(plain, server_hostname=host) as secure,
    ):
        peer = secure.getpeercert(binary_form=True)
    assert peer is not None
    return x509.load_der_x509_certificate(peer).serial_number


def put(pair: Pair, certificate: Path, key: Path) -> None:
    """Put another pair in the place of the one that is served, one file after the other."""
    for source, target in ((pair.certificate, certificate), (pair.key, key)):
        draft = target.with_suffix(".draft")
        shutil.copy(source, draft)
        draft.replace(target)


def other_than(before: int, place: str, trust: ssl.SSLContext) -> int:
    """Wait for another certificate, a second or two; the limit of the test ends it."""
    while (serial := served(place, trust)) == before:
        time.sleep(0.05)
    return serial


async def test_given_files_are_read_again_and_open_connections_live(tmp_path: Path) -> None:
    old, new = (made(tmp_path / name) for name in ("old", "new"))
    certificate, key = tmp_path / "server.pem", tmp_path / "server.key"
    put(old.pair, certificate, key)
    trust = ssl.create_default_context(cafile=old.ca)
    trust.load_verify_locations(new.ca)
    words = ("--tls-certificate", str(certificate), "--tls-key", str(key))
    with running("serve", *FREE_PORTS, *TLS, *words, home=tmp_path / "home") as ready:
        assert "ca_file" not in ready
        token = mint(tmp_path / "home")
        stock = client(ready["http"], token, None)
        arn = stock.create_signaling_channel(ChannelName="reload")["ChannelARN"]
        url = url_of(endpoints(stock, arn, "VIEWER")["WSS"], arn, token, **{"X-Amz-ClientId": "v1"})
        place = ready["https"].removeprefix("https://")
        async with connect(url, ssl=trust) as connection:
            before = served(place, trust)
            put(new.pair, certificate, key)
            after = other_than(before, place, trust)
            await (await connection.ping())
    assert after == x509.load_pem_x509_certificate(new.pair.certificate.read_bytes()).serial_number
