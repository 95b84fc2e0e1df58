"""`heliograph move`: what an operator reads, and a house that outgrows its machine, with real processes."""

import contextlib
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from app import cli, cli_key, cli_move, cli_token
from app.exits import CommandError, Exit
from app.settings import load
from app.wiring.move import Report
from channels.moving import Conflict, Tally
from tests.nodes import LIMIT_S, Node
from tests.redis_server import RedisServer
from tests.running import STOP_LIMIT_S, heliograph

ARN = "arn:aws:kinesisvideo:us-west-2:000000000000:channel/door/1700000000000"


class Shown:
    """The command over a report that is given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def of(self, *words: str, conflicts: int = 0) -> tuple[str, str, Exit]:
        """What is on stdout, on stderr, and the exit code."""
        is_trial = "--dry-run" in words
        taken = Tally(1, 2, [Conflict(ARN, "it is there in another version")] * conflicts)
        report = Report("/data", "redis://r:6379", is_trial, Tally(4), Tally(there=7), Tally(10, 0), taken)
        self._monkeypatch.setattr(cli_move, "move", lambda *_, **more: report if more["is_trial"] == is_trial else None)
        arguments = cli.build_parser().parse_args(["move", *words])
        try:
            code = cli_move.run(arguments, load({}, {}))
        except CommandError as error:
            code = error.code
            print(error)
        out, told = self._capsys.readouterr()
        return out, told, code


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shown:
    return Shown(monkeypatch, capsys)


TABLE = """
             moved  there before  conflicts
channels     1      2             {conflicts}
access keys  10     0             0
revocations  0      7             0
shared keys  4      0             0
"""


def test_a_table_says_what_became_of_each_kind(shown: Shown) -> None:
    out, told, code = shown.of()
    assert out == "moved from /data to redis://r:6379:\n" + TABLE.format(conflicts=0)
    assert told == "heliograph: now start `heliograph serve --redis URL`, on each machine; /data is as it was\n"
    assert code is Exit.OK


def test_a_trial_says_what_would_be_done(shown: Shown) -> None:
    out, told, code = shown.of("--dry-run")
    assert out == "would move from /data to redis://r:6379:\n" + TABLE.format(conflicts=0)
    assert (told, code) == ("", Exit.OK)


def test_conflicts_are_told_one_by_one_up_to_twenty_and_fail(shown: Shown) -> None:
    out, told, code = shown.of(conflicts=23)
    assert TABLE.format(conflicts=23) in out
    assert out.endswith("23 in conflict: Redis keeps what it has, and the data folder what it had\n")
    lines = told.splitlines()
    assert lines[0] == f"heliograph: channels: {ARN}: it is there in another version"
    assert lines[20:] == ["heliograph: channels: 3 more; --json has them all"]
    assert code is Exit.FAILURE


def test_json_has_all_in_one_line(shown: Shown) -> None:
    out, told, code = shown.of("--json", conflicts=1)
    assert (out.count("\n"), told, code) == (1, "", Exit.FAILURE)
    assert json.loads(out) == {
        "from": "/data",
        "to": "redis://r:6379",
        "dry_run": False,
        "channels": {
            "moved": 1,
            "there": 2,
            "conflicts": [{"name": ARN, "reason": "it is there in another version"}],
        },
        "access_keys": {"moved": 10, "there": 0, "conflicts": []},
        "revocations": {"moved": 0, "there": 7, "conflicts": []},
        "shared_keys": {"moved": 4, "there": 0, "conflicts": []},
    }
    assert shown.of("--json", "--dry-run")[2] is Exit.OK


def test_who_breaks_it_off_is_not_told_that_it_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli_move, "move", interrupted)
    with pytest.raises(CommandError, match=r"^broken off; do it again") as broken_off:
        cli_move.run(cli.build_parser().parse_args(["move"]), load({}, {}))
    assert broken_off.value.code is Exit.FAILURE


class House:
    """A machine whose service is alone at first, another one, and their Redis."""

    def __init__(self, folder: Path, redis: RedisServer, capsys: pytest.CaptureFixture[str]) -> None:
        self._folder = folder
        self._redis = redis
        self._capsys = capsys

    @contextlib.contextmanager
    def served(self, name: str, *words: str) -> Iterator[str]:
        """Serve on this machine; gives the place of the API. SIGTERM ends it."""
        node = Node(self._folder / name, "--drain-s", "1", *words)
        with contextlib.closing(node):
            yield node.start().http
            node.terminate()
            node.process.wait(STOP_LIMIT_S)

    def command(self, *words: str) -> dict[str, Any]:
        """Do `key` or `token` on the data folder of the first machine, in this process."""
        arguments = cli.build_parser().parse_args([*words, "--json"])
        run = {"key": cli_key.run, "token": cli_token.run}[arguments.command]
        loaded = load({"data_dir": str(self._folder / "first" / "state" / "heliograph")}, {})
        assert run(arguments, loaded) is Exit.OK
        found: dict[str, Any] = json.loads(self._capsys.readouterr().out)
        return found

    def move(self) -> dict[str, tuple[int, int, int]]:
        """Of each kind how many were moved, were there, and are in conflict."""
        done = heliograph("move", "--redis", self._redis.url, "--json", home=self._folder / "first")
        assert done.returncode == 0, done.stderr
        tallies = {kind: each for kind, each in json.loads(done.stdout).items() if isinstance(each, dict)}
        return {kind: (each["moved"], each["there"], len(each["conflicts"])) for kind, each in tallies.items()}


def aws(place: str, made: dict[str, Any]) -> Any:
    """The stock client with an access key or a session."""
    names = {"access_key_id": "aws_access_key_id", "secret_access_key": "aws_secret_access_key"}
    names |= {"accessKeyId": names["access_key_id"], "secretAccessKey": names["secret_access_key"]}
    names |= {"sessionToken": "aws_session_token"}
    given = {names[name]: value for name, value in made.items() if name in names}
    return boto3.client(
        "kinesisvideo", endpoint_url=place, region_name="us-west-2", config=Config(retries={"total_max_attempts": 1}),
        **given,
    )  # fmt: skip


def channels(client: Any) -> list[dict[str, Any]]:
    """All that the service says of its channels, tags included."""
    found = client.list_signaling_channels()["ChannelInfoList"]
    return [each | client.list_tags_for_resource(ResourceARN=each["ChannelARN"])["Tags"] for each in found]


def answer_to(place: str, token: str) -> int:
    """The HTTP status of a call with this token."""
    body = json.dumps({"ChannelName": "door"}).encode()
    asked = urllib.request.Request(f"{place}/describeSignalingChannel", body, {"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(asked, timeout=LIMIT_S) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_service_that_outgrows_its_machine_takes_all_with_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with RedisServer(tmp_path / "redis", appendonly=True) as redis:
        house = House(tmp_path, redis, capsys)
        with house.served("first") as place:
            key, lost = house.command("key", "create"), house.command("key", "create")
            session = house.command("key", "session", "--key", key["access_key_id"])["credentials"]
            good, bad = (str(house.command("token", "--role", "admin")["token"]) for _ in range(2))
            client = aws(place, key)
            door = client.create_signaling_channel(ChannelName="door", Tags=[{"Key": "floor", "Value": "2"}])
            client.create_signaling_channel(ChannelName="gate", SingleMasterConfiguration={"MessageTtlSeconds": 30})
            client.update_signaling_channel(
                ChannelARN=door["ChannelARN"],
                CurrentVersion=channels(client)[0]["Version"],
                SingleMasterConfiguration={"MessageTtlSeconds": 90},
            )
            for revoked in (lost["access_key_id"], bad):
                house.command("key", "revoke", revoked)
            before = channels(client)
        first = {"channels": (2, 0, 0), "access_keys": (2, 0, 0), "revocations": (2, 0, 0), "shared_keys": (4, 0, 0)}
        assert house.move() == first
        with house.served("second", "--redis", redis.url) as place:
            assert channels(aws(place, key)) == channels(aws(place, session)) == before
            assert (answer_to(place, good), answer_to(place, bad)) == (200, 403)
            with pytest.raises(ClientError, match="UnrecognizedClientException"):
                channels(aws(place, lost))
            aws(place, key).delete_signaling_channel(ChannelARN=door["ChannelARN"])
            assert house.move() == {kind: (0, moved, 0) for kind, (moved, _, _) in first.items()}
            assert channels(aws(place, key)) == before[1:]
