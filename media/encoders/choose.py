"""Which encoder for which codec. Today software alone, so `auto` is software."""

from media.encoders.encoder import (
    AudioEncoder,
    Codec,
    EncoderError,
    EncoderSettings,
    Shape,
    VideoEncoder,
)
from media.encoders.opus import OpusEncoder
from media.encoders.software import VpxEncoder, X264Encoder

NAMES = ("auto", "software")


def check_name(name: str) -> None:
    """Refuse an encoder name that this build does not know.

    Raises: EncoderError: show its text to the operator.
    """
    if name not in NAMES:
        raise EncoderError(f'there is no encoder "{name}"; this build has: {", ".join(NAMES)}')


def open_video_encoder(codec: Codec, shape: Shape, settings: EncoderSettings) -> VideoEncoder:
    """Open the encoder of a video codec.

    Raises: EncoderError: the name is unknown or the codec is no video; av.FFmpegError: it does not open.
    """
    check_name(settings.encoder)
    match codec:
        case Codec.H264:
            return X264Encoder(shape, settings)
        case Codec.VP8:
            return VpxEncoder(shape, settings)
        case Codec.OPUS:
            raise EncoderError("Opus is not a video codec")


def open_audio_encoder(settings: EncoderSettings) -> AudioEncoder:
    """Open the Opus encoder. Raises: av.FFmpegError: it does not open."""
    return OpusEncoder(settings)
