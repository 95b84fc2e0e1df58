from aiortc.codecs.h264 import h264_depayload
from aiortc.codecs.vpx import VpxPayloadDescriptor, vp8_depayload
from hypothesis import given
from hypothesis import strategies as st

from media.rtp import packetize
from media.rtp.packetize import PAYLOAD_LIMIT

SPS, PPS, SEI, IDR, DELIMITER, FILLER = (
    b"\x67\x42\xc0\x1f",
    b"\x68\xce",
    b"\x06\x05\x01",
    b"\x65",
    b"\x09\xf0",
    b"\x0c\xff",
)


def annex_b(*units: bytes, start: bytes = b"\x00\x00\x00\x01") -> bytes:
    return b"".join(start + unit for unit in units)


def escaped(body: bytes) -> bytes:
    while b"\x00\x00" in body:
        body = body.replace(b"\x00\x00", b"\x00\x03")
    return body + b"\x80"


units = st.builds(
    lambda nri, kind, body: bytes((nri << 5 | kind,)) + escaped(body),
    st.integers(0, 3),
    st.integers(1, 8),
    st.one_of(st.binary(max_size=40), st.integers(1000, 6000).map(lambda size: b"\xab" * size)),
)


@given(st.lists(units, min_size=1, max_size=8), st.sampled_from([b"\x00\x00\x01", b"\x00\x00\x00\x01"]))
def test_h264_comes_back_whole_from_a_foreign_depayloader(sent: list[bytes], start: bytes) -> None:
    payloads = packetize.h264(annex_b(*sent, start=start))
    assert all(0 < len(payload) <= PAYLOAD_LIMIT for payload in payloads)
    assert b"".join(h264_depayload(payload) for payload in payloads) == annex_b(*sent)


@given(st.binary(max_size=400))
def test_any_bytes_are_packetized_without_an_error(data: bytes) -> None:
    packetize.h264(data)
    packetize.h264(annex_b(data))


def test_parameter_sets_travel_in_one_aggregate_before_the_picture() -> None:
    first, second = packetize.h264(annex_b(DELIMITER, SPS, PPS, SEI, IDR + b"x" * 50, FILLER))
    assert first[0] & 0x1F == 24
    assert first[0] & 0x60 == 0x60
    assert second == IDR + b"x" * 50


def test_a_lone_parameter_set_is_not_aggregated() -> None:
    assert packetize.h264(annex_b(SPS, IDR)) == (SPS, IDR)


def test_fragments_are_equal_but_for_the_last_and_marked_at_both_ends() -> None:
    payloads = packetize.h264(annex_b(IDR + b"\x55" * 5000))
    sizes = {len(payload) for payload in payloads[:-1]}
    assert len(sizes) == 1
    assert len(payloads[-1]) <= sizes.pop()
    assert len(payloads) == 5
    assert [payload[1] & 0xC0 for payload in payloads] == [0x80, 0, 0, 0, 0x40]
    assert all(payload[0] == 0x60 | 28 and payload[1] & 0x1F == 5 for payload in payloads)


def test_a_unit_just_over_the_limit_makes_two_fragments() -> None:
    assert len(packetize.h264(annex_b(IDR + b"\x55" * (PAYLOAD_LIMIT - 1)))) == 1
    assert len(packetize.h264(annex_b(IDR + b"\x55" * PAYLOAD_LIMIT))) == 2


@given(st.binary(min_size=1, max_size=6000))
def test_vp8_comes_back_whole_from_a_foreign_depayloader(frame: bytes) -> None:
    payloads = packetize.Vp8(7)(frame)
    assert all(len(payload) <= PAYLOAD_LIMIT for payload in payloads)
    assert b"".join(vp8_depayload(payload) for payload in payloads) == frame
    descriptors = [VpxPayloadDescriptor.parse(payload)[0] for payload in payloads]
    assert [descriptor.partition_start for descriptor in descriptors] == [1] + [0] * (len(payloads) - 1)
    assert {descriptor.picture_id for descriptor in descriptors} == {7}


def test_picture_ids_rise_by_one_a_frame_and_wrap_after_15_bits() -> None:
    vp8 = packetize.Vp8((1 << 15) - 1)
    ids = [VpxPayloadDescriptor.parse(vp8(b"frame")[0])[0].picture_id for _ in range(3)]
    assert ids == [(1 << 15) - 1, 0, 1]


def test_nothing_makes_no_packet() -> None:
    assert packetize.Vp8()(b"") == packetize.opus(b"") == packetize.h264(b"") == ()


def test_opus_goes_as_it_is() -> None:
    assert packetize.opus(b"\xfc\x01") == (b"\xfc\x01",)


@given(st.lists(st.integers(1, 6).map(lambda size: b"x" * size * 200), min_size=1, max_size=120))
def test_runs_hold_every_payload_once_in_equal_sizes_but_for_the_last_of_each(payloads: list[bytes]) -> None:
    parts = [payloads[run] for run in packetize.runs(payloads)]
    assert [payload for part in parts for payload in part] == payloads
    for part in parts:
        assert {len(payload) for payload in part[:-1]} <= {len(part[0])}
        assert len(part[-1]) <= len(part[0])
        assert len(part) <= packetize.RUN_PACKETS
        assert sum(map(len, part)) <= 60_000


def test_a_fragmented_picture_is_one_run_and_its_parameter_sets_another() -> None:
    payloads = packetize.h264(annex_b(SPS, PPS, IDR + b"\x55" * 9000))
    assert packetize.runs(payloads) == (slice(0, 1), slice(1, len(payloads)))
    assert packetize.runs(()) == ()
