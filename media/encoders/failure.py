"""Why an encoder fails: lines of the log of FFmpeg and errors -> a class -> one sentence that says what to do."""

import enum
import re

import msgspec

from media.encoders.encoder import EncoderError


class StallError(EncoderError):
    """An encoder gave nothing within its time."""


class OrderError(EncoderError):
    """An encoder gave its pictures in a wrong order."""


class FailureClass(enum.Enum):
    """Kinds of failure; the value is the name that people and metrics see."""

    NOT_IN_BUILD = "not in this build"
    DRIVER_MISSING = "driver missing"
    ENCODE_LIBRARY_MISSING = "encode library missing"
    NO_DEVICE = "no device"
    NO_PERMISSION = "no permission"
    NO_NVENC = "GPU has no NVENC"
    NO_ENCODER = "GPU has no encoder"
    SESSION_LIMIT = "session limit"
    DRIVER_TOO_OLD = "driver too old"
    RUNTIME_MISSING = "runtime or device missing"
    CRASHED = "crashed"
    TIMED_OUT = "no end in time"
    STALLED = "stalled"
    WRONG_ORDER = "wrong order"
    WRONG_PICTURE = "wrong picture"
    LATE = "holds pictures back"
    BROKE = "broke"
    UNKNOWN = "unknown"

    @property
    def lasts(self) -> bool:
        """False where the next attempt may well succeed without anybody mending anything."""
        return self is not FailureClass.SESSION_LIMIT


F = FailureClass

# By importance, since one open of an encoder may log a line for each device: what can be mended comes first.
_LINES = tuple(
    (re.compile(pattern, re.IGNORECASE), kind)
    for pattern, kind in (
        (r"OpenEncodeSessionEx failed: out of memory \(10\)", F.SESSION_LIMIT),
        (
            r"invalid version \(15\)|does not support the required nvenc API",
            F.DRIVER_TOO_OLD,
        ),
        (r"unsupported device \(2\)", F.NO_NVENC),
        (r"Cannot load (libnvidia-encode|nvEncodeAPI)", F.ENCODE_LIBRARY_MISSING),
        (r"Cannot load (libcuda|nvcuda)", F.DRIVER_MISSING),
        (r"cuInit\(0\) failed|no CUDA-capable device|CUDA_ERROR_NO_DEVICE", F.NO_DEVICE),
        (r"Permission denied", F.NO_PERMISSION),
        (r"No usable encoding (profile|entrypoint)|Encoding entrypoint not found", F.NO_ENCODER),
        (r"Error (creating a|initializing an internal) MFX session", F.RUNTIME_MISSING),
        (r"libamfrt|amfrt64", F.RUNTIME_MISSING),
        (r"No VA display found|Failed to initialise VAAPI|Failed to open .*va(api|info)?.*driver", F.RUNTIME_MISSING),
        (r"Unknown encoder", F.NOT_IN_BUILD),
        (r"Could not find a valid device|No such file or directory.*/dev/", F.NO_DEVICE),
        (r"Device creation failed", F.RUNTIME_MISSING),
        (r"Codec not supported|(Width|Height) \d+ exceeds", F.NO_ENCODER),
        (r"\A(?!(.|\n)*OpenEncodeSessionEx failed)(.|\n)*No capable devices found", F.NO_NVENC),
        (r"minimum required Nvidia driver", F.DRIVER_TOO_OLD),
    )
)

_INSTALL_NVIDIA = (
    "install the NVIDIA driver; in a container start it with the NVIDIA runtime (--gpus all) "
    "and NVIDIA_DRIVER_CAPABILITIES=video,compute,utility"
)
_RENDER = "give this process /dev/dri/renderD128 and the group render"
_TO_DO: dict[FailureClass, str] = {
    F.NOT_IN_BUILD: "the FFmpeg of this PyAV was made without it: take a build that has it",
    F.DRIVER_MISSING: _INSTALL_NVIDIA,
    F.ENCODE_LIBRARY_MISSING: "the driver is here without its encode library: install libnvidia-encode of the same "
    "version, or give the container NVIDIA_DRIVER_CAPABILITIES=video,compute,utility",
    F.NO_DEVICE: "the driver runs, but shows no GPU: see nvidia-smi, and give the container a GPU (--gpus all)",
    F.NO_PERMISSION: _RENDER,
    F.NO_NVENC: "this GPU only decodes (A100, A30, H100, H200, B200 and their kin): use a T4, A10, L4, L40 or RTX card",
    F.NO_ENCODER: "this GPU or its driver does not encode H.264: take another driver or another encoder",
    F.SESSION_LIMIT: "the GPU encodes as many pictures at once as its driver allows, or its memory is full: "
    "end other encoders on it, or lower the number of layers",
    F.DRIVER_TOO_OLD: "this build wants a newer NVIDIA driver: update it and restart",
    F.RUNTIME_MISSING: _RENDER,
    F.CRASHED: "the driver took the process down with it: update it, then run `heliograph encoders --refresh`",
    F.TIMED_OUT: "the driver hangs: look into the kernel's log, restart, then run `heliograph encoders --refresh`",
    F.STALLED: "the encoder gave no picture in time: look into the kernel's log for the driver, or pin another encoder",
    F.WRONG_ORDER: "the encoder reorders pictures, which live viewers cannot show: update the driver",
    F.WRONG_PICTURE: "what it encodes does not decode to what went in: update the driver",
    F.LATE: "it keeps pictures back for too long to be live: update the driver",
    F.BROKE: "look into the kernel's log for the driver",
    F.UNKNOWN: "this line is not known here: search for it together with the version of the driver",
}
_TO_DO_FOR: dict[tuple[FailureClass, str], str] = {
    (F.RUNTIME_MISSING, "qsv"): f"install Intel's oneVPL GPU runtime and media driver, and {_RENDER}",
    (F.RUNTIME_MISSING, "amf"): "install AMD's AMF runtime (amdgpu-pro); on Linux most AMD cards are served by vaapi",
    (F.RUNTIME_MISSING, "vaapi"): f"install the VA-API driver of this GPU, and {_RENDER}",
    (F.RUNTIME_MISSING, "vaapi-ffmpeg"): f"install the VA-API driver of this GPU, and {_RENDER}",
    (F.NO_DEVICE, "v4l2m2m"): "no /dev/video* of this machine encodes H.264 (a Raspberry Pi 4 has one, a Pi 5 has not)",
    (F.NO_DEVICE, "vaapi"): _RENDER,
    (F.NO_DEVICE, "vaapi-ffmpeg"): _RENDER,
    (
        F.NOT_IN_BUILD,
        "vaapi",
    ): "the wheel of PyAV has no VA-API: build PyAV against an FFmpeg with libva, or let vaapi-ffmpeg do it",
    (F.NOT_IN_BUILD, "vaapi-ffmpeg"): "install the program ffmpeg with h264_vaapi",
    (F.NOT_IN_BUILD, "videotoolbox"): "VideoToolbox exists on macOS alone",
}


class Failure(msgspec.Struct, frozen=True):
    """Why one backend failed; `line` is what FFmpeg or the error said, empty when the class says it all."""

    kind: FailureClass
    line: str
    backend: str

    @property
    def words(self) -> str:
        """One sentence: what is wrong, and what to do."""
        to_do = _TO_DO_FOR.get((self.kind, self.backend), _TO_DO[self.kind])
        quoted = f' ("{self.line}")' if self.line and self.kind in (F.UNKNOWN, F.BROKE, F.CRASHED, F.TIMED_OUT) else ""
        return f"{self.kind.value}{quoted}: {to_do}"


class OpenError(EncoderError):
    """An encoder does not open; the text is the sentence of its failure."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(f"{failure.backend}: {failure.words}")
        self.failure = failure


def classify(lines: str, backend: str, otherwise: FailureClass = FailureClass.UNKNOWN) -> Failure:
    """Find the class of what was logged; of what is not known the line that speaks of an error is quoted."""
    for pattern, kind in _LINES:
        if found := pattern.search(lines):
            return Failure(kind, _line_around(lines, found.start()), backend)
    said = [line.strip() for line in lines.splitlines() if line.strip()]
    telling = [line for line in said if re.search("failed|error|cannot", line, re.IGNORECASE)]
    return Failure(otherwise, (telling[:1] or said[-1:] or ["nothing"])[0], backend)


def _line_around(lines: str, at: int) -> str:
    start = lines.rfind("\n", 0, at) + 1
    return lines[start:].partition("\n")[0].strip()


def of(error: Exception, backend: str) -> Failure:
    """The class of an error of a running encoder, or of one that does not open any more."""
    match error:
        case OpenError():
            return error.failure
        case StallError():
            return Failure(F.STALLED, str(error), backend)
        case OrderError():
            return Failure(F.WRONG_ORDER, str(error), backend)
    return classify(f"{type(error).__name__}: {error}", backend, F.BROKE)
