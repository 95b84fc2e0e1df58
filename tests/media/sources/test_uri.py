"""The URI form of all sources."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from media.sources import uri
from media.sources.uri import Command, File, Pattern, Place, Rtsp, Screen, Size, UriError, V4l2

SECRET = "hunter2"


def test_each_form_names_what_it_says() -> None:
    expected: dict[str, Place] = {
        "test": Pattern(),
        "test?size=640x360&fps=12.5": Pattern(Size(640, 360), 12.5),
        "file:/srv/a.mp4": File(Path("/srv/a.mp4")),
        "file:///srv/a.mp4?transcode=yes": File(Path("/srv/a.mp4"), transcode=True),
        "v4l2:/dev/video0": V4l2("/dev/video0"),
        "v4l2:/dev/video0?size=640x480&fps=15&format=mjpeg": V4l2("/dev/video0", Size(640, 480), 15.0, "mjpeg"),
        "screen:": Screen(),
        "screen::1.0?region=640x360+100+50&fps=15&cursor=no": Screen(":1.0", Size(640, 360), 100, 50, 15.0, False),
        "screen:?region=640x360": Screen("", Size(640, 360)),
        "command:camera -n 'two words' a\\ b": Command(("camera", "-n", "two words", "a b")),
    }
    assert {text: uri.parse(text) for text in expected} == expected


def test_camera_keeps_its_own_options_in_order_and_spelling() -> None:
    place = uri.parse("rtsp://u:p%40@cam:8554/live?channel=1&transport=udp&subtype=0&transcode=yes&k=%2f")
    assert place == Rtsp("rtsp://u:p%40@cam:8554/live?channel=1&subtype=0&k=%2f", "udp", True)


WRONG = [
    ("v4l2:video0", "needs a device"),
    ("v4l2:/dev/video0?format=M J", "format is a pixel format"),
    ("v4l2:/dev/video0?rate=1", 'no option "rate"; it has size, fps, format and transcode'),
    ("file:a.mp4?loop=no", 'a file has no option "loop"; it has transcode'),
    ("file:a.mp4?transcode=maybe", "yes or no"),
    ("file:~nobody-of-this-name/a.mp4", "there is no home for ~nobody-of-this-name/a.mp4; give the whole path"),
    ("rtsp:camera", "needs the address"),
    ("rtsp://cam:99999/x", "needs the address"),
    ("rtsp://cam/a b", "needs the address"),
    ("rtsp://cam/x?transport=http", "tcp or udp"),
    ("screen:0", "not an X11 display"),
    ("screen:?region=640", "WIDTHxHEIGHT"),
    ("screen:?region=8x8", "at least 16x16"),
    ("command:", "needs a program"),
    ("command:a 'b", "cannot be read"),
    ("file", "is not a source"),
    ("test:pattern", "has no"),
]


def test_wrong_uri_gets_a_sentence() -> None:
    for text, sentence in WRONG:
        with pytest.raises(UriError, match=sentence):
            uri.parse(text)


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=40), st.sampled_from(["", "test?", "file:", "rtsp://", "v4l2:/", "screen:", "command:"]))
def test_any_text_is_read_or_refused(text: str, start: str) -> None:
    with contextlib.suppress(UriError):
        uri.parse(start + text)


SHOWN = [
    (f"rtsp://admin:{SECRET}@cam/1?password={SECRET}", "rtsp://***@cam/1"),
    (f"rtsp://admin:{SECRET}@cam/1?mail=a@{SECRET}", "rtsp://***@cam/1"),
    (f"rtsp://admin:a@{SECRET}@cam/1", "rtsp://***@cam/1"),
    (f"rtsp://admin:a/{SECRET}@cam/1", "rtsp://***"),
    (f"rtsp://admin:a@b/{SECRET}@cam/1", "rtsp://***"),
    (f"rtsp://admin:{SECRET}?b@cam/1", "rtsp://***"),
    (f"rtsp://cam/1?password=a@{SECRET}", "rtsp://***"),
    (f"rtsp://cam/1?password={SECRET}", "rtsp://cam/1"),
    (f"command:ffmpeg -i rtsp://a:{SECRET}@cam", "command:ffmpeg ..."),
    ("command:camera", "command:camera"),
    ("file:a@b?.mp4", "file:a@b?.mp4"),
    (f"admin:{SECRET}@cam/1", "***@cam/1"),
    (f"http://admin:{SECRET}@cam/1", "http://***@cam/1"),
]


def test_what_is_shown_holds_no_credentials() -> None:
    for text, shown in SHOWN:
        assert uri.shown(text) == shown


def test_credentials_stand_neither_in_errors_nor_in_values_that_are_printed() -> None:
    for text in (f"rtsp://u:{SECRET}@cam:x/1", f"http://u:{SECRET}@cam", f"rtsp://u:{SECRET}@cam/1?transport=x"):
        with pytest.raises(UriError) as caught:
            uri.parse(text)
        assert SECRET not in str(caught.value)
    assert SECRET not in repr(uri.parse(f"rtsp://u:{SECRET}@cam/1"))
    assert SECRET not in repr(uri.parse(f"command:camera {SECRET}"))
    assert uri.without_credentials(f"opening rtsp://u:a/{SECRET}@cam/1 now") == "opening rtsp://***@cam/1 now"
