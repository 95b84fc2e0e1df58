"""A name that is no action is told with the nearest that is one."""

import pytest

from channels.auth import actions


@pytest.mark.parametrize("name", actions.SERVED)
def test_nothing_is_said_of_an_action_in_any_case(name: str) -> None:
    assert actions.advice(f"kinesisvideo:{name}") == ""
    assert actions.advice(f"KinesisVideo:{name.upper()}") == ""


@pytest.mark.parametrize(
    "pattern", ["*", "*:*", "kinesisvideo:*", "kinesisvideo:Connect*", "kinesis*:List*", "*Viewer"]
)
def test_nothing_is_said_of_a_pattern_that_covers_an_action(pattern: str) -> None:
    assert actions.advice(pattern) == ""


@pytest.mark.parametrize("pattern", ["kinesisvideo:PutMedia", "kinesisvideo:GetHLS*", "kinesisvideo:*Fragments"])
def test_actions_of_streams_are_told_apart(pattern: str) -> None:
    assert actions.advice(pattern) == f"{pattern} is about streams, which this service does not have"


@pytest.mark.parametrize(
    ("pattern", "near"),
    [
        ("kinesisvideo:ConectAsViewer", "ConnectAsViewer"),
        ("kinesisvideo:connectasmastr", "ConnectAsMaster"),
        ("kinesisvideo:DescribeSignallingChannel", "DescribeSignalingChannel"),
        ("kinesisvideo:GetIceServersConfig", "GetIceServerConfig"),
    ],
)
def test_a_slip_is_told_with_the_right_name(pattern: str, near: str) -> None:
    assert actions.advice(pattern) == f"{pattern} is no action; did you mean kinesisvideo:{near}?"


def test_what_is_like_nothing_is_told_without_a_guess() -> None:
    assert actions.advice("kinesisvideo:Zebra*") == "kinesisvideo:Zebra* is no action"


def test_the_nearest_name_is_found_with_and_without_prefix() -> None:
    assert actions.nearest("kvs:connectasviewer") == actions.nearest("ConnectAsViewr") == "ConnectAsViewer"
    assert actions.nearest("x") == ""


def test_no_action_is_both_served_and_of_streams() -> None:
    assert not set(actions.SERVED) & set(actions.OF_STREAMS)
