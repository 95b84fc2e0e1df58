"""What a probe found, in values and words."""

import msgspec

from media.encoders.backends import BY_NAME, LiveBitrate
from media.encoders.failure import FailureClass
from media.encoders.finding import DAY_S, Finding, Step, chosen

GOOD = Finding(name="nvenc", step=Step.DONE, forces_key=True, bitrate=LiveBitrate.WITH_KEY, probed_at=1000.0)
BAD = Finding(name="nvenc", step=Step.OPEN, failure=FailureClass.DRIVER_MISSING, line="x", probed_at=1000.0)


def test_works_only_what_came_to_the_end_without_failure() -> None:
    assert GOOD.works
    assert not BAD.works
    assert not Finding(name="nvenc", step=Step.SPEED).works


def test_words_say_what_to_do() -> None:
    assert GOOD.words == ""
    assert BAD.words.startswith("driver missing: install the NVIDIA driver")


def test_what_failed_is_asked_again_but_not_what_crashed() -> None:
    for kind, *claims in (
        (None, True, True, True),
        (FailureClass.CRASHED, True, True, True),
        (FailureClass.DRIVER_MISSING, True, False, False),
        (FailureClass.SESSION_LIMIT, False, False, False),
    ):
        found = msgspec.structs.replace(GOOD, failure=kind)
        soon, late = found.is_known(1001.0, retries=False), found.is_known(1000.0 + DAY_S, retries=False)
        assert [soon, found.is_known(1001.0, retries=True), late] == claims, kind


def test_what_a_device_does_not_obey_is_made_up_for_by_opening_it_anew() -> None:
    found = msgspec.structs.replace(GOOD, forces_key=False, bitrate=LiveBitrate.REOPEN)
    assert (found.backend.forces_key, found.backend.bitrate) == (False, LiveBitrate.REOPEN)
    assert GOOD.backend == BY_NAME["nvenc"]
    software = Finding(name="x264", step=Step.DONE, forces_key=False)
    assert software.backend is BY_NAME["x264"]


def test_first_of_the_table_that_works_is_chosen() -> None:
    x264, qsv = (Finding(name=name, step=Step.DONE) for name in ("x264", "qsv"))
    assert chosen((x264, BAD, qsv), "H264") is qsv
    assert chosen((x264, BAD), "H264") is x264
    assert chosen((x264,), "VP8") is None
