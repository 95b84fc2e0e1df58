"""Table of the encoders that are known by name: codec, route, pixel format, options. It opens none of them."""

import enum

import msgspec

AUTO = "auto"
SOFTWARE = "software"


class Route(enum.Enum):
    """Who runs the codec: the CPU in this process, a device in this process, or the program `ffmpeg`."""

    SOFTWARE = "software"
    HARDWARE = "hardware"
    EXTERNAL = "external"


class LiveBitrate(enum.Enum):
    """What a change of the bitrate costs."""

    IN_PLACE = "in place"
    WITH_KEY = "with a key frame"
    """The encoder obeys, but forces a key frame."""
    REOPEN = "reopens"
    """The encoder ignores it, so another is opened, which begins with a key frame."""


class Backend(msgspec.Struct, frozen=True):
    """One encoder of one codec.

    `codec` is the encoding name of SDP, `encoder` the name in FFmpeg. `options` may hold `{bitrate}` and `{buffer}`,
    in bit/s and bit. `hwaccel` names the kind of device to which pictures are uploaded first. `traces` are patterns of
    paths of which one exists where such a device may be.
    """

    name: str
    codec: str
    encoder: str
    title: str
    route: Route
    pixel_format: str
    options: tuple[tuple[str, str], ...] = ()
    idr_option: tuple[str, str] | None = None
    bitrate: LiveBitrate = LiveBitrate.WITH_KEY
    forces_key: bool = True
    hwaccel: str | None = None
    traces: tuple[str, ...] = ()

    @property
    def is_software(self) -> bool:
        """Whether it needs no device, so that neither driver nor hardware can make it hang."""
        return self.route is Route.SOFTWARE

    def all_options(self, bitrate_bps: int, ceiling_bps: int) -> dict[str, str]:
        """Options to open with, the one for forced IDR frames included."""
        values = {"bitrate": str(bitrate_bps), "ceiling": str(ceiling_bps), "buffer": str(bitrate_bps // 2)}
        pairs = (*self.options, *((self.idr_option,) if self.idr_option else ()))
        return {key: value.format_map(values) for key, value in pairs}


_RENDER_NODES = ("/dev/dri/renderD*",)
_CONSTANT_RATE = (("maxrate", "{bitrate}"), ("bufsize", "{buffer}"))

TABLE = (
    Backend(
        "nvenc", "H264", "h264_nvenc", "NVIDIA NVENC", Route.HARDWARE, "yuv420p",
        (("preset", "p4"), ("tune", "ull"), ("profile", "baseline"), ("rc", "cbr"), ("delay", "0"),
         ("zerolatency", "1"), ("bf", "0"), *_CONSTANT_RATE),
        ("forced-idr", "1"),
        traces=("/dev/nvidia[0-9]*", "/dev/dxg"),
    ),
    Backend(
        "qsv", "H264", "h264_qsv", "Intel Quick Sync", Route.HARDWARE, "nv12",
        (("preset", "veryfast"), ("profile", "baseline"), ("async_depth", "1"), ("bf", "0"),
         ("look_ahead", "0"), *_CONSTANT_RATE),
        ("forced_idr", "1"),
        traces=_RENDER_NODES,
    ),
    Backend(
        "vaapi", "H264", "h264_vaapi", "VA-API", Route.HARDWARE, "nv12",
        (("profile", "constrained_baseline"), ("rc_mode", "CBR"), ("async_depth", "1"), ("bf", "0"), *_CONSTANT_RATE),
        bitrate=LiveBitrate.REOPEN,
        hwaccel="vaapi",
        traces=_RENDER_NODES,
    ),
    Backend(
        "vaapi-ffmpeg", "H264", "h264_vaapi", "VA-API of the program ffmpeg", Route.EXTERNAL, "nv12",
        (("profile:v", "constrained_baseline"), ("rc_mode", "CBR"), ("async_depth", "1"), ("bf", "0"), *_CONSTANT_RATE),
        hwaccel="vaapi",
        bitrate=LiveBitrate.REOPEN,
        forces_key=False,
        traces=_RENDER_NODES,
    ),
    Backend(
        "amf", "H264", "h264_amf", "AMD AMF", Route.HARDWARE, "nv12",
        (("usage", "ultralowlatency"), ("async_depth", "1"), ("profile", "constrained_baseline"), ("rc", "cbr"),
         ("bf", "0"), ("header_spacing", "1"), *_CONSTANT_RATE),
        ("forced_idr", "1"),
        traces=_RENDER_NODES,
    ),
    Backend(
        "v4l2m2m", "H264", "h264_v4l2m2m", "V4L2 memory to memory", Route.HARDWARE, "yuv420p",
        (("num_capture_buffers", "16"), ("bf", "0")),
        bitrate=LiveBitrate.REOPEN,
        traces=("/dev/video1[0-9]",),
    ),
    Backend(
        "videotoolbox", "H264", "h264_videotoolbox", "Apple VideoToolbox", Route.HARDWARE, "nv12",
        (("profile", "constrained_baseline"), ("realtime", "1"), ("prio_speed", "1"), ("bf", "0")),
        bitrate=LiveBitrate.REOPEN,
    ),
    Backend(
        "x264", "H264", "libx264", "preset superfast", Route.SOFTWARE, "yuv420p",
        idr_option=("forced-idr", "1"),
        bitrate=LiveBitrate.IN_PLACE,
    ),
    Backend(
        "vpx", "VP8", "libvpx", "libvpx", Route.SOFTWARE, "yuv420p",
        bitrate=LiveBitrate.REOPEN,
    ),
)  # fmt: skip
"""In the order of choice: for each codec the first that works wins."""

NAMES = (AUTO, SOFTWARE, *(backend.name for backend in TABLE))
BY_NAME = {backend.name: backend for backend in TABLE}


def order(codec: str, name: str, usable: tuple[Backend, ...]) -> tuple[Backend, ...]:
    """What to try for a codec, best first: for `auto` the usable devices, then software; else what is pinned.

    A pin that makes another codec pins nothing for this one, which then is encoded in software. `usable` are devices
    as the probe found them, which may differ from the table in what they obey.
    """
    found = {backend.name: backend for backend in usable}
    mine = [found.get(backend.name, backend) for backend in TABLE if backend.codec == codec]
    pinned = tuple(backend for backend in mine if backend.name == name)
    if pinned:
        return pinned
    allowed = found if name == AUTO else {}
    return tuple(backend for backend in mine if backend.is_software or backend.name in allowed)


def is_software(name: str, codec: str) -> bool:
    """Whether a name asks for an encoder of this codec that needs no device."""
    return all(backend.is_software for backend in order(codec, name, ()))
