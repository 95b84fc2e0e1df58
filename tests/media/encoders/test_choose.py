"""Which encoder for which codec."""

import pytest

from media.encoders import choose
from media.encoders.encoder import Codec, EncoderError, EncoderSettings, Shape

SHAPE = Shape(160, 90, 15.0)


@pytest.mark.parametrize(("codec", "name"), [(Codec.H264, "libx264"), (Codec.VP8, "libvpx")])
@pytest.mark.parametrize("setting", ["auto", "software"])
def test_video_codecs_are_encoded_in_software(codec: Codec, name: str, setting: str) -> None:
    encoder = choose.open_video_encoder(codec, SHAPE, EncoderSettings(encoder=setting))
    assert encoder.name == name
    encoder.close()


def test_sound_is_opus() -> None:
    encoder = choose.open_audio_encoder(EncoderSettings())
    assert encoder.name == "libopus"
    encoder.close()


def test_unknown_encoder_is_refused_by_a_sentence_that_lists_what_there_is() -> None:
    with pytest.raises(EncoderError, match='no encoder "nvenc"; this build has: auto, software'):
        choose.open_video_encoder(Codec.H264, SHAPE, EncoderSettings(encoder="nvenc"))


def test_opus_is_not_a_video_codec() -> None:
    with pytest.raises(EncoderError):
        choose.open_video_encoder(Codec.OPUS, SHAPE, EncoderSettings())
