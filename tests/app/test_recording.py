"""Recording with real processes: nothing finished is lost by SIGKILL, a restart goes on, all of it is served."""

import io
import itertools
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import av
import httpx
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from media.recording.names import Segment, init_file, read_segment
from media.sources import counter
from tests.running import COMMAND, Started, environment, started

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

SECONDS = 10


def segments(root: Path) -> list[tuple[Segment, Path]]:
    found = ((read_segment(path.name), path) for path in root.glob("*/*/*/*.m4s"))
    return sorted((segment, path) for segment, path in found if segment)


def recorded_s(root: Path) -> float:
    return sum(segment.duration_ms for segment, _ in segments(root)) / 1000


def until(condition: Callable[[], bool], limit_s: float = 120) -> None:
    ends = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.1)


def numbers(film: bytes) -> tuple[list[int], int]:
    """The frame numbers that the test pattern has in its pictures, and how many sounds there are."""
    with av.open(io.BytesIO(film)) as container:
        read = [
            counter.read(memoryview(frame.planes[0]), frame.planes[0].line_size, frame.width, frame.height)
            for frame in container.decode(video=0)
        ]
    with av.open(io.BytesIO(film)) as container:
        sounds = sum(1 for _ in container.decode(audio=0))
    return [found.number for found in read if found is not None], sounds


def packets(film: bytes) -> int:
    with av.open(io.BytesIO(film)) as container:
        return sum(packet.size > 0 for packet in container.demux(video=0))


def film(parts: list[tuple[Segment, Path]]) -> bytes:
    init = parts[0][1].with_name(init_file(parts[0][0].init))
    return init.read_bytes() + b"".join(path.read_bytes() for _, path in parts)


def master(demo: Started, root: Path) -> subprocess.Popen[str]:
    words = [*COMMAND, "master", "--channel", "camera", "--record", str(root), "--source", "test?size=320x180"]
    return subprocess.Popen(words, stderr=subprocess.DEVNULL, text=True, env=environment() | demo.variables())


def test_what_was_finished_before_sigkill_plays_to_its_last_picture_and_a_restart_goes_on(tmp_path: Path) -> None:
    with started("demo") as demo:
        with master(demo, tmp_path) as first:
            until(lambda: recorded_s(tmp_path) >= SECONDS)
            first.send_signal(signal.SIGKILL)
        killed = segments(tmp_path)
        with master(demo, tmp_path) as second:
            until(lambda: len(segments(tmp_path)) > len(killed))
            second.terminate()
            assert second.wait(60) == 0
    read, sounds = numbers(film(killed))
    assert len(read) == packets(film(killed)), "every picture that is there can be decoded"
    assert read == sorted(set(read)), "each once, in order"
    recorded = sum(segment.duration_ms for segment, _ in killed) / 1000
    assert len(read) >= recorded, "a busy machine may not encode all"
    assert abs(sounds - recorded * 50) <= 3 * 50
    everything = segments(tmp_path)
    assert [segment.number for segment, _ in everything] == list(range(len(everything)))
    assert everything[0][0].stretch == 0
    assert everything[len(killed)][0].stretch > killed[-1][0].stretch, "what was not recorded lies between"
    for before, after in itertools.pairwise(segment for segment, _ in everything):
        has_gap = after.start_ms > before.end_ms  # a machine that stalls makes one, too
        assert after.stretch - before.stretch == has_gap
    assert not list(tmp_path.rglob("*.part"))
    playlists = sorted(tmp_path.rglob("index.m3u8"))
    assert sum(path.read_text().count(".m4s\n") for path in playlists) == len(everything)
    assert "#EXT-X-ENDLIST" in playlists[-1].read_text(), "it ended in order"


def test_a_demo_records_and_serves_what_it_records(tmp_path: Path) -> None:
    with started("demo", "--recordings", str(tmp_path / "recordings"), "--source", "test?size=320x180") as demo:
        until(lambda: recorded_s(tmp_path / "recordings") > 3)
        bearer = {"Authorization": f"Bearer {demo.ready['token']}"}
        with httpx.Client(base_url=demo.ready["http"], headers=bearer) as client:
            assert client.get("/v1/recordings").json() == {"channelNames": ["demo"]}
            stretches = client.get("/v1/recordings/demo").json()["stretches"]  # several, where the machine stalled
            assert sum(each["end"] - each["start"] for each in stretches) > 3_000
            lines = client.get("/v1/recordings/demo/index.m3u8").text.splitlines()
            init = next(line.split('"')[1] for line in lines if line.startswith("#EXT-X-MAP"))
            names = [init, *(line for line in lines if line.endswith(".m4s"))]
            parts = [client.get(f"/v1/recordings/demo/{name}").content for name in names]
            assert len(numbers(b"".join(parts))[0]) >= 3
            wanted = {"scope": ["kvs:GetRecording"], "channels": ["demo"]}
            session = client.post("/v1/credentials", json=wanted).json()["credentials"]
            client.headers.clear()
            address = f"{demo.ready['http']}/v1/recordings/demo/index.m3u8?from={stretches[0]['start']}"
            signed = AWSRequest("GET", address)
            keys = Credentials(session["accessKeyId"], session["secretAccessKey"], session["sessionToken"])
            SigV4Auth(keys, "kinesisvideo", "us-west-2").add_auth(signed)
            assert ".m4s" in client.get(address, headers=dict(signed.headers)).text
            assert client.get(f"/v1/recordings/demo/{init}").status_code == 403
