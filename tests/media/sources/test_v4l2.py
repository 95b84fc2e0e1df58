"""A V4L2 camera without one: FFmpeg's reader on a device that a preloaded library plays, in a program of its own."""

import json
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import pytest

from media.sources.source import SetupError, SourceError
from media.sources.uri import V4l2
from media.sources.v4l2 import V4l2Stream, _failure
from tests.media.sources.clips import shaded, write_h264

SOURCE = Path(__file__).parent / "video_device.c"
DEVICE = "/dev/video_of_a_test"
READER = """
import itertools, json, sys, time
from media.sources import uri
from media.sources.source import Picture, SourceError
from media.sources.v4l2 import V4l2Stream
try:
    stream = V4l2Stream(uri.parse(sys.argv[1]))
except SourceError as error:
    print(json.dumps({"kind": type(error).__name__, "error": str(error)}))
    sys.exit()
start, items, error = time.monotonic(), [], ""
try:
    for item in itertools.islice(stream.items(stream.facts, lambda: time.monotonic() - start), 25):
        frame = item.frame if isinstance(item, Picture) else None
        items.append({
            "time_s": item.time_s,
            "key": None if frame else item.is_key,
            "size": [frame.width, frame.height] if frame else None,
            "luma": bytes(frame.planes[0])[0] if frame else None,
        })
except SourceError as end:
    error = str(end)
stream.close()
facts = stream.facts
print(json.dumps({
    "size": [facts.width, facts.height], "fps": facts.fps, "passes": [codec.value for codec in facts.passes],
    "note": facts.note, "items": items, "error": error,
}))
"""

Run = Callable[..., dict[str, object]]
slow = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Reads a URI in a program that has the camera."""
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("there is no C compiler")
    library = tmp_path_factory.mktemp("camera") / "video.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(SOURCE), "-ldl"], check=True)

    def run(query: str, **more: object) -> dict[str, object]:
        own = {f"VIDEO_{name.upper()}": str(value) for name, value in more.items()}
        variables = {**os.environ, "LD_PRELOAD": str(library), "VIDEO_PATH": DEVICE, **own}
        words = [sys.executable, "-c", READER, f"v4l2:{DEVICE}{query}"]
        done = subprocess.run(words, env=variables, capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, done.stderr
        answer = json.loads(done.stdout)
        assert isinstance(answer, dict)
        return answer

    return run


def units(path: Path, packets: "list[bytes]") -> Path:
    path.write_bytes(b"".join(struct.pack("=I", len(packet)) + packet for packet in packets))
    return path


@slow
def test_raw_pictures_of_the_mode_that_is_wished(run: Run) -> None:
    got = run("?size=64x48&fps=100")
    assert (got["size"], got["fps"], got["passes"]) == ([64, 48], 100, [])
    items = got["items"]
    assert isinstance(items, list)
    assert [item["size"] for item in items] == [[64, 48]] * 25
    assert [item["luma"] for item in items] == sorted(item["luma"] for item in items)
    assert items[-1]["time_s"] - items[0]["time_s"] > 0.2


@slow
def test_mjpeg_is_decoded(run: Run, tmp_path: Path) -> None:
    context = av.CodecContext.create("mjpeg", "w")
    assert isinstance(context, av.VideoCodecContext)
    context.width, context.height, context.pix_fmt = 96, 64, "yuvj420p"
    context.time_base = Fraction(1, 25)
    grey = shaded((96, 64), 150).reformat(format="yuvj420p")
    packets = [bytes(packet) for packet in context.encode(grey)]
    got = run("?format=mjpeg&fps=100", data=units(tmp_path / "units", packets))
    items = got["items"]
    assert isinstance(items, list)
    assert [item["size"] for item in items] == [[96, 64]] * 25
    assert "mjpeg 96x64" in str(got["note"])


@slow
@pytest.mark.parametrize(("profile", "passes"), [("baseline", ["H264"]), ("main", [])])
def test_h264_of_the_camera_is_passed_on_if_baseline(run: Run, tmp_path: Path, profile: str, passes: list[str]) -> None:
    path = write_h264(tmp_path / "a.h264", profile=profile, size=(96, 64))
    with av.open(str(path)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    got = run("?format=h264&fps=100", data=units(tmp_path / "units", packets))
    items = got["items"]
    assert isinstance(items, list)
    assert got["passes"] == passes
    assert len(items) == 25
    if passes:
        assert [item["key"] for item in items] == [number % 10 == 0 for number in range(25)]


@slow
def test_camera_that_is_unplugged_is_a_dead_source(run: Run) -> None:
    got = run("?fps=100", life=5)
    items = got["items"]
    assert isinstance(items, list)
    assert len(items) == 5
    assert "is not there; is the camera plugged in?" in str(got["error"])


@slow
def test_mode_that_there_is_not_is_answered_by_all_there_are(run: Run) -> None:
    got = run("?size=320x240")
    assert got["kind"] == "SetupError"
    assert "no mode 320x240; it has h264 96x64 at 100, 25 fps; mjpeg 96x64" in str(got["error"])


@slow
@pytest.mark.parametrize(
    ("number", "kind", "words"), [(16, "SourceError", "another program"), (13, "SetupError", "group")]
)
def test_device_that_refuses_is_told(run: Run, number: int, kind: str, words: str) -> None:
    got = run("", error=number)
    assert got["kind"] == kind
    assert words in str(got["error"])


def test_missing_device_and_what_is_none_are_told() -> None:
    with pytest.raises(SourceError, match="/dev/video99 is not there"):
        V4l2Stream(V4l2("/dev/video99"))
    with pytest.raises(SetupError, match="/dev/null is no V4L2 capture device"):
        V4l2Stream(V4l2("/dev/null"))


def test_other_errors_are_told_in_words() -> None:
    assert "Input/output error" in str(_failure("/dev/video0", OSError(5, "x")))
    assert "ValueError" in str(_failure("/dev/video0", ValueError("x")))
