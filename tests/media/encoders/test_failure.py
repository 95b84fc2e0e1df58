"""Log lines of FFmpeg -> classes -> sentences."""

from pathlib import Path

from media.encoders import backends, failure
from media.encoders.encoder import EncoderError
from media.encoders.failure import FailureClass, OrderError, StallError

ROWS = (
    ("nvenc", "Cannot load libcuda.so.1", FailureClass.DRIVER_MISSING, "NVIDIA driver"),
    (
        "nvenc",
        "Cannot load libnvidia-encode.so.1\nThe minimum required Nvidia driver for nvenc is 570.0 or newer",
        FailureClass.ENCODE_LIBRARY_MISSING,
        "libnvidia-encode",
    ),
    ("nvenc", "No capable devices found", FailureClass.NO_NVENC, "H100"),
    ("nvenc", "Codec not supported\nNo capable devices found", FailureClass.NO_ENCODER, "H.264"),
    ("nvenc", "dl_fn->cuda_dl->cuInit(0) failed -> CUDA_ERROR_NO_DEVICE", FailureClass.NO_DEVICE, "nvidia-smi"),
    (
        "nvenc",
        "OpenEncodeSessionEx failed: unsupported device (2): (no details)\nNo capable devices found",
        FailureClass.NO_NVENC,
        "H100",
    ),
    (
        "nvenc",
        "OpenEncodeSessionEx failed: unsupported device (2)\nOpenEncodeSessionEx failed: out of memory (10)\n"
        "No capable devices found",
        FailureClass.SESSION_LIMIT,
        "end other encoders",
    ),
    ("nvenc", "OpenEncodeSessionEx failed: invalid version (15)", FailureClass.DRIVER_TOO_OLD, "newer NVIDIA driver"),
    ("qsv", "Error creating a MFX session: -9.", FailureClass.RUNTIME_MISSING, "oneVPL"),
    ("amf", "DLL libamfrt64.so.1 failed to open", FailureClass.RUNTIME_MISSING, "AMF runtime"),
    ("v4l2m2m", "Could not find a valid device", FailureClass.NO_DEVICE, "/dev/video"),
    ("vaapi", "No VA display found for device /dev/dri/renderD128.", FailureClass.RUNTIME_MISSING, "group render"),
    ("vaapi-ffmpeg", "Device creation failed: -542398533.", FailureClass.RUNTIME_MISSING, "VA-API driver"),
    ("vaapi-ffmpeg", "Unknown encoder 'h264_vaapi'", FailureClass.NOT_IN_BUILD, "install the program ffmpeg"),
    ("vaapi", "/dev/dri/renderD128: Permission denied", FailureClass.NO_PERMISSION, "group render"),
)


def test_line_has_a_class_and_a_sentence() -> None:
    for backend, lines, kind, advice in ROWS:
        found = failure.classify(f"[h264] something before\n{lines}", backend)
        assert found.kind is kind, lines
        assert found.words.startswith(f"{kind.value}: ")
        assert advice in found.words


def test_unknown_line_is_quoted() -> None:
    found = failure.classify("first\nThe flux is not compensated\n", "nvenc")
    assert found.kind is FailureClass.UNKNOWN
    assert 'unknown ("The flux is not compensated"): ' in found.words
    lines = "OpenEncodeSessionEx failed: invalid param (8): (no details)\nNo capable devices found\nErrno 1"
    assert failure.classify(lines, "nvenc").line.startswith("OpenEncodeSessionEx failed: invalid param")
    assert 'unknown ("nothing")' in failure.classify("", "nvenc").words


def test_errors_of_running_encoders_have_classes() -> None:
    kinds = [
        failure.of(error, "nvenc").kind
        for error in (StallError("a"), OrderError("b"), EncoderError("c"), OSError("invalid version (15)"))
    ]
    assert kinds == [
        FailureClass.STALLED,
        FailureClass.WRONG_ORDER,
        FailureClass.BROKE,
        FailureClass.DRIVER_TOO_OLD,
    ]


def test_every_class_has_a_sentence() -> None:
    for kind in FailureClass:
        assert len(failure.Failure(kind, "", "nvenc").words) > len(kind.value) + 10


def test_guide_names_every_class_and_every_encoder() -> None:
    guide = " ".join((Path(__file__).parents[3] / "infra" / "guides" / "media.md").read_text().split())
    assert [kind.value for kind in FailureClass if kind.value not in guide] == []
    assert [name for name in backends.BY_NAME if f"`{name}`" not in guide] == []
