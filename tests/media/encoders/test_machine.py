"""Facts about a machine, read from a tree that stands for /."""

import platform
from pathlib import Path

import pytest

from media.encoders.backends import BY_NAME
from media.encoders.machine import Machine


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path


def write(root: Path, path: str, text: str = "") -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


def test_bare_machine_has_a_processor_and_no_devices(root: Path) -> None:
    write(root, "proc/cpuinfo", "processor\t: 0\nmodel name\t: Plain CPU @ 2 GHz\n")
    machine = Machine(root, ffmpeg="no-such-program")
    assert [name for name, backend in BY_NAME.items() if machine.has_trace(backend)] == []
    assert machine.device_of(BY_NAME["x264"]) == "Plain CPU @ 2 GHz"
    assert machine.driver_of(BY_NAME["x264"]).startswith("PyAV ")
    assert {machine.device_of(BY_NAME[name]) + machine.driver_of(BY_NAME[name]) for name in ("nvenc", "qsv")} == {""}
    assert Machine(root / "nothing").device_of(BY_NAME["vpx"]) == platform.machine()


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("sys/module/nvidia/version", "570.86.10\n"),
        (
            "proc/driver/nvidia/version",
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.86.10  Thu\nGCC version: 12\n",
        ),
    ],
)
def test_nvidia_driver_has_a_version(root: Path, path: str, text: str) -> None:
    before = Machine(root).fingerprint()
    write(root, path, text)
    write(root, "dev/nvidia0")
    machine = Machine(root)
    assert machine.has_trace(BY_NAME["nvenc"])
    assert machine.driver_of(BY_NAME["nvenc"]) == "nvidia 570.86.10"
    assert "570.86.10" in machine.fingerprint() != before


def test_render_node_has_a_device_and_a_driver(root: Path) -> None:
    write(root, "dev/dri/renderD128")
    write(root, "sys/class/drm/renderD128/device/uevent", "DRIVER=i915\nPCI_ID=8086:9BC4\n")
    machine = Machine(root)
    for name in ("qsv", "vaapi", "amf"):
        assert machine.device_of(BY_NAME[name]) == "renderD128 8086:9BC4"
        assert machine.driver_of(BY_NAME[name]) == f"i915 of Linux {platform.release()}"
    assert "dev/dri/renderD128" in machine.fingerprint()


def test_video_device_has_a_name(root: Path) -> None:
    write(root, "dev/video11")
    write(root, "sys/class/video4linux/video11/name", "bcm2835-codec-encode\n")
    machine = Machine(root)
    assert machine.device_of(BY_NAME["v4l2m2m"]) == "bcm2835-codec-encode"
    assert machine.driver_of(BY_NAME["v4l2m2m"]) == f"Linux {platform.release()}"
    assert machine.device_of(BY_NAME["videotoolbox"]) == ""
