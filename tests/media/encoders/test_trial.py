"""The trial of an encoder, with a device that does wrong what it is told to."""

import pytest

from media.encoders import trial
from media.encoders.backends import BY_NAME, LiveBitrate
from media.encoders.choose import Chains
from media.encoders.failure import FailureClass
from media.encoders.finding import Finding, Step
from tests.media.encoders.fake import FakeDevice, Faults


def tried(faults: Faults) -> tuple[Finding, list[Finding]]:
    said: list[Finding] = []
    return trial.run(BY_NAME["nvenc"], FakeDevice(faults).open, said.append), said


FAULTS = (
    (Faults(does_not_open="OpenEncodeSessionEx failed: unsupported device (2)"), FailureClass.NO_NVENC, Step.OPEN),
    (Faults(dies_at=2), FailureClass.BROKE, Step.ENCODE),
    (Faults(holds_back=12), FailureClass.LATE, Step.ENCODE),
    (Faults(stalls_at=2), FailureClass.LATE, Step.ENCODE),
    (Faults(swaps_at=1), FailureClass.WRONG_ORDER, Step.ENCODE),
    (Faults(repeats_at=2), FailureClass.WRONG_ORDER, Step.ENCODE),
    (Faults(dies_at=8), FailureClass.BROKE, Step.KEY_FRAME),
)


def test_fault_has_its_class_and_shows_how_far_it_came() -> None:
    for faults, kind, step in FAULTS:
        found, said = tried(faults)
        assert (found.failure, found.step, found.works) == (kind, step, False), faults
        assert said[-1] == found
        assert found.opens is (step is not Step.OPEN)
        assert found.decodes_back is {Step.OPEN: None, Step.ENCODE: False, Step.KEY_FRAME: True}[step]


def test_units_that_do_not_decode_are_a_wrong_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "LEVEL_ERROR", 0)
    found, _ = tried(Faults())
    assert found.failure is FailureClass.WRONG_PICTURE
    assert "picture 0 is off by" in found.line


@pytest.mark.slow
@pytest.mark.parametrize(
    ("faults", "forces_key", "bitrate", "held"),
    [
        (Faults(), True, LiveBitrate.IN_PLACE, 0),
        (Faults(holds_back=2), True, LiveBitrate.IN_PLACE, 2),
        (Faults(ignores_key=True), False, LiveBitrate.IN_PLACE, 0),
        (Faults(ignores_bitrate=True), True, LiveBitrate.REOPEN, 0),
    ],
)
def test_what_works_is_measured_and_what_is_ignored_reported(
    faults: Faults, forces_key: bool, bitrate: LiveBitrate, held: int
) -> None:
    found, said = tried(faults)
    assert found.works, found.words
    assert (found.forces_key, found.bitrate, found.held_pictures) == (forces_key, bitrate, held)
    assert found.fps_720p is not None
    assert found.fps_720p > 5
    assert found.first_packet_ms is not None
    assert [each.step for each in said][-1] is Step.DONE


@pytest.mark.slow
@pytest.mark.parametrize(("name", "bitrate"), [("x264", LiveBitrate.IN_PLACE), ("vpx", LiveBitrate.REOPEN)])
def test_software_passes(name: str, bitrate: LiveBitrate) -> None:
    found = trial.run(BY_NAME[name], Chains().open, lambda _: None)
    assert found.works, found.words
    assert (found.decodes_back, found.forces_key, found.bitrate) == (True, True, bitrate)
