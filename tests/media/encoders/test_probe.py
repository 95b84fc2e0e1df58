"""Probes in processes of their own: FFmpeg's own way into NVENC, with stub drivers in the place of NVIDIA's."""

import shutil
import subprocess
from pathlib import Path

import pytest

from media.encoders import probe
from media.encoders.backends import BY_NAME
from media.encoders.cache import Cache
from media.encoders.failure import FailureClass
from media.encoders.finding import Finding, Step
from media.encoders.probe import Mode, Probe

STUBS = Path(__file__).parent / "nvenc_stub"
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


@pytest.mark.slow
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
    drivers: Path, monkeypatch: pytest.MonkeyPatch, answers: dict[str, str], kind: FailureClass
) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", str(drivers))
    for name, value in answers.items():
        monkeypatch.setenv(name, value)
    found = probe.probe_one("nvenc")
    assert (found.failure, found.step) == (kind, Step.OPEN), found.line
    if kind is FailureClass.UNKNOWN:
        assert "invalid param (8)" in found.words
    if kind is FailureClass.CRASHED:
        assert "ended by SIGABRT while opening it" in found.words


@pytest.mark.slow
def test_driver_without_its_encode_library_is_told_from_none_at_all(
    drivers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    assert probe.probe_one("nvenc").failure is FailureClass.DRIVER_MISSING
    shutil.copy(drivers / "libcuda.so.1", tmp_path)
    assert probe.probe_one("nvenc").failure is FailureClass.ENCODE_LIBRARY_MISSING


@pytest.mark.slow
def test_driver_that_hangs_is_killed(drivers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", str(drivers))
    monkeypatch.setenv("STUB_NVENC_HANG", "1")
    found = probe.probe_one("nvenc", limit_s=3.0)
    assert found.failure is FailureClass.TIMED_OUT
    assert "no end after 3 s while opening it" in found.words


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

    def __call__(self, name: str) -> Finding:
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
