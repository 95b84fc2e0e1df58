"""H.264 byte streams."""

from media.encoders import annexb

SPS, PPS, IDR = b"\x67\x42\xc0\x1f", b"\x68\xce\x3c\x80", b"\x65\x88\x84\x21"
STREAM = b"\0\0\0\1" + SPS + b"\0\0\0\1" + PPS + b"\0\0\1" + IDR
RECORD = b"\x01\x42\xc0\x1f\xff\xe1\x00\x04" + SPS + b"\x01\x00\x04" + PPS


def test_kinds_and_units() -> None:
    assert annexb.kinds(STREAM) == (annexb.SPS, annexb.PPS, annexb.IDR)
    assert [unit for _, unit in annexb.units(STREAM)] == [SPS, PPS, IDR]
    assert annexb.kinds(b"") == annexb.kinds(b"no start code") == ()


def test_parameter_sets_of_a_stream_and_of_a_record() -> None:
    wanted = b"\0\0\0\1" + SPS + b"\0\0\0\1" + PPS
    assert annexb.parameter_sets(STREAM) == annexb.parameter_sets(RECORD) == wanted
    assert annexb.parameter_sets(b"\0\0\0\1" + SPS + b"\0\0\1" + IDR) == b"", "one alone is of no use"
    for size in range(len(RECORD)):
        annexb.parameter_sets(RECORD[:size])


def test_lengths_become_start_codes() -> None:
    lengths = b"".join(len(unit).to_bytes(4) + unit for unit in (SPS, PPS, IDR))
    assert annexb.with_start_codes(lengths) == b"".join(b"\0\0\0\1" + unit for unit in (SPS, PPS, IDR))
    assert annexb.with_start_codes(STREAM) == STREAM
    assert annexb.with_start_codes(b"\0") == b""


def test_parameter_sets_that_came_once_stand_before_each_key_frame() -> None:
    key = b"\0\0\0\1" + IDR
    assert annexb.ParameterSets().put_before(key) == key
    assert annexb.kinds(annexb.ParameterSets(RECORD).put_before(key)) == (7, 8, 5)
    sets = annexb.ParameterSets()
    assert sets.put_before(STREAM) == STREAM
    assert annexb.kinds(sets.put_before(key)) == (7, 8, 5)
