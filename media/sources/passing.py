"""H.264 of a container or camera -> access units that viewers take as they are; and why some cannot be."""

from fractions import Fraction

import av
from av.video.stream import VideoStream

from media.encoders.encoder import Codec
from media.h264 import FASTEST_FPS, SLOWEST_FPS, ParameterSets, is_key
from media.sources.source import EncodedPicture

PROFILES = {
    66: "Baseline",
    77: "Main",
    88: "Extended",
    100: "High",
    110: "High 10",
    122: "High 4:2:2",
    244: "High 4:4:4",
}
PASSED = "H.264 Constrained Baseline, passed on as it is"


def verdict(sets: ParameterSets, is_wanted: bool = True) -> tuple[bool, str]:
    """Whether H.264 with these parameter sets is passed on, and why in words."""
    sps = sets.sps
    if sps is None:
        return False, "H.264 without parameter sets, encoded anew"
    if not sets.is_baseline:
        profile = PROFILES.get(sps.profile, f"profile {sps.profile}")
        return False, f"H.264 {profile}, which not every viewer decodes, encoded anew"
    return (True, PASSED) if is_wanted else (False, "H.264 Constrained Baseline, encoded anew as wished")


class H264Passer:
    """Turns the packets of one stream into encoded pictures, beginning with an IDR. Used by one thread."""

    def __init__(self, stream: VideoStream) -> None:
        self._sets = ParameterSets(stream.codec_context.extradata or b"")
        # avcC becomes Annex-B with the parameter sets before each IDR; Annex-B stays what it is
        self._filter = av.BitStreamFilterContext("h264_mp4toannexb", in_stream=stream)
        self._waits_for_key = True

    def picture(self, packet: "av.Packet[VideoStream]", time_s: float) -> EncodedPicture | None:
        """The picture of a packet, which is used up; None for one that nobody could decode."""
        try:
            data = b"".join(bytes(part) for part in self._filter.filter(packet))
        except av.InvalidDataError:
            return None  # a damaged packet costs its picture, no more
        complete = self._sets.complete(data) if data else None
        if complete is None:
            return None
        is_key_frame = is_key(complete)
        if self._waits_for_key and not is_key_frame:
            return None
        self._waits_for_key = False
        return EncodedPicture(Codec.H264, complete, is_key_frame, time_s)


def usual_fps(stream: VideoStream, sets: ParameterSets | None = None) -> float | None:
    """Pictures per second as the container tells, else as the SPS does; None when neither is believable."""
    sps = sets.sps if sets is not None else None
    told: list[Fraction | float | None] = [stream.average_rate, sps.fps if sps else None, stream.guessed_rate]
    return next((float(fps) for fps in told if fps and SLOWEST_FPS <= fps <= FASTEST_FPS), None)
