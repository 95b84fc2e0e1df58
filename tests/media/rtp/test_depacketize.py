import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.rtp import packetize
from media.rtp.depacketize import FORMS, H264, OPUS, VP8
from tests.media.rtp.test_packetize import IDR, PPS, SEI, SPS, annex_b, units


@given(st.lists(units, min_size=1, max_size=8))
def test_h264_comes_back_whole(sent: list[bytes]) -> None:
    assert H264.join(packetize.h264(annex_b(*sent))) == annex_b(*sent)


@given(st.one_of(st.binary(min_size=1, max_size=60), st.integers(1000, 6000).map(lambda size: b"\xab" * size)))
def test_vp8_comes_back_whole(frame: bytes) -> None:
    payloads = packetize.Vp8(7)(frame)
    assert VP8.join(payloads) == frame
    assert VP8.is_key(payloads) == (not frame[0] & 1)


@given(st.binary(min_size=1, max_size=60))
def test_opus_comes_back_whole(sound: bytes) -> None:
    assert OPUS.join(packetize.opus(sound)) == sound


@given(st.lists(st.binary(max_size=30), max_size=4))
def test_any_bytes_are_a_frame_or_none(payloads: list[bytes]) -> None:
    for form in FORMS.values():
        form.join(payloads)
        form.is_key(payloads)
        for payload in payloads:
            form.starts_key(payload)


@pytest.mark.parametrize(
    ("unit", "is_start"),
    [((SPS,), True), ((SPS, PPS, SEI), True), ((IDR + b"\x88",), True), ((IDR + b"\x48" + b"x" * 9,), False)],
)
def test_a_key_frame_starts_with_its_parameters_or_its_first_slice(unit: tuple[bytes, ...], is_start: bool) -> None:
    assert H264.starts_key(packetize.h264(annex_b(*unit))[0]) is is_start


def test_only_the_first_fragment_starts_a_key_frame_but_each_is_of_one() -> None:
    payloads = packetize.h264(annex_b(IDR + b"\x88" + b"x" * 3000))
    assert [H264.starts_key(payload) for payload in payloads] == [True, False, False]
    assert all(H264.is_key([payload]) for payload in payloads)
    assert not H264.is_key(packetize.h264(annex_b(SPS, b"\x41\x9a" + b"x" * 3000)))


def test_fragments_that_do_not_fit_together_are_no_frame() -> None:
    first, middle, last = packetize.h264(annex_b(IDR + b"\x88" + b"x" * 3000))
    for broken in ([middle, last], [first, first, last], [first, middle], [first, SPS, last], [b"\x7e\x00\x00"]):
        assert H264.join(broken) is None


@pytest.mark.parametrize(
    "payload", [b"\x10\x00a", b"\x90\x80\x05\x00a", b"\x90\x80\x85\x01\x00a", b"\x90\xe0\x85\x01\x07\x20\x00a"]
)
def test_vp8_descriptors_of_all_lengths_are_left_out(payload: bytes) -> None:
    assert VP8.join([payload]) == b"\x00a"
    assert VP8.starts_key(payload)


def test_vp8_starts_at_its_first_partition_only() -> None:
    assert VP8.join([b"\x11\x00a"]) is None
    assert not VP8.is_key([b"\x10\x01a"])
