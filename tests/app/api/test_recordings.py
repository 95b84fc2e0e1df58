"""Recordings over HTTP: to whom, which parts, and nothing else."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from starlette.requests import HTTPConnection, Request

from app.api.recordings import CHANNELS, READS_AT_ONCE, RecordingsApi
from app.server import Receive, Scope, Send
from channels.auth.grant import Grant, Statement
from channels.errors import MissingAuthenticationTokenException
from media.recording.library import Blob, Library
from media.recording.names import Segment, init_file
from tests.app.api.rig import ACCOUNT, ANY, Service, grant

START = 1_764_133_190_000  # 04:59:50 UTC
SEGMENTS = [Segment(n, 0, START + 2_000 * n, 2_000, "aaaaaaaa") for n in range(10)]
FILE = f"/v1/recordings/demo/{SEGMENTS[0].hour}/{SEGMENTS[0].file}"
CONTENT = bytes(range(100))


class Rig(Service):
    """Recordings of the channels of one control plane, called as `grant`."""

    def __init__(self, root: Path, library: Library | None = None) -> None:
        super().__init__()
        self.root = root
        self.api = RecordingsApi(library or Library(root), self.control, self._judge)
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(self._application), base_url="http://kvs")

    async def _application(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self.api.answer(scope["path"], Request(scope, receive, send))
        await response(scope, receive, send)

    def _judge(self, connection: HTTPConnection, body: bytes) -> Grant:
        if "x-nobody" in connection.headers:
            raise MissingAuthenticationTokenException("no credential")
        return self.grant

    async def refused(self, path: str, **more: str) -> str:
        answer = await self.client.get(path, headers=more)
        assert answer.json()["message"]
        return f"{answer.status_code} {answer.json()['__type']}"

    def put(self, channel: str = "demo", account: str = ACCOUNT) -> None:
        for segment in SEGMENTS:
            folder = self.root / account / channel / segment.hour
            folder.mkdir(parents=True, exist_ok=True)
            (folder / segment.file).write_bytes(CONTENT)
            (folder / init_file("aaaaaaaa")).write_bytes(b"init")


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    rig = Rig(tmp_path)
    rig.put()
    await rig.create()
    yield rig
    await rig.client.aclose()
    await rig.close()


async def test_what_was_recorded_is_told_in_stretches(rig: Rig) -> None:
    answer = await rig.client.get("/v1/recordings/demo")
    body = answer.json()
    assert body["channelName"] == "demo"
    assert body["channelARN"].endswith(":channel/demo/1700000000123")
    assert body["stretches"] == [{"start": START, "end": START + 20_000}]
    assert answer.headers["cache-control"] == "no-store"


async def test_a_playlist_is_written_where_it_holds_nobody_up(tmp_path: Path) -> None:
    threads: list[threading.Thread] = []

    class Noticed(list[Segment]):
        def __iter__(self) -> Iterator[Segment]:
            threads.append(threading.current_thread())
            return super().__iter__()

    class Noticing(Library):
        def segments(self, account: str, channel: str, start_ms: int, end_ms: int) -> list[Segment]:
            return Noticed(super().segments(account, channel, start_ms, end_ms))

    rig = Rig(tmp_path, Noticing(tmp_path))
    rig.put()
    await rig.create()
    assert (await rig.client.get("/v1/recordings/demo/index.m3u8")).text.count(".m4s\n") == len(SEGMENTS)
    assert threads
    assert threading.current_thread() not in threads
    await rig.client.aclose()
    await rig.close()


async def test_a_list_has_only_channels_that_the_caller_may_see(rig: Rig) -> None:
    rig.put("front")
    rig.put("deleted")
    rig.put("theirs", account="111111111111")
    await rig.create("front")
    assert (await rig.client.get("/v1/recordings")).json() == {"channelNames": ["demo", "front"]}
    rig.grant = grant(Statement(("kinesisvideo:GetRecording",), ("arn:*:channel/front/*",)))
    assert (await rig.client.get("/v1/recordings/")).json() == {"channelNames": ["front"]}


async def test_a_list_ends_after_a_thousand_that_the_caller_may_see(tmp_path: Path) -> None:
    class Many(Library):
        def channels(self, account: str) -> list[str]:
            return [f"{account}-{number}" for number in range(CHANNELS)] + ["demo"] * (CHANNELS + 1)

    rig = Rig(tmp_path, Many(tmp_path))
    await rig.create()
    assert (await rig.client.get("/v1/recordings")).json() == {"channelNames": ["demo"] * CHANNELS}
    await rig.client.aclose()
    await rig.close()


async def test_a_playlist_is_the_last_hour_or_what_is_asked_for(rig: Rig) -> None:
    growing = await rig.client.get("/v1/recordings/demo/index.m3u8")
    assert growing.headers["content-type"].startswith("application/vnd.apple.mpegurl")
    assert growing.text.count(".m4s") == 10
    assert "ENDLIST" not in growing.text
    part = await rig.client.get(f"/v1/recordings/demo/index.m3u8?from={START + 3_000}&to={START + 7_000}")
    assert [line for line in part.text.splitlines() if line.endswith(".m4s")] == [
        f"2025-11-26T04Z/{each.file}" for each in SEGMENTS[1:4]
    ]
    assert part.text.endswith("#EXT-X-ENDLIST\n")


@pytest.mark.parametrize("words", ["from=x", "from=1&from=2", "to=99999999999999", "from=0&to=9999999999999", "to=-1"])
async def test_a_window_that_makes_no_sense_is_refused(rig: Rig, words: str) -> None:
    assert await rig.refused(f"/v1/recordings/demo/index.m3u8?{words}") == "400 InvalidArgumentException"


async def test_a_file_is_kept_by_browsers_for_ever_and_only_for_this_credential(rig: Rig) -> None:
    answer = await rig.client.get(FILE)
    assert (answer.status_code, answer.content) == (200, CONTENT)
    assert answer.headers["content-type"] == "video/iso.segment"
    assert answer.headers["cache-control"] == "private, max-age=31536000, immutable"
    assert answer.headers["vary"] == "Authorization"
    again = await rig.client.get(FILE, headers={"if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    init = await rig.client.get(f"/v1/recordings/demo/{SEGMENTS[0].hour}/init-aaaaaaaa.mp4")
    assert (init.content, init.headers["content-type"]) == (b"init", "video/mp4")


@pytest.mark.parametrize(
    ("asked", "status", "content", "told"),
    [
        ("bytes=10-19", 206, CONTENT[10:20], "bytes 10-19/100"),
        ("bytes=90-", 206, CONTENT[90:], "bytes 90-99/100"),
        ("bytes=-10", 206, CONTENT[90:], "bytes 90-99/100"),
        ("bytes=0-999", 206, CONTENT, "bytes 0-99/100"),
        ("bytes=100-", 416, b"", "bytes */100"),
        ("bytes=-0", 416, b"", "bytes */100"),
        ("bytes=20-10", 200, CONTENT, None),
        ("bytes=0-1,5-6", 200, CONTENT, None),
        ("lines=1-2", 200, CONTENT, None),
    ],
)
async def test_a_range_of_bytes(rig: Rig, asked: str, status: int, content: bytes, told: str | None) -> None:
    answer = await rig.client.get(FILE, headers={"range": asked})
    assert (answer.status_code, answer.content, answer.headers.get("content-range")) == (status, content, told)


async def test_a_range_of_a_file_that_has_changed_is_the_whole_file(rig: Rig) -> None:
    answer = await rig.client.get(FILE, headers={"range": "bytes=10-19", "if-range": '"older"'})
    assert (answer.status_code, answer.content) == (200, CONTENT)


@pytest.mark.parametrize(
    "path", ["", "/index.m3u8", f"/{SEGMENTS[0].hour}/{SEGMENTS[0].file}", f"/{SEGMENTS[0].hour}/init-aaaaaaaa.mp4"]
)
async def test_who_may_not_sees_nothing_and_is_told_why(rig: Rig, path: str, caplog: pytest.LogCaptureFixture) -> None:
    rig.grant = grant(Statement(("kinesisvideo:ConnectAsViewer", "kinesisvideo:Describe*"), ("*",)))
    with caplog.at_level(logging.INFO, "heliograph.audit"):
        assert await rig.refused(f"/v1/recordings/demo{path}") == "401 AccessDeniedException"
    (line,) = caplog.records
    assert line.__dict__["code"] == "AccessDeniedException"
    assert "kinesisvideo:GetRecording" in line.__dict__["reason"]
    assert rig.api.stats.refused == 1
    assert await rig.refused(f"/v1/recordings/nobody{path}") == "401 AccessDeniedException", "as if it were there"
    rig.grant = grant(ANY, account="111111111111")
    assert await rig.refused(f"/v1/recordings/demo{path}") == "404 ResourceNotFoundException"
    assert await rig.refused(f"/v1/recordings/demo{path}", **{"x-nobody": "1"}) == (
        "403 MissingAuthenticationTokenException"
    )


@pytest.mark.parametrize(
    "path",
    ["/nobody", "/unrecorded", "/unrecorded/index.m3u8", "/..%2f..", "/%2e%2e", "/a%20b", "/demo/other.m3u8",
     f"/demo/{SEGMENTS[0].hour}/..%2f.lock", f"/demo/{SEGMENTS[0].hour}/.lock", "/demo/%2e%2e/x.m4s",
     "/demo/%2e%2e%2f%2e%2e%2fsecret/x.m4s"],
)  # fmt: skip
async def test_what_is_no_recording_is_said_to_be_none(rig: Rig, path: str) -> None:
    await rig.create("unrecorded")
    (rig.root / ACCOUNT / "demo" / SEGMENTS[0].hour / ".lock").touch()
    answer = await rig.client.get("http://kvs/v1/recordings" + path)
    assert answer.status_code == (400 if "%20" in path else 404)
    assert answer.json()["message"]


async def test_only_reading_is_served_and_a_fault_is_told_without_details(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await rig.client.post("/v1/recordings/demo")).json()["__type"] == "UnknownOperationException"
    assert (await rig.client.head(FILE)).headers["content-length"] == "100"
    monkeypatch.setattr(Library, "read", lambda *_: 1 // 0)
    assert await rig.refused(FILE) == "500 InternalFailureException"


class Slow(Library):
    """Reads nothing before it may, and notes what is asked of it."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.spans: list[slice] = []
        self.may_read = threading.Event()
        self.may_read.set()
        self.now = self.most = 0
        self._lock = threading.Lock()

    def read(self, account: str, channel: str, hour: str, file: str, span: slice = slice(None)) -> Blob | None:
        with self._lock:
            self.spans.append(span)
            self.now += 1
            self.most = max(self.most, self.now)
        assert self.may_read.wait(15)
        with self._lock:
            self.now -= 1
        return super().read(account, channel, hour, file, span)


@pytest.fixture
async def slow(tmp_path: Path) -> AsyncIterator[tuple[Rig, Slow]]:
    library = Slow(tmp_path)
    rig = Rig(tmp_path, library)
    rig.api = RecordingsApi(library, rig.control, lambda connection, body: rig.grant, reads_waiting=3)
    rig.put()
    await rig.create()
    yield rig, library
    await rig.client.aclose()
    await rig.close()


async def test_who_wants_no_content_has_none_read(slow: tuple[Rig, Slow]) -> None:
    rig, library = slow
    head = await rig.client.head(FILE, headers={"range": "bytes=10-19"})
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", "100")
    assert head.headers["content-type"] == "video/iso.segment"
    for method in ("GET", "HEAD"):
        known = await rig.client.request(method, FILE, headers={"if-none-match": head.headers["etag"]})
        assert (known.status_code, known.content) == (304, b"")
    assert set(map(str, library.spans)) == {"slice(0, 0, None)"}
    assert (rig.api.stats.files, rig.api.stats.not_modified) == (1, 2)


async def test_reads_of_a_slow_disk_wait_for_each_other_and_are_bounded(slow: tuple[Rig, Slow]) -> None:
    rig, library = slow
    library.may_read.clear()
    async with asyncio.TaskGroup() as group:
        calls = [group.create_task(rig.client.get(FILE)) for _ in range(READS_AT_ONCE + 3)]
        while rig.api._waiting < 3:  # noqa: ASYNC110 - each is a step of the loop, not a time
            await asyncio.sleep(0)
        refused = await rig.client.get(FILE)
        library.may_read.set()
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert refused.json()["__type"] == "ServiceUnavailableException"
    assert {call.result().status_code for call in calls} == {200}
    assert library.most <= READS_AT_ONCE
    assert rig.api.stats.busy == 1
