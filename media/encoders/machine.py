"""Facts about this machine that decide which encoders work: devices, drivers, versions. It opens no device."""

import platform
import re
import shutil
from pathlib import Path

import av

from media.encoders.backends import TABLE, Backend, Route

RENDER_NODES = "/dev/dri/renderD*"
_VERSION = re.compile(r"\b\d+\.\d+(\.\d+)?\b")
_PROCESSOR = re.compile(r"^(?:model name|Model)\s*:\s*(.+)$", re.MULTILINE)


def wheel() -> str:
    """PyAV and its FFmpeg."""
    return f"PyAV {av.__version__}, libavcodec {'.'.join(str(part) for part in av.library_versions['libavcodec'])}"


class Machine:
    """What stands in /dev, /sys and /proc below `root`."""

    def __init__(self, root: Path = Path("/"), ffmpeg: str = "ffmpeg") -> None:
        self._root = root
        self._ffmpeg = ffmpeg

    def has_trace(self, backend: Backend) -> bool:
        """Whether something is here that may be such a device; never of those that leave no trace."""
        return any(self._paths(pattern) for pattern in backend.traces)

    def fingerprint(self) -> str:
        """One line that changes with devices, drivers and the wheel: what was probed before is then worth nothing."""
        patterns = sorted({pattern for backend in TABLE for pattern in backend.traces})
        devices = [str(path) for pattern in patterns for path in self._paths(pattern)]
        program = shutil.which(self._ffmpeg) or ""
        parts = (wheel(), self._nvidia_version(), platform.release(), program, ",".join(devices))
        return "; ".join(part or "-" for part in parts)

    def driver_of(self, backend: Backend) -> str:
        """The driver behind an encoder, with its version where that is known."""
        if backend.route is Route.SOFTWARE:
            return wheel().partition(",")[0]
        if backend.name == "nvenc":
            return f"nvidia {version}" if (version := self._nvidia_version()) else ""
        if not self.has_trace(backend):
            return ""
        if RENDER_NODES in backend.traces:
            return next((f"{driver} of Linux {platform.release()}" for _, driver in self._render_nodes()), "")
        return f"Linux {platform.release()}"

    def device_of(self, backend: Backend) -> str:
        """The device that an encoder runs on, as far as the system tells without opening it."""
        if backend.route is Route.SOFTWARE:
            found = _PROCESSOR.search(self._text("/proc/cpuinfo"))
            return found[1] if found else platform.machine()
        if RENDER_NODES in backend.traces:
            return next((device for device, _ in self._render_nodes()), "")
        if backend.name == "v4l2m2m":
            names = (self._text(f"/{path}/name") for path in self._paths("/sys/class/video4linux/*"))
            return next((name for name in names if name), "")
        return ""

    def _nvidia_version(self) -> str:
        text = self._text("/sys/module/nvidia/version") or self._text("/proc/driver/nvidia/version")
        found = _VERSION.search(text)
        return found[0] if found else ""

    def _render_nodes(self) -> list[tuple[str, str]]:
        """PCI name and driver of each render node."""
        nodes = []
        for path in self._paths("/sys/class/drm/renderD*"):
            lines = self._text(f"/{path}/device/uevent").splitlines()
            facts = dict(line.split("=", 1) for line in lines if "=" in line)
            nodes.append((f"{path.name} {facts.get('PCI_ID', '')}".strip(), facts.get("DRIVER", "unknown driver")))
        return nodes

    def _paths(self, pattern: str) -> list[Path]:
        """Paths that match, below the root."""
        return sorted(path.relative_to(self._root) for path in self._root.glob(pattern.lstrip("/")))

    def _text(self, path: str) -> str:
        try:
            return (self._root / path.lstrip("/")).read_text(errors="replace").strip()
        except OSError:
            return ""
