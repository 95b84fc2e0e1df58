"""Probes in processes of their own: FFmpeg's own way into NVENC, with stub drivers in the place of NVIDIA's."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from media.encoders import probe
from media.encoders.backends import BY_NAME, LiveBitrate
from media.encoders.cache import Cache
from media.encoders.failure import FailureClass
from media.encoders.finding import Finding, Step
from media.encoders.probe import Mode, Probe

STUBS = Path(__file__).parent / "nvenc_stub"
CHILD = "tests.media.encoders.nvenc_stub.probe"
X264, NVENC = BY_NAME["x264"], BY_NAME["nvenc"]


@pytest.fixture(scope="module")
def drivers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("no gcc to build the stub drivers with")
    folder = tmp_path_factory.mktemp("drivers")
    for source, library in (("cuda.c", "libcuda.so.1"), ("nvenc.c", "libnvidia-encode.so.1")):
        subprocess.run([compiler, "-shared", "-fPIC", "-w", "-o", folder / library, STUBS / source], check=True)
    return folder


@pytest.fixture
def _stub(drivers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The drivers, and for their child the way to these tests."""
    monkeypatch.setenv("LD_LIBRARY_PATH", str(drivers))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))


@pytest.mark.slow
@pytest.mark.usefixtures("_stub")
@pytest.mark.parametrize(
    ("answers", "kind"),
    [
        ({"STUB_CUINIT": "100"}, FailureClass.NO_DEVICE),
        ({"STUB_NVENC_STATUS": "2"}, FailureClass.NO_NVENC),
        ({"STUB_NVENC_STATUS": "10"}, FailureClass.SESSION_LIMIT),
        ({"STUB_NVENC_STATUS": "15"}, FailureClass.DRIVER_TOO_OLD),
        ({"STUB_NVENC_VERSION": "192"}, FailureClass.DRIVER_TOO_OLD),
        ({"STUB_NVENC_STATUS": "8"}, FailureClass.UNKNOWN),
        ({"STUB_NVENC_STATUS": "0"}, FailureClass.NO_ENCODER),
        ({"STUB_NVENC_CRASH": "1"}, FailureClass.CRASHED),
    ],
    ids=lambda value: value.value if isinstance(value, FailureClass) else None,
)
def test_nvenc_that_does_not_open_has_its_class(
    monkeypatch: pytest.MonkeyPatch, answers: dict[str, str], kind: FailureClass
) -> None:
    for name, value in answers.items():
        monkeypatch.setenv(name, value)
    found = probe.probe_one("nvenc")
    assert (found.failure, found.step) == (kind, Step.OPEN), found.line
    if kind is FailureClass.UNKNOWN:
        assert "invalid param (8)" in found.words
    if kind is FailureClass.CRASHED:
        assert "ended by SIGABRT while opening it" in found.words


@pytest.mark.slow
@pytest.mark.usefixtures("_stub")
@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("answers", "forces_key", "bitrate"),
    [
        ({}, True, LiveBitrate.WITH_KEY),
        ({"STUB_NVENC_IGNORES_IDR": "1", "STUB_NVENC_IGNORES_RATE": "1"}, False, LiveBitrate.REOPEN),
    ],
    ids=["obeys", "ignores"],
)
def test_nvenc_passes_its_trial_by_the_whole_way_through_ffmpeg(
    monkeypatch: pytest.MonkeyPatch, answers: dict[str, str], forces_key: bool, bitrate: LiveBitrate
) -> None:
    for name, value in answers.items():
        monkeypatch.setenv(name, value)
    found = probe.probe_one("nvenc", module=CHILD)
    assert found.works, found.words
    assert (found.opens, found.decodes_back, found.device, found.held_pictures) == (True, True, "Stub GPU", 0)
    assert (found.forces_key, found.bitrate) == (forces_key, bitrate)
    assert (found.backend.forces_key, found.backend.bitrate) == (forces_key, bitrate)


@pytest.mark.slow
@pytest.mark.usefixtures("_stub")
def test_nvenc_that_dies_in_mid_stream_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUB_NVENC_DIES_AT", "6")
    found = probe.probe_one("nvenc", module=CHILD)
    assert (found.failure, found.step) == (FailureClass.BROKE, Step.KEY_FRAME), found.line


@pytest.mark.slow
def test_driver_without_its_encode_library_is_told_from_none_at_all(
    drivers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    assert probe.probe_one("nvenc").failure is FailureClass.DRIVER_MISSING
    shutil.copy(drivers / "libcuda.so.1", tmp_path)
    assert probe.probe_one("nvenc").failure is FailureClass.ENCODE_LIBRARY_MISSING


@pytest.mark.slow
@pytest.mark.usefixtures("_stub")
def test_driver_that_hangs_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUB_NVENC_HANG", "1")
    for limit_s in (3.0, 12.0):  # a machine that stalls needs longer to come there
        found = probe.probe_one("nvenc", limit_s=limit_s)
        if found.step is Step.OPEN:
            break
    assert found.failure is FailureClass.TIMED_OUT
    assert f"no end after {limit_s:g} s while opening it" in found.words


@pytest.mark.filterwarnings("ignore:subprocess:ResourceWarning")
def test_driver_that_cannot_even_be_killed_costs_its_row_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr(os, "killpg", lambda group, _: left.append(group))
        patch.setattr(probe, "KILL_S", 0.01)
        found = probe.probe_one("nvenc", limit_s=0.01)
    assert found.failure is FailureClass.TIMED_OUT
    os.killpg(left[0], signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("qsv", FailureClass.RUNTIME_MISSING),
        ("amf", FailureClass.RUNTIME_MISSING),
        ("v4l2m2m", FailureClass.NO_DEVICE),
        ("vaapi", FailureClass.NOT_IN_BUILD),
    ],
)
def test_encoder_whose_device_is_not_here_has_its_class(name: str, kind: FailureClass) -> None:
    found = probe.probe_one(name)
    if found.works:
        pytest.skip(f"{name} works here")
    assert found.failure is kind, found.line


class Tries:
    """Counts what is tried; all works but nvenc."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def __call__(self, name: str, limit_s: float) -> Finding:
        assert limit_s <= probe.LIMIT_S
        self.names.append(name)
        failure = FailureClass.DRIVER_MISSING if name == "nvenc" else None
        return Finding(name=name, step=Step.DONE, failure=failure, probed_at=1e12)


@pytest.mark.parametrize(
    ("mode", "again"), [(Mode.REMEMBER, ["nvenc"]), (Mode.RETRY, ["nvenc"]), (Mode.REFRESH, ["nvenc", "x264"])]
)
def test_what_works_is_tried_once_and_what_failed_again(tmp_path: Path, mode: Mode, again: list[str]) -> None:
    tries, announced = Tries(), []
    first = tuple(Probe(Cache([tmp_path]), tries).find((NVENC, X264)))
    assert tries.names == ["nvenc", "x264"]
    assert [found.works for found in first] == [False, True]
    second = Probe(Cache([tmp_path]), tries).find((NVENC, X264), mode, lambda backend: announced.append(backend.name))
    assert tuple(second) == first
    assert announced == tries.names[2:] == again


def test_what_was_found_is_remembered_even_when_nobody_waits_for_the_rest(tmp_path: Path) -> None:
    tries = Tries()
    findings = Probe(Cache([tmp_path]), tries).find((X264, NVENC))
    assert next(iter(findings)).name == "x264"
    findings.close()  # type: ignore[attr-defined]  # a generator
    assert next(iter(Probe(Cache([tmp_path]), tries).find((X264,)))).works
    assert tries.names == ["x264"]


def test_what_no_time_is_left_for_is_not_tried(tmp_path: Path) -> None:
    tries = Tries()
    assert [found.name for found in Probe(Cache([tmp_path]), tries).find((X264,))] == ["x264"]
    short = Probe(Cache([tmp_path]), tries).find((NVENC, X264), budget_s=probe.LEAST_S - 1)
    assert [found.name for found in short] == ["x264"], "what is known costs no time"
    assert tries.names == ["x264"]
