"""What every encoder must do, over each that opens here and over a fake device; a skip says why one does not open."""

import av
import pytest
from av.video.frame import PictureType

from media import h264
from media.encoders import probe
from media.encoders.backends import BY_NAME, TABLE, Backend, LiveBitrate
from media.encoders.choose import Chains
from media.encoders.encoder import AccessUnit, Capture, Codec, EncoderSettings, Shape
from media.encoders.trial import MOST_HELD, Texture
from tests.media.encoders.fake import FakeDevice, Faults
from tests.media.pictures import decoder

SHAPE = Shape(640, 368, 30.0)
FIRST_BPS, SECOND_BPS = 1_000_000, 500_000
KEYS_AT, RATE_AT, PICTURES = (20, 40), 60, 180
SETTINGS = EncoderSettings(bitrate_bps=FIRST_BPS, keyframe_interval_s=60.0)


def ready(name: str) -> tuple[Backend, Chains]:
    """The encoder as its probe found it: what it does not obey is made up for."""
    if name == "fake":
        return BY_NAME["nvenc"], FakeDevice(Faults(holds_back=1)).chains()
    if not BY_NAME[name].is_software:
        found = probe.probe_one(name)
        if not found.works:
            pytest.skip(f"{name}: {found.words}")
        return found.backend, Chains()
    return BY_NAME[name], Chains()


def shown(name: str) -> tuple[Backend, list[AccessUnit]]:
    backend, chains = ready(name)
    encoder, texture = chains.open(backend, SHAPE, SETTINGS), Texture(SHAPE)
    units = []
    for number in range(PICTURES):
        if number == RATE_AT:
            encoder.set_bitrate(SECOND_BPS)
        units += encoder.encode(Capture(texture.picture(), number * 3000, float(number)), number in KEYS_AT)
    encoder.close()
    return backend, units


DEVICES = [backend.name for backend in TABLE if not backend.is_software]
NAMES = ["x264", "vpx", "fake", *(pytest.param(name, marks=[pytest.mark.gpu]) for name in DEVICES)]


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", NAMES)
def test_every_encoder_keeps_the_contract(name: str) -> None:
    backend, units = shown(name)
    stamps = [unit.timestamp for unit in units]
    assert stamps == sorted(set(stamps)), "time stamps rise"
    assert len(units) >= PICTURES - MOST_HELD
    assert all(unit.captured_at * 3000 == unit.timestamp for unit in units), "units keep the time of their picture"
    keys = [unit.timestamp // 3000 for unit in units if unit.is_key]
    may_key = {RATE_AT} if backend.bitrate is not LiveBitrate.IN_PLACE else set()
    assert set(keys) - may_key == {0, *KEYS_AT}, "forced key frames and no others"
    if backend.codec == "H264":
        for unit in units:
            kinds = [h264.kind(nal_unit) for nal_unit in h264.nal_units(unit.data)]
            assert (h264.IDR in kinds) is unit.is_key, "a key frame is an IDR"
            assert not unit.is_key or {h264.SPS, h264.PPS} <= set(kinds[: kinds.index(h264.IDR)])
    pictures = _decoded(Codec(backend.codec), units)
    assert len(pictures) == len(units), "all decodes"
    assert all(picture.pict_type != PictureType.B for picture in pictures), "no B-frames"
    last = [unit for unit in units if unit.timestamp >= (RATE_AT + 60) * 3000]
    assert sum(len(unit.data) for unit in last) * 8 * 30 / len(last) == pytest.approx(SECOND_BPS, rel=0.2)


def _decoded(codec: Codec, units: list[AccessUnit]) -> list[av.VideoFrame]:
    context = decoder(codec)
    return [picture for unit in units for picture in context.decode(av.Packet(unit.data))]
