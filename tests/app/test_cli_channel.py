import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest

from app import cli_channel
from app.exits import CommandError, Exit
from app.settings import load

INFO = {
    "ChannelName": "front",
    "ChannelARN": "arn:aws:kinesisvideo:us-west-2:000000000000:channel/front/1",
    "ChannelStatus": "ACTIVE",
    "CreationTime": 1795256464.613,
    "SingleMasterConfiguration": {"MessageTtlSeconds": 30},
    "Version": "v",
}


class Service(BaseHTTPRequestHandler):
    """Answers as the API does, and remembers what it was asked."""

    asked: list[tuple[str, Any]]
    usage: tuple[int, Any] = (404, {"__type": "UnknownOperationException", "message": "no such path"})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append((self.path, body))
        status, answer = self.answer(body)
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def answer(self, body: Any) -> tuple[int, Any]:
        if body.get("ChannelName") == "gone":
            return 404, {"__type": "ResourceNotFoundException", "Message": "there is no channel named gone"}
        match self.path:
            case "/createSignalingChannel":
                return 200, {"ChannelARN": INFO["ChannelARN"]}
            case "/describeSignalingChannel":
                return 200, {"ChannelInfo": INFO}
            case "/v1/relay-usage":
                return self.usage
            case "/listSignalingChannels" if "NextToken" not in body:
                return 200, {"ChannelInfoList": [INFO], "NextToken": "bW9yZQ=="}
            case "/listSignalingChannels":
                return 200, {"ChannelInfoList": [INFO | {"ChannelName": "porch"}]}
        return 200, {}

    def log_message(self, format: str, *args: object) -> None:
        return


@pytest.fixture
def service() -> Iterator[HTTPServer]:
    Service.asked = []
    with HTTPServer(("127.0.0.1", 0), Service) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def run(service: HTTPServer, verb: str, **given: object) -> None:
    values = {"verb": verb, "json": False, "name": "front", "tag": [], "message_ttl": None, "prefix": ""} | given
    loaded = load({"endpoint": f"http://127.0.0.1:{service.server_port}", "token": "t"}, {})
    assert cli_channel.run(argparse.Namespace(**values), loaded) == 0


def test_create_sends_ttl_and_tags(service: HTTPServer, capsys: pytest.CaptureFixture[str]) -> None:
    run(service, "create", tag=["place=door", "empty="], message_ttl=30)
    assert Service.asked == [
        (
            "/createSignalingChannel",
            {
                "ChannelName": "front",
                "Tags": [{"Key": "place", "Value": "door"}, {"Key": "empty", "Value": ""}],
                "SingleMasterConfiguration": {"MessageTtlSeconds": 30},
            },
        )
    ]
    assert capsys.readouterr().out == f"{INFO['ChannelARN']}\n"


def test_describe_shows_lines_or_json(service: HTTPServer, capsys: pytest.CaptureFixture[str]) -> None:
    run(service, "describe")
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert lines["MessageTtlSeconds"] == "30"
    assert lines["CreationTime"] == "2026-11-21T10:21:04+00:00"
    run(service, "describe", json=True)
    assert json.loads(capsys.readouterr().out) == INFO


def test_describe_tells_what_is_relayed_where_the_service_does(
    service: HTTPServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(service, "describe")
    assert "Relay" not in capsys.readouterr().out
    used = {"allocations": 2, "bytesToPeers": 1048576, "bytesToClients": 73400320}
    monkeypatch.setattr(Service, "usage", (200, used))
    run(service, "describe")
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.split(maxsplit=1) == ["Relay", "allocations 2, bytes to peers 1,048,576, bytes to clients 73,400,320"]
    assert Service.asked[-1] == ("/v1/relay-usage", {"channelArn": INFO["ChannelARN"]})
    run(service, "describe", json=True)
    assert json.loads(capsys.readouterr().out) == INFO | {"RelayUsage": used}


def test_list_follows_the_pages(service: HTTPServer, capsys: pytest.CaptureFixture[str]) -> None:
    run(service, "list", prefix="f", json=True)
    assert [channel["ChannelName"] for channel in json.loads(capsys.readouterr().out)] == ["front", "porch"]
    condition = {"ComparisonOperator": "BEGINS_WITH", "ComparisonValue": "f"}
    assert [body["ChannelNameCondition"] for _, body in Service.asked] == [condition, condition]
    run(service, "list")
    table = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in table] == ["ChannelName", "front", "porch"]


def test_delete_finds_the_arn_first(service: HTTPServer, capsys: pytest.CaptureFixture[str]) -> None:
    run(service, "delete")
    assert Service.asked[1] == ("/deleteSignalingChannel", {"ChannelARN": INFO["ChannelARN"]})
    assert capsys.readouterr().out == f"deleted {INFO['ChannelARN']}\n"


def test_no_such_channel_has_its_exit_code(service: HTTPServer) -> None:
    environment = {"HELIOGRAPH_ENDPOINT": f"http://127.0.0.1:{service.server_port}", "HELIOGRAPH_TOKEN": "t"}
    command = [sys.executable, "-P", "-m", "app", "channel", "describe", "gone"]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=50, env=environment, check=False)
    assert answer.returncode == Exit.NOT_FOUND
    assert answer.stderr == "heliograph: there is no channel named gone [ResourceNotFoundException]\n"


def test_an_answer_of_another_program_is_told(service: HTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Service, "answer", lambda *_: (200, {}))
    for verb in ("create", "describe", "delete", "list"):
        with pytest.raises(CommandError, match=r"is another program listening there\?.*--endpoint") as caught:
            run(service, verb)
        assert caught.value.code is Exit.UNREACHABLE


def test_a_tag_without_a_value_is_told(service: HTTPServer) -> None:
    with pytest.raises(CommandError, match="a tag is KEY=VALUE"):
        run(service, "create", tag=["=door"])
    assert Service.asked == []
