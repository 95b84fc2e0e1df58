"""A media file that plays for ever."""

from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path

import av
import pytest

from media.encoders.encoder import Codec
from media.sources.file import FileSource
from media.sources.source import EncodedPicture, EncodedSound, Item, Picture, Sound, SourceError
from tests.media.pictures import at_once, write_clip
from tests.media.sources.clips import shades, turned, write_h264


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clips") / "clip.mp4")


def play(source: FileSource, count: int) -> list[Item]:
    playing = source.frames(at_once)
    got = list(islice(playing, count))
    playing.close()
    return got


def pictures(source: FileSource, count: int) -> list[Picture]:
    playing = source.frames(at_once)
    got = list(islice((item for item in playing if isinstance(item, Picture)), count))
    playing.close()
    return got


def brightness(picture: Picture) -> int:
    return bytes(picture.frame.planes[0])[0]


def test_it_says_what_it_holds(clip: Path) -> None:
    source = FileSource(clip)
    assert (source.width, source.height, source.fps, source.has_audio) == (160, 90, 25.0, True)


def test_pictures_come_in_display_order_at_their_times(clip: Path) -> None:
    got = pictures(FileSource(clip), 10)
    assert [picture.time_s for picture in got] == pytest.approx([number / 25 for number in range(10)])
    shades = [brightness(picture) for picture in got]
    assert shades == sorted(shades)
    assert shades[0] < 30 < 190 < shades[-1]


def test_it_loops_and_time_goes_on(clip: Path) -> None:
    got = pictures(FileSource(clip), 35)
    times = [picture.time_s for picture in got]
    assert [brightness(picture) for picture in got[10:20]] == [brightness(picture) for picture in got[:10]]
    steps = [after - before for before, after in pairwise(times)]
    assert steps == pytest.approx([0.04] * 34, abs=0.021), "sound may make a loop a little longer than its pictures"


def test_both_streams_come_in_order_of_time(clip: Path) -> None:
    got = play(FileSource(clip), 90)
    times = [item.time_s for item in got]
    assert times == sorted(times)
    assert sum(isinstance(item, Sound) for item in got) > sum(isinstance(item, Picture) for item in got)


def write_fragmented(path: Path, fps: int, seconds: int) -> Path:
    """An MP4 whose fragments hold all their pictures before all their sound."""
    with av.open(
        str(path), "w", options={"movflags": "empty_moov+default_base_moof", "frag_duration": "3000000"}
    ) as out:
        video = out.add_stream("libx264", rate=fps)
        video.width, video.height, video.pix_fmt = 160, 90, "yuv420p"
        sound = out.add_stream("aac", rate=48_000, layout="stereo")
        packets = []
        for _ in range(fps * seconds):
            packets += video.encode(av.VideoFrame(160, 90, "yuv420p"))
        for block in range(48_000 * seconds // 1024):
            piece = av.AudioFrame("s16", "stereo", 1024)
            piece.sample_rate, piece.pts, piece.time_base = 48_000, block * 1024, Fraction(1, 48_000)
            packets += sound.encode(piece)
        packets += [*video.encode(), *sound.encode()]
        for packet in sorted(packets, key=lambda packet: (packet.dts or 0) * packet.time_base):
            out.mux(packet)
    return path


def test_time_never_falls_where_pictures_lie_far_before_their_sound(tmp_path: Path) -> None:
    got = play(FileSource(write_fragmented(tmp_path / "fragmented.mp4", fps=60, seconds=3)), 260)
    times = [item.time_s for item in got]
    assert times == sorted(times)
    assert sum(isinstance(item, Sound) for item in got) > 90


def test_sound_is_20_ms_of_48_khz_stereo_without_overlap(clip: Path) -> None:
    sounds = [item for item in play(FileSource(clip), 90) if isinstance(item, Sound)]
    assert {(sound.frame.samples, sound.frame.sample_rate, sound.frame.layout.name) for sound in sounds} == {
        (960, 48_000, "stereo")
    }
    steps = [after.time_s - before.time_s for before, after in pairwise(sounds)]
    assert min(steps) > 0.0199
    assert max(bytes(sounds[3].frame.planes[0])) > 0


def test_pictures_do_not_ask_for_key_frames(clip: Path) -> None:
    assert {picture.frame.pict_type for picture in pictures(FileSource(clip), 12)} == {0}


def test_silent_file_has_no_sound(tmp_path: Path) -> None:
    source = FileSource(write_clip(tmp_path / "silent.mp4", audio=False))
    assert not source.has_audio
    assert all(isinstance(item, Picture) for item in play(source, 25))


def test_odd_size_is_rounded_down(tmp_path: Path) -> None:
    source = FileSource(write_clip(tmp_path / "odd.mp4", size=(161, 91), audio=False))
    assert (source.width, source.height) == (160, 90)
    (picture,) = pictures(source, 1)
    assert (picture.frame.width, picture.frame.height, picture.frame.format.name) == (160, 90, "yuv420p")


@pytest.mark.parametrize("audio", [False, True])
def test_file_of_one_picture_plays_on(tmp_path: Path, audio: bool) -> None:
    got = pictures(FileSource(write_clip(tmp_path / "one.mp4", pictures=1, audio=audio)), 5)
    assert [picture.time_s for picture in got] == pytest.approx([0, 0.04, 0.08, 0.12, 0.16], abs=0.005)
    assert len({id(picture.frame) for picture in got}) == 5, "encoders keep a picture while the next one is stamped"


def test_stream_without_time_stamps_keeps_its_rate(tmp_path: Path) -> None:
    path = tmp_path / "raw.h264"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, 90, "yuv420p"
        for _ in range(5):
            container.mux(stream.encode(av.VideoFrame(160, 90, "yuv420p")))
        container.mux(stream.encode())
    got = pictures(FileSource(path), 7)
    assert [picture.time_s for picture in got] == pytest.approx([number / 25 for number in range(7)])


def test_damaged_middle_costs_pictures_and_no_more(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", pictures=40, audio=False)
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        place = packets[20].pos
    data = bytearray(path.read_bytes())
    assert place is not None
    data[place : place + packets[20].size] = b"\xff" * packets[20].size
    path.write_bytes(data)
    times = [picture.time_s for picture in pictures(FileSource(path), 60)]
    assert times == sorted(times)
    assert times[-1] > 1.6


def test_damaged_pictures_are_refused_at_the_start_and_end_the_source_later(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", audio=False)
    source = FileSource(path)
    with av.open(str(path)) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    for place, size in places:
        assert place is not None
        data[place : place + size] = b"\xff" * size
    path.write_bytes(data)
    with pytest.raises(SourceError, match="gave no picture"):
        list(source.frames(at_once))
    with pytest.raises(SourceError, match="none of its pictures can be decoded"):
        FileSource(path)


def test_still_ends_when_the_pace_says_so(tmp_path: Path) -> None:
    source = FileSource(write_clip(tmp_path / "one.mp4", pictures=1, audio=False))
    assert len(list(source.frames(lambda time_s: time_s < 0.19))) == 5


def test_picture_too_small_to_encode_is_refused(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "tiny.mp4", size=(16, 10), audio=False)
    with pytest.raises(SourceError, match="is 16x10; a side must have 16 to 4096 pixels"):
        FileSource(path)


def test_file_that_vanishes_while_it_plays_is_a_source_error(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", pictures=3, audio=False)
    playing = FileSource(path).frames(at_once)
    next(playing)
    path.unlink()
    with pytest.raises(SourceError, match="does not exist"):
        list(islice(playing, 10))


def test_it_ends_when_the_pace_says_so(clip: Path) -> None:
    assert all(item.time_s < 0.2 for item in FileSource(clip).frames(lambda time_s: time_s < 0.2))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [(None, "does not exist"), (b"", "not a media file"), (b"no picture here, only words\n" * 40, "not a media file")],
)
def test_wrong_file_is_refused_by_a_sentence(tmp_path: Path, content: bytes | None, sentence: str) -> None:
    path = tmp_path / "wrong.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SourceError, match=sentence):
        FileSource(path)


def test_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="is a folder"):
        FileSource(tmp_path)


def test_truncated_file_is_refused(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4")
    path.write_bytes(path.read_bytes()[:1500])
    with pytest.raises(SourceError, match=r"clip\.mp4"):
        FileSource(path)


def test_file_without_video_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sound.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=48_000, layout="mono")
        frame = av.AudioFrame("s16", "mono", 960)
        frame.sample_rate = 48_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(SourceError, match="holds no video"):
        FileSource(path)


def test_playlist_opens_no_address(tmp_path: Path) -> None:
    path = tmp_path / "list.m3u8"
    path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://192.0.2.1/a.ts\n#EXT-X-ENDLIST\n")
    with pytest.raises(SourceError):
        FileSource(path)


def test_baseline_and_opus_are_passed_on_and_loop(tmp_path: Path) -> None:
    source = FileSource(write_h264(tmp_path / "a.mkv", opus=True))
    assert source.passes == {Codec.H264, Codec.OPUS}
    playing = source.frames(at_once)
    got = list(islice(playing, 140))
    playing.close()
    images = [item for item in got if isinstance(item, EncodedPicture)]
    sounds = [item for item in got if isinstance(item, EncodedSound)]
    assert len(images) + len(sounds) == 140
    assert len(sounds) > len(images) > 40
    assert [picture.is_key for picture in images[:30]] == [number % 10 == 0 for number in range(30)]
    got_shades = shades(images)
    assert got_shades[20:40] == pytest.approx(got_shades[:20], abs=6), "the second loop is the first again"
    steps = [after.time_s - before.time_s for before, after in pairwise(images)]
    assert steps == pytest.approx([0.04] * (len(images) - 1), abs=0.022)
    assert min(after.time_s - before.time_s for before, after in pairwise(sounds[1:18])) > 0.018


@pytest.mark.parametrize("profile", ["baseline", "main"])
def test_variable_frame_rate_keeps_the_times_of_the_file(tmp_path: Path, profile: str) -> None:
    source = FileSource(write_h264(tmp_path / "a.mp4", profile=profile, pictures=8, steps=(1, 3, 2)))
    playing = source.frames(at_once)
    times = [item.time_s for item in islice(playing, 7)]
    playing.close()
    assert times == pytest.approx([0, 0.04, 0.16, 0.24, 0.28, 0.4, 0.48])


def test_what_could_be_passed_is_encoded_where_that_is_wished(tmp_path: Path) -> None:
    source = FileSource(write_h264(tmp_path / "a.mp4", size=(162, 92)), transcode=True)
    assert (source.passes, source.width, source.height) == (set(), 162, 92)
    assert isinstance(next(source.frames(at_once)), Picture)


def test_damaged_packet_is_passed_on_and_the_rest_plays(tmp_path: Path) -> None:
    path = write_h264(tmp_path / "a.mp4")
    with av.open(str(path)) as container:
        place, size = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size][4]
    assert place is not None
    data = bytearray(path.read_bytes())
    data[place : place + size] = b"\xff" * size
    path.write_bytes(data)
    playing = FileSource(path).frames(at_once)
    got = list(islice(playing, 45))
    playing.close()
    assert sum(item.is_key for item in got if isinstance(item, EncodedPicture)) >= 4


def test_what_a_phone_took_upright_is_shown_upright(tmp_path: Path) -> None:
    one = 1 << 16
    path = write_h264(tmp_path / "a.mp4", is_split=True)
    for matrix, size, bright in (
        ((0, one, 0, -one, 0, 0, 0, 0, 1 << 30), (90, 160), (45, 10)),
        ((0, -one, 0, one, 0, 0, 0, 0, 1 << 30), (90, 160), (45, 150)),
        ((-one, 0, 0, 0, -one, 0, 0, 0, 1 << 30), (160, 90), (150, 45)),
    ):
        source = FileSource(turned(path, matrix))
        (picture,) = pictures(source, 1)
        plane, x, y = picture.frame.planes[0], *bright
        assert (source.passes, source.width, source.height) == (set(), *size)
        assert memoryview(plane)[y * plane.line_size + x] > 200
        assert memoryview(plane)[(size[1] - 1 - y) * plane.line_size + size[0] - 1 - x] < 50


def test_picture_that_stands_long_is_shown_again(tmp_path: Path) -> None:
    got = pictures(FileSource(write_h264(tmp_path / "a.mp4", profile="main", pictures=3, steps=(13, 1))), 5)
    assert [picture.time_s for picture in got] == pytest.approx([0, 0.2, 0.4, 0.52, 0.56])
    assert got[0].frame is not got[1].frame
