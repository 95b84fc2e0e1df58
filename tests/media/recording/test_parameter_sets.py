"""Parameter sets: found, read for the size, never trusted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.encoders.encoder import AccessUnit
from media.recording import parameter_sets
from media.recording.parameter_sets import ParameterSetError
from tests.media.recording.film import high_profile, pictures


def first(width: int, height: int) -> AccessUnit:
    return pictures(1, width, height)[0]


@pytest.mark.parametrize("size", [(160, 90), (176, 144), (320, 180), (34, 18)])
def test_the_size_is_that_of_the_picture(size: tuple[int, int]) -> None:
    sets = parameter_sets.find(first(*size).data)
    assert sets is not None
    assert parameter_sets.size(sets.sps) == size


def test_the_size_of_a_high_profile_is_read_behind_its_extensions() -> None:
    sets = parameter_sets.find(high_profile(322, 182))
    assert sets is not None
    assert sets.sps[1] == 100
    assert parameter_sets.size(sets.sps) == (322, 182)


def test_a_sample_has_lengths_and_no_parameter_sets() -> None:
    unit = b"\0\0\0\1\x09\x10" + first(160, 90).data
    sample = parameter_sets.sample(unit)
    kinds = []
    while sample:
        length = int.from_bytes(sample[:4], "big")
        kinds.append(sample[4] & 31)
        sample = sample[4 + length :]
    assert 5 in kinds
    assert not {7, 8, 9} & set(kinds)


def test_a_picture_without_parameter_sets_has_none() -> None:
    assert parameter_sets.find(pictures()[1].data) is None
    assert parameter_sets.find(b"") is None


@given(st.binary(max_size=64))
def test_any_bytes_have_a_size_or_raise_the_one_error(data: bytes) -> None:
    parameter_sets.find(data)
    try:
        width, height = parameter_sets.size(data)
    except ParameterSetError:
        return
    assert 0 < width <= 16_384
    assert 0 < height <= 16_384
