"""schemathesis, unmodified, over openapi.yaml against a real `heliograph serve`: all answers are as it declares."""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from channels.names import Role
from channels.service import ServiceClient
from channels.signaling.client import ClientSettings, SignalingClient, SignalingConnection
from media.recording.names import Segment
from tests.running import FREE_PORTS, heliograph, running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

ROOT = Path(__file__).parent.parent.parent
HOOKS = "tests.interop.schemathesis_hooks"
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
EXAMPLES = 25  # of each operation, beside those that schemathesis makes of the schema's own bounds
OPERATIONS = 23
LEAST_CASES = 1000
EMULATOR = "^/_emulator/"  # paths that only an emulator has
ANSWERED, SPARE, OTHERS = 2, 30, 20


class Ready:
    """A running service with channels in it."""

    def __init__(self, endpoint: str, token: str) -> None:
        self.endpoint = endpoint
        self.token = token
        self._client = ServiceClient(endpoint, token)

    async def create(self, prefix: str, count: int) -> dict[str, str]:
        """Make channels; their versions by ARN."""
        versions = {}
        for number in range(count):
            made = await self._client.call("/createSignalingChannel", {"ChannelName": f"{prefix}-{number}"})
            found = await self._client.call("/describeSignalingChannel", {"ChannelARN": made["ChannelARN"]})
            versions[made["ChannelARN"]] = found["ChannelInfo"]["Version"]
        return versions

    @contextlib.asynccontextmanager
    async def answering(self, channel: str) -> AsyncIterator[None]:
        """A master of this channel that answers every offer at once."""
        client = SignalingClient(ClientSettings(self.endpoint, self.token, channel, Role.MASTER))
        connection = await client.open()
        async with asyncio.TaskGroup() as group:
            answering = group.create_task(answer(connection))
            yield
            answering.cancel()
            await connection.close()


async def answer(connection: SignalingConnection) -> None:
    async for message in connection:
        await connection.send("SDP_ANSWER", b"{}", message.sender_client_id)


async def schemathesis(ready: Ready, channels: dict[str, Any], folder: Path, *paths: str) -> tuple[int, str]:
    """Run it over the operations that `paths` choose; its exit code and what it wrote.

    Deterministic in CI, where a failure must come from the change.
    """
    chance = ("--generation-deterministic",) if os.environ.get("CI") == "true" else ("--generation-database", "none")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()", "run"),
        *(str(ROOT / "openapi.yaml"), "--url", ready.endpoint, "--header", f"Authorization: Bearer {ready.token}"),
        *("--checks", ",".join(CHECKS), "--max-examples", str(EXAMPLES), "--continue-on-failure"),
        *paths,
        *("--request-timeout", "10", "--warnings", "off", "--no-color", *chance),
        *("--report", "json", "--report-json-path", str(folder / "report.json")),
        cwd=folder,
        env=os.environ
        | {
            "PYTHONPATH": str(ROOT),
            "SCHEMATHESIS_HOOKS": HOOKS,
            "HELIOGRAPH_CHANNELS": json.dumps(channels),
            "COLUMNS": "120",
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


async def test_every_answer_is_one_that_openapi_yaml_declares(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home"
    recordings = tmp_path / "recordings"
    segment = Segment(0, 0, 1_764_133_190_000, 2_000, "aaaaaaaa")
    folder = recordings / "000000000000" / "answered-0" / segment.hour
    folder.mkdir(parents=True)
    (folder / segment.file).write_bytes(b"segment")
    flags = ("--limits-profile", "relaxed", "--recordings", str(recordings))
    with running("serve", *FREE_PORTS, *flags, home=home) as started:
        token = heliograph("token", "--role", "admin", "--channel", "*", home=home).stdout.strip()
        ready = Ready(started["http"], token)
        answered = await ready.create("answered", ANSWERED)
        channels = {
            "answered": list(answered),
            "spare": list(await ready.create("spare", SPARE)),
            "versions": answered | await ready.create("other", OTHERS),
        }
        async with contextlib.AsyncExitStack() as masters:
            for name in (f"answered-{number}" for number in range(ANSWERED)):
                await masters.enter_async_context(ready.answering(name))
            code, output = await schemathesis(ready, channels, tmp_path, "--exclude-path-regex", EMULATOR)
    assert code == 0, output[-8000:]
    report = json.loads(await asyncio.to_thread((tmp_path / "report.json").read_text))
    operations, cases = report["operations"], report["test_cases"]
    with capsys.disabled():
        print(f"\nschemathesis: {cases['generated']} cases, {operations['tested']} operations, all answers as declared")
    assert operations["tested"] == operations["selected"] >= OPERATIONS, operations
    assert cases["generated"] >= LEAST_CASES
    assert not _faults(await asyncio.to_thread(Path(started["log"]).read_text))


async def test_so_is_every_answer_of_the_emulator(tmp_path: Path) -> None:
    with running("serve", "--emulator", home=tmp_path / "home") as started:
        ready = Ready(started["http"], started["token"])
        versions = await ready.create("other", 1)
        channels = {"answered": [], "spare": [], "versions": versions}
        code, output = await schemathesis(ready, channels, tmp_path, "--include-path-regex", EMULATOR)
    assert code == 0, output[-8000:]
    operations = json.loads(await asyncio.to_thread((tmp_path / "report.json").read_text))["operations"]
    assert operations["tested"] == operations["selected"] == 6, operations
    assert "operation failed" not in await asyncio.to_thread(Path(started["log"]).read_text)


def _faults(log: str) -> list[str]:
    """What the service logged as its own fault."""
    return [line for line in log.splitlines() if line.startswith("{") and json.loads(line)["level"] == "error"]
