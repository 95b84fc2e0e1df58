import argparse
import json
import re
import ssl
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app import cli_emulator
from app.settings import SettingsError, load
from app.wiring.emulator import ACCESS_KEY_ID, SECRET_ACCESS_KEY
from channels.names import Role
from channels.signaling.client import ClientSettings, SignalingClient
from tests.running import COMMAND, Started, ends_within, environment, heliograph, started

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "infra" / "guides" / "emulator.md"
slow = pytest.mark.slow
FIELDS = [
    "http", "https", "turn", "access_key_id", "secret_access_key", "token", "ca_file", "region", "account_id",
    "ready_ms",
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("host", "0.0.0.0"),
        ("host", "::"),
        ("host", "192.0.2.1"),
        ("public_host", "kvs.example.com"),
        ("public_host", "192.0.2.1:8443"),
        ("endpoint_wildcard", "*.kvs.example.com"),
        ("turn_advertised_address", "192.0.2.1"),
    ],
)
def test_a_place_that_others_reach_is_refused_by_its_setting(name: str, place: str) -> None:
    with pytest.raises(SettingsError, match=f"{name.upper()}: .* is not this machine alone") as caught:
        cli_emulator.settings(load({name: place}, {}))
    assert caught.value.code == 2


def test_a_place_from_a_variable_is_refused_as_well() -> None:
    with pytest.raises(SettingsError, match=r"HOST: 0\.0\.0\.0"):
        cli_emulator.settings(load({}, {"HELIOGRAPH_HOST": "0.0.0.0"}))


def test_ports_that_nobody_asked_for_are_any_free_ones() -> None:
    values = cli_emulator.settings(load({"http_port": "8080", "host": "localhost"}, {"HELIOGRAPH_REGION": "eu-west-1"}))
    assert (values.http_port, values.https_port, values.turn_port, values.host) == (8080, 0, 0, "localhost")
    assert (values.region, values.log_level, values.log_format) == ("eu-west-1", "warning", "text")


@pytest.mark.parametrize(("name", "value"), [("data_dir", "/tmp/data"), ("redis_url", "redis://a")])
def test_a_place_to_keep_things_is_refused_where_it_was_asked_for(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"{name.upper()}: the emulator keeps everything in memory"):
        cli_emulator.settings(load({name: value}, {}))
    cli_emulator.settings(load({}, {f"HELIOGRAPH_{name.upper()}": value}))


def test_people_get_lines_to_paste(capsys: pytest.CaptureFixture[str]) -> None:
    where: dict[str, object] = dict.fromkeys(FIELDS, "x") | {"http": "http://127.0.0.1:8080"}
    cli_emulator._announce(argparse.Namespace(json=False), where | {"https": None, "ca_file": None})
    said = capsys.readouterr().out
    assert "export AWS_ENDPOINT_URL_KINESIS_VIDEO=http://127.0.0.1:8080 " in said
    assert "export AWS_ACCESS_KEY_ID=x AWS_SECRET_ACCESS_KEY=x\naws " in said
    assert "None" not in said
    cli_emulator._announce(argparse.Namespace(json=False), where | {"https": "https://127.0.0.1:8443"})
    said = capsys.readouterr().out
    assert "export AWS_ENDPOINT_URL_KINESIS_VIDEO=https://127.0.0.1:8443 " in said
    assert "export AWS_CA_BUNDLE=x " in said


def test_the_guide_has_every_field_route_and_key() -> None:
    guide = GUIDE.read_text()
    words = [*(f"`{field}`" for field in FIELDS), ACCESS_KEY_ID, SECRET_ACCESS_KEY]
    words += re.findall(r"^  (/_emulator/\w+):$", (ROOT / "openapi.yaml").read_text(), re.MULTILINE)
    assert len(words) == 17
    assert [word for word in words if word not in guide] == []


@pytest.fixture(scope="module")
def emulator() -> Iterator[Started]:
    with started("serve", "--emulator", ports=()) as service:
        yield service


@pytest.fixture
def fresh(emulator: Started, monkeypatch: pytest.MonkeyPatch) -> Started:
    monkeypatch.setenv("SSL_CERT_FILE", emulator.ready["ca_file"])  # whom our own client trusts
    post(emulator, "/_emulator/reset")
    return emulator


def get(service: Started, path: str) -> Any:
    with urllib.request.urlopen(service.ready["http"] + path, timeout=30) as answer:
        return json.loads(answer.read())


def post(service: Started, path: str, body: dict[str, object] | None = None) -> Any:
    request = urllib.request.Request(
        service.ready["http"] + path,
        json.dumps(body or {}).encode(),
        {"Authorization": f"Bearer {service.ready['token']}"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())


def client(service: Started, role: Role, client_id: str | None = None) -> SignalingClient:
    return SignalingClient(ClientSettings(service.ready["http"], service.ready["token"], "demo", role, client_id))


@slow
def test_the_ready_line_is_one_line_with_everything_to_begin(fresh: Started) -> None:
    ready = fresh.ready
    assert list(ready) == FIELDS
    assert (len(ready["access_key_id"]), ready["access_key_id"][:4], len(ready["secret_access_key"])) == (
        20,
        "AKIA",
        40,
    )
    assert (ready["account_id"], ready["region"]) == ("000000000000", "us-west-2")
    assert ready["turn"].startswith("turn:127.0.0.1:")
    assert post(fresh, "/createSignalingChannel", {"ChannelName": "demo"})["ChannelARN"].split(":")[4] == "0" * 12


@slow
def test_tls_is_trusted_by_its_own_ca(fresh: Started) -> None:
    trust = ssl.create_default_context(cafile=fresh.ready["ca_file"])
    with urllib.request.urlopen(fresh.ready["https"] + "/_emulator/clock", timeout=30, context=trust) as answer:
        assert json.loads(answer.read()) == {"offsetSeconds": 0.0}
    arn = post(fresh, "/createSignalingChannel", {"ChannelName": "demo"})["ChannelARN"]
    found = post(fresh, "/getSignalingChannelEndpoint", {"ChannelARN": arn})["ResourceEndpointList"]
    places = {endpoint["Protocol"]: endpoint["ResourceEndpoint"] for endpoint in found}
    assert places["HTTPS"] == fresh.ready["http"], "who asks without TLS may go on without"
    assert places["WSS"].startswith(fresh.ready["https"].replace("https", "wss"))


@slow
async def test_a_lifetime_of_an_hour_is_over_at_once(fresh: Started) -> None:
    post(fresh, "/createSignalingChannel", {"ChannelName": "demo"})
    connection = await client(fresh, Role.MASTER).open()
    assert post(fresh, "/_emulator/clock", {"advanceSeconds": 3599}) == {"offsetSeconds": 3599.0}
    async for _ in connection:
        pass
    assert (connection.close_code, connection.close_reason) == (1001, "idle for 600 s")
    connection = await client(fresh, Role.MASTER).open()
    post(fresh, "/_emulator/clock", {"advanceSeconds": 3600})
    async for _ in connection:
        pass
    assert (connection.close_code, connection.close_reason) == (1001, "the lifetime of a connection is over")


@slow
async def test_a_message_that_nobody_fetched_is_over_with_its_time(fresh: Started) -> None:
    post(fresh, "/createSignalingChannel", {"ChannelName": "demo"})
    viewer = await client(fresh, Role.VIEWER, "v1").open()
    await viewer.send("SDP_OFFER", b"late", correlation_id="c1")
    await viewer.send("ICE_CANDIDATE", b"late", correlation_id="c2")
    frames = aiter(viewer)
    post(fresh, "/_emulator/clock", {"advanceSeconds": 60})
    told = [await anext(frames), await anext(frames)]
    assert [message.status.correlation_id for message in told if message.status] == ["c1", "c2"]
    master = await client(fresh, Role.MASTER).open()
    await viewer.send("SDP_OFFER", b"in time")
    assert (await anext(aiter(master))).payload == b"in time"
    await viewer.close()
    await master.close()


@slow
async def test_a_reset_leaves_nothing_and_closes_what_is_open(fresh: Started) -> None:
    arn = post(fresh, "/createSignalingChannel", {"ChannelName": "demo"})["ChannelARN"]
    connection = await client(fresh, Role.MASTER).open()
    post(fresh, "/_emulator/clock", {"advanceSeconds": 5})
    fault = {"operation": "ListSignalingChannels", "error": "ServiceUnavailableException"}
    post(fresh, "/_emulator/faults", fault)
    post(fresh, "/_emulator/reset")
    assert post(fresh, "/listSignalingChannels")["ChannelInfoList"] == []
    async for _ in connection:
        pass
    assert connection.close_code == 1001
    assert get(fresh, "/_emulator/clock") == {"offsetSeconds": 0.0}
    assert post(fresh, "/createSignalingChannel", {"ChannelName": "demo"})["ChannelARN"] != arn
    assert (await client(fresh, Role.MASTER).ice_servers())[0].uris[0] == fresh.ready["turn"]


@slow
async def test_a_cut_channel_is_closed_by_the_code_asked_for(fresh: Started) -> None:
    arn = post(fresh, "/createSignalingChannel", {"ChannelName": "demo"})["ChannelARN"]
    connection = await client(fresh, Role.MASTER).open()
    post(fresh, "/_emulator/cut", {"channelArn": arn, "code": 1011, "reason": "as asked"})
    async for _ in connection:
        pass
    assert (connection.close_code, connection.close_reason) == (1011, "as asked")


@slow
def test_another_address_does_not_start() -> None:
    answer = heliograph("serve", "--emulator", "--host", "0.0.0.0")
    assert (answer.returncode, answer.stdout, answer.stderr.count("\n")) == (2, "", 1)
    assert answer.stderr.startswith("heliograph: HOST: 0.0.0.0 is not this machine alone")


@slow
def test_nothing_is_left_behind(tmp_path: Path) -> None:
    variables = environment(tmp_path) | {"TMPDIR": str(tmp_path)}
    command = [*COMMAND, "serve", "--emulator", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=variables) as process:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        assert ready["ready_ms"] > 0
        assert Path(ready["ca_file"]).is_relative_to(tmp_path)
        children = Started(process, {}).children()
        process.terminate()
        assert process.wait(60) == 0
    assert set(children) == {"turn"}
    assert all(ends_within(pid, 30) for pid in children.values())
    assert list(tmp_path.iterdir()) == []
