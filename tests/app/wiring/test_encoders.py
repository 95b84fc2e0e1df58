from pathlib import Path

import pytest

from app.exits import CommandError, Exit
from app.settings import Settings
from app.wiring import encoders as wiring
from media.encoders.backends import BY_NAME
from media.encoders.failure import FailureClass
from media.encoders.finding import Finding, Step
from media.encoders.machine import Machine
from media.encoders.probe import Probe


class Known:
    """A cache in which everything stands."""

    def __init__(self, *findings: Finding) -> None:
        self._findings = {finding.name: finding for finding in findings}

    def load(self, _: str) -> dict[str, Finding]:
        return self._findings


@pytest.fixture
def _device(monkeypatch: pytest.MonkeyPatch) -> None:
    """NVENC works, QSV crashes, and there are traces of both."""
    known = Known(
        Finding(name="nvenc", step=Step.DONE),
        *(Finding(name=name, failure=FailureClass.CRASHED) for name in BY_NAME if name != "nvenc"),
    )
    monkeypatch.setattr(wiring, "machine_probe", lambda _: Probe(known))  # type: ignore[arg-type]
    monkeypatch.setattr(Machine, "has_trace", lambda *_: True)


def usable(name: str) -> list[str]:
    found = wiring.encoder_settings(name, 900_000, Settings())
    assert (found.encoder, found.bitrate_bps) == (name, 900_000)
    return [backend.name for backend in found.usable]


@pytest.mark.usefixtures("_device")
def test_auto_gets_the_devices_that_work_and_software_none() -> None:
    assert usable("auto") == ["nvenc"]
    assert usable("nvenc") == ["nvenc"]
    assert usable("software") == usable("x264") == usable("vpx") == []


@pytest.mark.usefixtures("_device")
def test_pinned_encoder_that_does_not_work_ends_the_command_by_what_to_do() -> None:
    with pytest.raises(CommandError, match=r"--encoder qsv: crashed.*: the driver took") as caught:
        usable("qsv")
    assert caught.value.code is Exit.ENCODER


def test_unknown_encoder_is_wrong_use() -> None:
    with pytest.raises(CommandError, match="--encoder nvidia: there is no encoder") as caught:
        usable("nvidia")
    assert caught.value.code is Exit.USAGE


def test_memory_lies_in_the_cache_folder_of_the_user_or_in_the_data_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file" / "cache"))
    (tmp_path / "file").write_text("")
    (tmp_path / "data").mkdir()
    probe = wiring.machine_probe(Settings(data_dir=str(tmp_path / "data")))
    probe = Probe(probe._cache, lambda name, _: Finding(name=name, step=Step.DONE))
    assert [found.works for found in probe.find((BY_NAME["x264"],))] == [True]
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["encoders.json"]


def test_user_without_a_home_has_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home(*_: object) -> Path:
        raise RuntimeError("could not determine home directory")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    monkeypatch.setattr(Path, "expanduser", no_home)
    assert wiring.machine_probe(Settings())._cache.load("") == {}
