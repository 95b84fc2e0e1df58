import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.peer.commands import (
    FOR_ALL,
    MESSAGE_LIMIT,
    ChooseLayer,
    CommandDoor,
    LayerChoice,
    Move,
    Ping,
    Ptz,
    Snapshot,
    Stats,
    answer,
)


def door(allowed: frozenset[str] = FOR_ALL | {"ptz"}) -> CommandDoor:
    return CommandDoor(allowed, 0.0)


def refused(given: object) -> dict[str, Any]:
    assert isinstance(given, str)
    said: dict[str, Any] = json.loads(given)
    assert said["type"] == "error"
    assert said["data"]["message"]
    return {"id": said.get("id"), **said["data"]}


def test_commands_are_decoded_to_values() -> None:
    taken = [
        door().receive(json.dumps(words), 0.0)
        for words in (
            {"type": "snapshot", "id": 7},
            {"type": "layer", "data": {"layer": 1}},
            {"type": "layer", "data": {"layer": None}, "id": "a"},
            {"type": "stats"},
            {"type": "ptz", "data": {"pan": -0.5}},
        )
    ]
    assert taken == [
        Snapshot(7),
        ChooseLayer(LayerChoice(1)),
        ChooseLayer(LayerChoice(None), "a"),
        Stats(),
        Ptz(Move(pan=-0.5)),
    ]


def test_a_ping_carries_any_json_back() -> None:
    ping = door().receive('{"type": "ping", "id": 1, "data": [1, {"a": null}]}', 0.0)
    assert isinstance(ping, Ping)
    assert json.loads(answer("pong", ping.id, ping.data)) == {"type": "pong", "id": 1, "data": [1, {"a": None}]}


@pytest.mark.parametrize(
    ("message", "reason", "id"),
    [
        ("", "malformed", None),
        ("[]", "malformed", None),
        ("[" * 5000, "malformed", None),
        (b"\x00", "not-text", None),
        ("x" * (MESSAGE_LIMIT + 1), "too-long", None),
        ("\u20ac" * (MESSAGE_LIMIT // 2), "too-long", None),
        ('{"type": "input::key", "id": 3, "data": {}}', "unknown", 3),
        ('{"type": "layer", "id": 4}', "malformed", 4),
        ('{"type": "layer", "id": 4, "data": {"layer": -1}}', "malformed", 4),
        ('{"type": "ptz", "id": "p", "data": {"pan": 1.01}}', "malformed", "p"),
        ('{"type": "ptz", "id": "p", "data": {"preset": "; rm"}}', "malformed", "p"),
        ('{"type": "ping", "id": {}}', "malformed", None),
    ],
)
def test_what_is_no_command_is_answered_with_an_error(message: str | bytes, reason: str, id: object) -> None:
    said = refused(door().receive(message, 0.0))
    assert (said["reason"], said["id"]) == (reason, id)


def test_a_command_that_the_viewer_may_not_send_is_refused() -> None:
    assert refused(door(FOR_ALL).receive('{"type": "ptz", "data": {"pan": 1}}', 0.0))["reason"] == "not-allowed"


def test_more_than_ten_a_second_are_refused_and_then_dropped() -> None:
    gate = door()
    for _ in range(10):
        assert gate.receive('{"type": "stats"}', 0.0) == Stats()
    assert refused(gate.receive('{"type": "stats"}', 0.0))["reason"] == "too-many"
    assert [gate.receive('{"type": "stats"}', 0.0) for _ in range(5)] == [None] * 5
    assert gate.receive('{"type": "stats"}', 0.2) == Stats()
    assert (gate.stats.taken, gate.stats.refused, gate.stats.dropped) == (11, 1, 5)


def test_the_layer_changes_now_and_then_only() -> None:
    gate, choice = door(), '{"type": "layer", "data": {"layer": 1}}'
    for _ in range(4):
        assert isinstance(gate.receive(choice, 0.0), ChooseLayer)
    assert refused(gate.receive(choice, 0.0))["reason"] == "too-many"
    assert refused(gate.receive(choice, 1.9))["reason"] == "too-many"
    assert isinstance(gate.receive(choice, 2.1), ChooseLayer)


@given(st.text() | st.binary())
def test_no_message_raises(message: str | bytes) -> None:
    assert isinstance(door().receive(message, 0.0), str)


def test_a_move_becomes_words_of_letters_and_numbers_alone() -> None:
    assert Move(pan=-0.25, zoom=1).words() == ("move", "-0.250", "0.000", "1.000")
    assert Move(pan=-0.0).words() == ("move", "0.000", "0.000", "0.000")
    assert Move(preset=3, pan=1).words() == ("preset", "3")
