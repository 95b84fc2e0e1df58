"""The test pattern as a source."""

from itertools import islice

import av
import pytest

from media.sources import counter
from media.sources.pattern import PatternSource
from media.sources.scene import Moment, Scene
from media.sources.source import Picture, Sound, SourceError
from tests.media.pictures import at_once


def items(source: PatternSource, count: int) -> list[Picture | Sound]:
    playing = source.frames(at_once)
    got = list(islice(playing, count))
    playing.close()
    return got


def numbers(got: list[Picture | Sound]) -> list[int | None]:
    read = []
    for item in got:
        if isinstance(item, Picture):
            plane = item.frame.planes[0]
            value = counter.read(memoryview(plane), plane.line_size, item.frame.width, item.frame.height)
            read.append(value.number if value else None)
    return read


def test_pictures_and_sounds_come_in_order_of_time() -> None:
    got = items(PatternSource(160, 90, 15), 66)
    times = [item.time_s for item in got]
    assert times == sorted(times)
    assert [item.time_s for item in got if isinstance(item, Picture)][:3] == pytest.approx([0, 1 / 15, 2 / 15])
    assert [item.time_s for item in got if isinstance(item, Sound)][:3] == pytest.approx([0, 0.02, 0.04])


def test_pictures_are_counted_and_the_count_goes_on_when_it_is_played_again() -> None:
    source = PatternSource(160, 90, 50)
    assert numbers(items(source, 6)) == [0, 1, 2]
    assert numbers(items(source, 6)) == [3, 4, 5]


def test_clock_is_read_when_the_picture_is_made() -> None:
    wall = iter(range(5_000, 6_000))
    source = PatternSource(160, 90, 50, wall_ms=lambda: next(wall))
    pictures = [item for item in items(source, 4) if isinstance(item, Picture)]
    plane = pictures[1].frame.planes[0]
    value = counter.read(memoryview(plane), plane.line_size, 160, 90)
    assert value is not None
    assert value.wall_ms == 5_001


def test_pictures_in_frames_that_were_used_before_are_whole() -> None:
    source, addresses = PatternSource(320, 180, 15, wall_ms=lambda: 7), list[int]()
    source.is_muted = True
    for number, item in enumerate(islice(source.frames(at_once), 12)):
        assert isinstance(item, Picture)
        addresses.append(item.frame.planes[0].buffer_ptr)
        fresh = av.VideoFrame(320, 180, "yuv420p")
        scene = Scene(fresh)
        scene.stamp(scene.paint(fresh, number), Moment(number, number / 15, 7))
        assert (item.frame.to_ndarray() == fresh.to_ndarray()).all()
    assert len(set(addresses)) < len(addresses)


def test_picture_is_painted_before_it_is_due_and_tells_the_time_at_which_it_is() -> None:
    now = 0

    def pace(time_s: float) -> bool:
        nonlocal now
        now = round(1000 * time_s)
        waits.append(now)
        return True

    waits: list[int] = []
    source = PatternSource(160, 90, 10, wall_ms=lambda: now)
    source.is_muted = True
    playing = source.frames(pace)
    pictures = [next(playing) for _ in range(3)]
    assert waits == [-30, 0, 70, 100, 170, 200]
    plane = pictures[2].frame.planes[0]
    value = counter.read(memoryview(plane), plane.line_size, 160, 90)
    assert value is not None
    assert value.wall_ms == 200


def test_picture_that_is_kept_is_not_painted_over() -> None:
    pictures = [item for item in items(PatternSource(160, 90, 50), 40) if isinstance(item, Picture)]
    assert numbers(list(pictures)) == list(range(20))


def test_pictures_do_not_ask_for_key_frames() -> None:
    assert {item.frame.pict_type for item in items(PatternSource(160, 90, 50), 10) if isinstance(item, Picture)} == {0}


def test_sound_is_20_ms_of_48_khz_stereo() -> None:
    sound = next(item for item in items(PatternSource(160, 90, 50), 4) if isinstance(item, Sound))
    assert (sound.frame.samples, sound.frame.sample_rate, sound.frame.layout.name) == (960, 48_000, "stereo")


def test_sound_that_nobody_hears_is_left_out_and_comes_back_in_its_time() -> None:
    source = PatternSource(160, 90, 10)
    source.is_muted = True
    playing = source.frames(at_once)
    assert [type(next(playing)) for _ in range(3)] == [Picture] * 3
    source.is_muted = False
    got = list(islice(playing, 6))
    assert [item.time_s for item in got] == pytest.approx([0.2, 0.22, 0.24, 0.26, 0.28, 0.3])
    assert [type(item) for item in got] == [Sound] * 5 + [Picture]


def test_it_ends_when_the_pace_says_so() -> None:
    assert sum(1 for _ in PatternSource(160, 90, 10).frames(lambda time_s: time_s < 0.5)) == 5 + 25


@pytest.mark.parametrize(
    ("size", "fps", "sentence"),
    [
        ((161, 90), 30, "even width and height"),
        ((158, 90), 30, "cannot be 158x90"),
        ((640, 100), 30, "height of at least a fifth"),
        ((8192, 4096), 30, "160 to 4096"),
        ((320, 180), 0, "1 to 120 frames per second, not 0"),
        ((320, 180), 500, "not 500"),
    ],
)
def test_impossible_pattern_is_refused_by_a_sentence(size: tuple[int, int], fps: float, sentence: str) -> None:
    with pytest.raises(SourceError, match=sentence):
        PatternSource(*size, fps)
