"""pytest plugin `heliograph_pytest`: the fixture `kvs_local`, an emulator of Kinesis Video Streams for each test run.

It is installed under that name, beside `app`, and imports nothing of ours: a project under test may well have a package
`app` of its own. What pytest does not load anyway is imported where it is used: runs without the fixture do not pay.

PYTEST_DONT_REWRITE: it has no assertions that pytest could explain.
"""

import contextlib
import importlib
import importlib.metadata
import json
import os
import select
import site
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import pytest

_READY_S = 60.0
_END_S = 5.0
_CALL_S = 30.0
_ARGUMENTS = "kvs_local_args"


class KvsLocalError(Exception):
    """The emulator does not start, does not answer, or refuses what it was asked."""


class KvsLocal:
    """A running emulator: where it answers, as whom to call it, and what it can be told to do.

    `ca_file` is the certificate of the authority that signed the one of `https`; both are None without TLS.
    """

    def __init__(self, ready: dict[str, Any], log: IO[bytes] | None = None) -> None:
        self.http: str = ready["http"]
        self.https: str | None = ready["https"]
        self.turn: str = ready["turn"]
        self.access_key_id: str = ready["access_key_id"]
        self.secret_access_key: str = ready["secret_access_key"]
        self.token: str = ready["token"]
        self.ca_file: str | None = ready["ca_file"]
        self.region: str = ready["region"]
        self.account_id: str = ready["account_id"]
        self._log = log
        self._session: Any = None

    def __repr__(self) -> str:
        return f"<KvsLocal {self.http}>"

    def client(self, service: str = "kinesisvideo", **more: Any) -> Any:
        """Return a boto3 client of this emulator; `more` goes to boto3, which must be installed."""
        config = importlib.import_module("botocore.config").Config(proxies={})
        if self._session is None:
            self._session = importlib.import_module("boto3.session").Session(
                aws_access_key_id=self.access_key_id,
                aws_secret_access_key=self.secret_access_key,
                region_name=self.region,
            )
        if "config" in more:
            config = config.merge(more.pop("config"))
        return self._session.client(service, **{"endpoint_url": self.http, "config": config, **more})

    def environment(self) -> dict[str, str]:
        """Return the AWS_* variables with which programs call this emulator, beside what they have anyway."""
        variables = {
            "AWS_ENDPOINT_URL_KINESIS_VIDEO": self.http,
            "AWS_ENDPOINT_URL_KINESIS_VIDEO_SIGNALING": self.http,
            "AWS_ACCESS_KEY_ID": self.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret_access_key,
            "AWS_SESSION_TOKEN": "",
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
        }
        if self.ca_file is not None:
            variables |= {"AWS_CA_BUNDLE": self.ca_file, "NODE_EXTRA_CA_CERTS": self.ca_file}
        return variables

    def reset(self) -> None:
        """Be as after the start: no channels, no websockets, no faults, the clock as it is elsewhere."""
        self._post("reset", {})

    def advance(self, seconds: float) -> float:
        """Let time jump: messages, idle and old websockets end. Returns how far the clock is ahead by now."""
        return float(self._post("clock", {"advanceSeconds": seconds})["offsetSeconds"])

    def fail(self, operation: str, error: str, times: int = 1) -> None:
        """Let the next calls of `operation` (or ConnectAsMaster, ConnectAsViewer) fail with this error code."""
        self._post("faults", {"operation": operation, "error": error, "times": times})

    def cut(self, channel_arn: str, code: int = 1001, reason: str = "cut by the emulator") -> None:
        """Close the channel's websockets by this close code."""
        self._post("cut", {"channelArn": channel_arn, "code": code, "reason": reason})

    def send(self, channel_arn: str, event: str) -> int:
        """Tell the channel's websockets GO_AWAY or RECONNECT_ICE_SERVER; returns how many heard it."""
        return int(self._post("send", {"channelArn": channel_arn, "type": event})["sent"])

    def _post(self, action: str, body: dict[str, object]) -> dict[str, Any]:
        import http.client  # alone of what stands here, pytest itself does not load it

        connection = http.client.HTTPConnection(self.http.partition("//")[2], timeout=_CALL_S)
        try:
            connection.request("POST", f"/_emulator/{action}", json.dumps(body), {"Content-Type": "application/json"})
            response = connection.getresponse()
            answer: dict[str, Any] = json.loads(response.read())
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise KvsLocalError(f"the emulator at {self.http} does not answer: {error}\n{_tail(self._log)}") from None
        finally:
            connection.close()
        if response.status != 200:
            raise KvsLocalError(f"{action}: {answer.get('message')} [{answer.get('__type')}]")
        return answer


@contextlib.contextmanager
def running(arguments: Sequence[str] = ()) -> Iterator[KvsLocal]:
    """Run an emulator of its own while the block runs; it ends with this process, however that ends.

    Raises: KvsLocalError with what it said when it does not start.
    """
    ours, theirs = socket.socketpair()  # it reads end-of-file when we are gone
    with ours, tempfile.TemporaryFile() as log:
        with theirs:
            process = subprocess.Popen(  # noqa: S603  # our own program
                [*_program(), "serve", "--emulator", "--json", "--inherited-fd", str(theirs.fileno()), *arguments],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env=_environment(),
                start_new_session=True,  # a Ctrl-C is for the test run alone
            )
        try:
            yield KvsLocal(_ready_line(process, log), log)
        finally:
            ours.close()
            try:
                process.wait(_END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _ready_line(process: "subprocess.Popen[bytes]", log: IO[bytes]) -> dict[str, Any]:
    line = b""
    if process.stdout is not None:
        with process.stdout as stdout:
            readable, _, _ = select.select([stdout], [], [], _READY_S)
            line = stdout.readline() if readable else b""
    if not line:
        raise KvsLocalError(f"the emulator did not start\n{_tail(log)}")
    ready: dict[str, Any] = json.loads(line)
    return ready


def _tail(log: IO[bytes] | None) -> str:
    if log is None or log.closed:
        return ""
    log.seek(0)
    return log.read().decode(errors="replace")[-4000:]


def _program() -> list[str]:
    script = Path(sys.executable).with_name("heliograph")
    return [str(script)] if script.exists() else [sys.executable, "-P", "-m", "app"]


def _environment() -> dict[str, str]:
    """What the emulator gets: no settings meant for another service, no path on which a foreign `app` comes first."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HELIOGRAPH_")}
    try:
        home = Path(str(importlib.metadata.distribution("heliograph").locate_file("")))
    except importlib.metadata.PackageNotFoundError:
        return kept
    if (home / "app" / "__main__.py").exists():  # else it is installed as a checkout, or not at all
        kept.pop("PYTHONPATH", None)
        if str(home.resolve()) not in (str(Path(path).resolve()) for path in site.getsitepackages()):
            kept["PYTHONPATH"] = str(home)
    return kept


def pytest_addoption(parser: pytest.Parser) -> None:
    """Know the one option of a project's settings."""
    parser.addini(_ARGUMENTS, "flags of `heliograph serve --emulator` for kvs_local", "args", [])


@pytest.fixture(scope="session")
def _kvs_local_of_this_run(pytestconfig: pytest.Config) -> Iterator[KvsLocal]:
    with running(pytestconfig.getini(_ARGUMENTS)) as emulator:
        yield emulator


@pytest.fixture
def kvs_local(_kvs_local_of_this_run: KvsLocal) -> KvsLocal:
    """An emulator of Kinesis Video Streams WebRTC: one process for the whole run, reset before each test."""
    _kvs_local_of_this_run.reset()
    return _kvs_local_of_this_run
