import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app import cli
from app.settings import Settings
from app.wiring import encoders as wiring
from media.encoders.backends import BY_NAME, Backend, LiveBitrate
from media.encoders.failure import FailureClass
from media.encoders.finding import Finding, Step
from tests.running import heliograph

NVENC = Finding(name="nvenc", step=Step.OPEN, is_compiled=True, opens=False, failure=FailureClass.DRIVER_MISSING)
X264 = Finding(
    name="x264",
    step=Step.DONE,
    is_compiled=True,
    opens=True,
    decodes_back=True,
    forces_key=True,
    bitrate=LiveBitrate.IN_PLACE,
    fps_720p=251.4,
    first_packet_ms=4.2,
    held_pictures=0,
    device="Plain CPU",
    driver="PyAV 18",
)


@pytest.fixture
def _found(monkeypatch: pytest.MonkeyPatch) -> None:
    def findings(_: Settings, refresh: bool, announce: Callable[[Backend], None]) -> Iterator[Finding]:
        announce(BY_NAME["nvenc"])
        yield NVENC
        yield X264
        if not refresh:
            yield Finding(name="vpx", step=Step.DONE)

    monkeypatch.setattr(wiring, "findings", findings)


@pytest.mark.usefixtures("_found")
def test_table_says_what_works_what_to_do_about_the_rest_and_what_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["encoders"]) == 0
    shown = capsys.readouterr()
    head, nvenc, x264, vpx, _, note, _, h264, vp8, opus = shown.out.splitlines()
    assert head.split("  ")[0] == "encoder"
    assert nvenc.split() == ["nvenc", "H264", "yes", "no", "-", "-", "-", "-", "-", "driver", "missing", "-"]
    assert "in place      251       4 ms          chosen   " in x264
    assert x264.endswith("Plain CPU, PyAV 18")
    assert "chosen" in vpx
    assert note.startswith("nvenc         driver missing: install the NVIDIA driver")
    assert h264.startswith(
        "H264          x264 (preset superfast), on the CPU since no device works; `heliograph master"
    )
    assert vp8 == "VP8           vpx (libvpx), on the CPU"
    assert opus == "opus          libopus"
    assert shown.err == "heliograph: trying nvenc (NVIDIA NVENC) ...\n"


@pytest.mark.usefixtures("_found")
def test_codec_without_encoder_is_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["encoders", "--refresh"]) == 1
    assert "VP8           nothing: viewers of this codec are refused" in capsys.readouterr().out


@pytest.mark.usefixtures("_found")
def test_json_has_the_same_in_values(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["encoders", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["chosen"] == {"H264": "x264", "VP8": "vpx", "opus": "libopus"}
    nvenc, x264, _ = data["encoders"]
    assert (nvenc["verdict"], nvenc["failure"], nvenc["opens"]) == ("driver missing", "driver missing", False)
    assert (x264["verdict"], x264["live_bitrate"], x264["fps_720p"]) == ("chosen", "in place", 251.4)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_encoders_of_this_machine_are_probed_once(tmp_path: Path) -> None:
    variables = {"XDG_CACHE_HOME": str(tmp_path)}
    first = heliograph("encoders", "--json", variables=variables)
    assert first.returncode == 0, first.stderr
    assert json.loads(first.stdout)["chosen"]["VP8"] == "vpx"
    assert "trying x264" in first.stderr
    second = heliograph("encoders", variables=variables)
    assert "trying x264" not in second.stderr
    assert "VP8           vpx" in second.stdout
    assert list(tmp_path.rglob("*.json")) == [tmp_path / "heliograph" / "encoders.json"]
