"""The table of encoders."""

import av
import msgspec

from media.encoders import backends
from media.encoders.backends import AUTO, BY_NAME, SOFTWARE, LiveBitrate


def names(codec: str, name: str, *usable: str) -> list[str]:
    return [backend.name for backend in backends.order(codec, name, tuple(BY_NAME[each] for each in usable))]


def test_order_is_devices_that_work_then_software() -> None:
    assert names("H264", AUTO) == ["x264"]
    assert names("H264", AUTO, "amf", "nvenc") == ["nvenc", "amf", "x264"]
    assert names("H264", SOFTWARE, "nvenc") == ["x264"]
    assert names("VP8", AUTO, "nvenc") == ["vpx"]


def test_pin_holds_for_its_own_codec_alone() -> None:
    assert names("H264", "qsv", "nvenc") == ["qsv"]
    assert names("VP8", "qsv", "nvenc") == ["vpx"]
    assert names("opus", AUTO) == []


def test_what_the_probe_found_stands_over_the_table() -> None:
    found = msgspec.structs.replace(BY_NAME["qsv"], bitrate=LiveBitrate.REOPEN)
    for name in (AUTO, "qsv"):
        assert backends.order("H264", name, (found,))[0] is found


def test_software_needs_no_device() -> None:
    assert backends.is_software(AUTO, "H264")
    assert backends.is_software("x264", "H264")
    assert not backends.is_software("nvenc", "H264")
    assert backends.is_software("nvenc", "VP8")


def test_options_carry_rate_and_forced_key_frames_and_no_b_frames() -> None:
    options = backends.BY_NAME["nvenc"].all_options(1_000_000, 2_000_000)
    assert options["maxrate"] == "1000000"
    assert options["bufsize"] == "500000"
    assert options["forced-idr"] == "1"
    for backend in backends.TABLE:
        assert backend.is_software or backend.options == () or ("bf", "0") in backend.options


def test_names_are_unique() -> None:
    assert len(set(backends.NAMES)) == len(backends.NAMES)


def test_every_option_and_pixel_format_of_the_table_is_known_to_the_encoder() -> None:
    seen = []
    for backend in backends.TABLE:
        try:
            context = av.CodecContext.create(backend.encoder, "w")
        except av.codec.codec.UnknownCodecError:
            continue
        seen.append(backend.name)
        offered = context.supported_options
        known = {option.name: option for option in (*offered.generic, *offered.private)}
        for name, value in backend.all_options(1_000_000, 2_000_000).items():
            choices = [choice.name for choice in known[name].choices]
            assert value.isdigit() or value in choices, (backend.name, name)
        formats = [each.name for each in av.Codec(backend.encoder, "w").video_formats or ()]
        assert not formats or backend.pixel_format in formats, backend.name
    assert {"nvenc", "qsv", "amf", "v4l2m2m", "x264", "vpx"} <= set(seen)
