"""The vocabulary of encoders."""

from media.encoders.encoder import Codec


def test_clock_of_video_is_90_khz_and_of_opus_48() -> None:
    assert {codec: codec.clock_hz for codec in Codec} == {
        Codec.H264: 90_000,
        Codec.VP8: 90_000,
        Codec.OPUS: 48_000,
    }


def test_only_opus_is_sound() -> None:
    assert [codec for codec in Codec if not codec.is_video] == [Codec.OPUS]


def test_values_are_the_names_used_in_sdp() -> None:
    assert [codec.value for codec in Codec] == ["H264", "VP8", "opus"]
