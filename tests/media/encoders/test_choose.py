"""Which encoder for which codec, and what comes after one that failed."""

import threading

import pytest

from media.encoders import choose
from media.encoders.backends import BY_NAME, Backend, Route
from media.encoders.choose import Chains, EncoderChain
from media.encoders.encoder import AccessUnit, Codec, EncoderError, EncoderSettings, Shape, VideoCapture
from media.encoders.failure import StallError
from media.encoders.scale import LayerChain, Scaler

SHAPE = Shape(160, 90, 15.0)
DEVICES = EncoderSettings(usable=(BY_NAME["nvenc"], BY_NAME["qsv"]))


class Silent:
    """An encoder that is nothing but its name."""

    bitrate_costs_key = False

    def __init__(self, backend: Backend, _: Shape, __: EncoderSettings) -> None:
        self.name = backend.name

    def encode(self, _: VideoCapture, __: bool) -> list[AccessUnit]:
        return []

    def set_bitrate(self, _: int) -> None: ...

    def close(self) -> None: ...


@pytest.fixture
def chains() -> Chains:
    return Chains({Route.HARDWARE: Silent, Route.SOFTWARE: Silent})


def test_without_devices_video_is_encoded_in_software() -> None:
    for codec, name in ((Codec.H264, "libx264"), (Codec.VP8, "libvpx")):
        for setting in ("auto", "software", "x264"):
            encoder = EncoderChain(codec, SHAPE, EncoderSettings(encoder=setting)).open()
            assert encoder.name == name
            encoder.close()


def test_sound_is_opus_again_and_again() -> None:
    chain = choose.AudioChain(EncoderSettings())
    encoder = chain.open()
    assert encoder.name == "libopus"
    assert not chain.failed(EncoderError("broke"))
    encoder.close()


def test_unknown_encoder_is_refused_by_a_sentence_that_lists_what_there_is() -> None:
    with pytest.raises(EncoderError, match='no encoder "nvidia"; known are: auto, software, nvenc'):
        EncoderChain(Codec.H264, SHAPE, EncoderSettings(encoder="nvidia"))


def test_opus_is_not_a_video_codec() -> None:
    with pytest.raises(EncoderError, match="opus is not a video codec"):
        EncoderChain(Codec.OPUS, SHAPE, EncoderSettings())


def test_each_failure_leads_to_the_next_and_the_last_stays(chains: Chains, caplog: pytest.LogCaptureFixture) -> None:
    chain = chains.chain(Codec.H264, SHAPE, DEVICES)
    names = []
    for error in (StallError("no picture for 0.5 s"), EncoderError("gone"), EncoderError("gone")):
        names.append(chain.open().name)
        names.append(str(chain.failed(error)))
    assert names == ["nvenc", "True", "qsv", "True", "x264", "False"]
    assert chains.fallbacks == {"nvenc/qsv/stalled": 1, "qsv/x264/broke": 1}
    assert [record.message for record in caplog.records] == ["encoder fell back"] * 2


def test_what_failed_is_not_opened_by_a_later_chain(chains: Chains) -> None:
    chain = chains.chain(Codec.H264, SHAPE, DEVICES)
    running = chains.chain(Codec.H264, SHAPE, DEVICES)
    running.open()
    chain.open()
    chain.failed(StallError("no picture"))
    assert chains.chain(Codec.H264, SHAPE, DEVICES).open().name == "qsv"
    assert running.failed(EncoderError("gone")), "one that still runs falls back from what it runs"
    assert chains.fallbacks == {"nvenc/qsv/stalled": 1, "nvenc/qsv/broke": 1}


def test_session_limit_of_one_layer_is_not_held_against_the_others(chains: Chains) -> None:
    chain = chains.chain(Codec.H264, SHAPE, DEVICES)
    chain.open()
    chain.failed(EncoderError("OpenEncodeSessionEx failed: out of memory (10): (no details)"))
    assert chain.open().name == "qsv"
    assert chains.chain(Codec.H264, SHAPE, DEVICES).open().name == "nvenc"


def test_pinned_encoder_is_never_replaced(chains: Chains) -> None:
    chain = chains.chain(Codec.H264, SHAPE, EncoderSettings(encoder="qsv", usable=(BY_NAME["nvenc"],)))
    assert chain.open().name == "qsv"
    assert not chain.failed(StallError("no picture"))
    assert chain.open().name == "qsv"
    assert not chains.fallbacks


def test_a_driver_that_has_not_come_back_is_asked_no_more_by_any_chain(chains: Chains) -> None:
    ended = threading.Event()
    chain, other = (chains.chain(Codec.H264, SHAPE, EncoderSettings(encoder="qsv")) for _ in range(2))
    layer = LayerChain(chain, Scaler(80, 45), 1)
    layer.open()
    layer.gave_up(ended)
    for each in (layer, other):
        with pytest.raises(StallError, match="has not come back from 1 attempts"):
            each.open()
        assert not each.failed(StallError("hangs"))
    assert chains.chain(Codec.H264, SHAPE, EncoderSettings(encoder="nvenc")).open().name == "nvenc"
    ended.set()
    assert other.open().name == "qsv"


def test_only_devices_have_a_time_limit(chains: Chains) -> None:
    assert chains.chain(Codec.H264, SHAPE, EncoderSettings()).stall_s is None
    assert chains.chain(Codec.H264, SHAPE, DEVICES).stall_s == 0.5
    assert chains.chain(Codec.H264, Shape(160, 90, 1.0), DEVICES).stall_s == 4.0


def test_what_nobody_opens_says_so(chains: Chains) -> None:
    chain = chains.chain(Codec.H264, SHAPE, EncoderSettings(encoder="vaapi-ffmpeg"))
    assert chain.stall_s == 2.0, "a program takes longer"
    with pytest.raises(EncoderError, match="vaapi-ffmpeg cannot be opened here"):
        chain.open()
