import base64
import json

import pytest

from channels.names import Role
from channels.signaling.limits import Limits
from channels.signaling.messages import Action, Event
from channels.signaling.protocol import MASTER, Address, Announce, Close, Forward, Refuse, Rules

PAYLOAD = base64.b64encode(b"payload").decode()


def frame(action: str = "SDP_OFFER", **more: str) -> str:
    return json.dumps({"action": action, "messagePayload": PAYLOAD, **more})


def viewer(limits: Limits | None = None, now: float = 0.0, expires_at: float | None = None) -> Rules:
    return Rules(Role.VIEWER, limits or Limits.aws(), now, expires_at)


def master(limits: Limits | None = None) -> Rules:
    return Rules(Role.MASTER, limits or Limits.aws(), 0.0)


@pytest.mark.parametrize("recipient", ["", "v2", "me", "ProducerMaster", "ConsumerViewer", "not valid!"])
def test_a_viewer_reaches_only_the_master_whatever_it_names(recipient: str) -> None:
    effect = viewer().receive(frame(recipientClientId=recipient), 0.0)

    assert isinstance(effect, Forward)
    assert effect.recipient == MASTER


def test_a_master_reaches_the_viewer_it_names() -> None:
    effect = master().receive(frame("SDP_ANSWER", recipientClientId="v1"), 0.0)

    assert isinstance(effect, Forward)
    assert effect.recipient == Address(Role.VIEWER, "v1")
    assert effect.message.payload == PAYLOAD


@pytest.mark.parametrize(("more", "words"), [({}, "required"), ({"recipientClientId": "a b"}, "1 to 256")])
def test_a_master_without_a_valid_recipient_is_told(more: dict[str, str], words: str) -> None:
    effect = master().receive(frame("SDP_ANSWER", correlationId="c", **more), 0.0)

    assert isinstance(effect, Refuse)
    assert effect.status is not None
    assert effect.status.correlation_id == "c"
    assert (effect.status.error_type, effect.status.status_code) == ("InvalidArgumentException", "400")
    assert words in effect.status.description


def test_an_empty_frame_is_a_keep_alive() -> None:
    rules = viewer()

    assert rules.receive("", 500.0) is None
    assert rules.next_deadline() == 500.0 + 600.0


def test_a_malformed_frame_is_answered_even_without_a_correlation_id() -> None:
    effect = viewer().receive("no JSON", 0.0)

    assert isinstance(effect, Refuse)
    assert effect.result == "malformed"
    assert effect.status is not None
    assert effect.status.correlation_id == ""


def test_a_flood_of_malformed_frames_is_not_answered_without_end() -> None:
    rules = viewer()

    answered = [effect for _ in range(100) if isinstance(effect := rules.receive("{", 0.0), Refuse) and effect.status]

    assert len(answered) == 20
    assert isinstance(again := rules.receive("{", 1.0), Refuse)
    assert again.status is not None


@pytest.mark.parametrize(
    ("action", "burst", "per_s", "name"),
    [
        ("SDP_OFFER", 5, 5, "offers_per_second"),
        ("SDP_ANSWER", 5, 5, "answers_per_second"),
        ("ICE_CANDIDATE", 30, 20, "candidates_per_second"),
    ],
)
def test_a_viewer_over_its_rate_is_refused_by_name_and_recovers(action: str, burst: int, per_s: int, name: str) -> None:
    rules = viewer()
    text = frame(action, correlationId="c")

    assert all(isinstance(rules.receive(text, 0.0), Forward) for _ in range(burst))
    refused = rules.receive(text, 0.0)
    assert isinstance(refused, Refuse)
    assert refused.status is not None
    assert refused.status.error_type == "ClientLimitExceededException"
    assert name in refused.status.description
    passed = [rules.receive(text, 1.0) for _ in range(per_s + 1)]
    assert [type(effect) for effect in passed] == [Forward] * per_s + [Refuse]


def test_a_frame_over_the_rate_without_a_correlation_id_is_not_answered() -> None:
    rules = viewer()
    effects = [rules.receive(frame(), 0.0) for _ in range(6)]

    assert isinstance(effects[-1], Refuse)
    assert (effects[-1].status, effects[-1].result, effects[-1].action) == (None, "limited", "SDP_OFFER")


def test_a_master_may_answer_ten_viewers_at_once_with_their_candidates() -> None:
    rules = master()

    for number in range(10):
        assert isinstance(rules.receive(frame("SDP_ANSWER", recipientClientId=f"v{number}"), 0.0), Forward)
        for _ in range(15):
            assert isinstance(rules.receive(frame("ICE_CANDIDATE", recipientClientId=f"v{number}"), 0.0), Forward)


def test_a_master_that_floods_one_viewer_is_held_to_the_rate() -> None:
    rules = master()
    effects = [rules.receive(frame("SDP_ANSWER", recipientClientId="v1"), 0.0) for _ in range(6)]

    assert [type(effect) for effect in effects] == [Forward] * 5 + [Refuse]


def test_a_master_that_names_ever_new_viewers_is_held_to_the_rate_of_the_socket() -> None:
    rules = master()
    effects = [rules.receive(frame("SDP_ANSWER", recipientClientId=f"v{n}"), 0.0) for n in range(300)]

    assert sum(isinstance(effect, Forward) for effect in effects) == 50
    assert len(rules._pairs) <= 120


def test_the_relaxed_profile_has_no_rates_and_no_deadline() -> None:
    rules = viewer(Limits.relaxed())

    assert all(isinstance(rules.receive(frame(), 0.0), Forward) for _ in range(200))
    assert rules.next_deadline() is None
    assert rules.expire(1e9) is None


def test_a_connection_ends_when_idle_and_not_before() -> None:
    rules = viewer()
    rules.receive(frame(), 100.0)

    assert rules.next_deadline() == 700.0
    assert rules.expire(699.9) is None
    assert rules.expire(700.0) == Close(1001, "idle for 600 s")


def test_a_connection_that_only_listens_is_not_idle() -> None:
    rules = viewer()
    rules.heard_at = 599.0

    assert rules.expire(600.0) is None


def test_a_busy_connection_ends_after_its_lifetime() -> None:
    rules = viewer()
    rules.heard_at = 3599.0

    assert rules.expire(3599.0) is None
    assert rules.expire(3600.0) == Close(1001, "the lifetime of a connection is over")


def test_a_connection_ends_with_its_credential() -> None:
    rules = viewer(expires_at=50.0)

    assert rules.next_deadline() == 50.0
    assert rules.expire(50.0) == Close(1001, "the credential has expired", hears_out=False)


def test_the_end_of_a_credential_moves_with_a_moved_clock_and_nothing_else_does() -> None:
    rules = viewer(expires_at=50.0)
    rules.postpone_expiry(500.0)

    assert rules.next_deadline() == 550.0
    assert rules.expire(549.0) is None
    assert rules.expire(600.0) == Close(1001, "the credential has expired", hears_out=False)
    lasting = viewer()
    lasting.postpone_expiry(500.0)
    assert lasting.next_deadline() == 600.0


@pytest.mark.parametrize(("early", "ends_at"), [(0.0, 3600.0), (0.25, 3585.0), (1.0, 3540.0)])
def test_connections_that_began_together_end_apart(early: float, ends_at: float) -> None:
    rules = Rules(Role.VIEWER, Limits(idle_s=None), 0.0, early=early)

    assert rules.next_deadline() == ends_at
    assert rules.expire(ends_at - 0.1) is None
    assert rules.expire(ends_at) == Close(1001, "the lifetime of a connection is over")


def test_go_away_comes_once_a_minute_before_the_end() -> None:
    rules = Rules(Role.VIEWER, Limits(idle_s=None).with_control_messages(), 0.0, early=0.5)

    assert rules.next_deadline() == 3510.0
    assert rules.expire(3509.9) is None
    assert rules.expire(3510.0) == Announce(Event.GO_AWAY)
    assert rules.next_deadline() == 3570.0
    assert rules.expire(3569.9) is None
    assert rules.expire(3570.0) == Close(1001, "the lifetime of a connection is over")


def test_a_connection_whose_end_has_come_is_closed_without_go_away() -> None:
    rules = Rules(Role.VIEWER, Limits().with_control_messages(), 0.0)

    assert rules.expire(7200.0) == Close(1001, "the lifetime of a connection is over")


def test_an_hour_passes_by_its_deadlines() -> None:
    """A busy connection through its whole life, from one deadline to the next."""
    rules = Rules(Role.VIEWER, Limits.aws().with_control_messages(), 0.0)
    now, seen = 0.0, []
    while not (seen and isinstance(seen[-1], Close)):
        now = rules.next_deadline() or 0.0
        rules.receive("", now - 1.0)
        due = rules.expire(now)
        seen += [due] if due is not None else []

    assert (now, [type(effect) for effect in seen]) == (3600.0, [Announce, Close])


def test_a_credential_ends_a_connection_of_the_relaxed_profile_too() -> None:
    assert viewer(Limits.relaxed(), expires_at=9e3).expire(9e3) == Close(
        1001, "the credential has expired", hears_out=False
    )


def test_a_payload_over_the_cap_is_refused_and_the_next_one_passes() -> None:
    rules = viewer(Limits(payload_characters=len(PAYLOAD)))
    long = json.dumps({"action": "SDP_OFFER", "messagePayload": PAYLOAD * 2, "correlationId": "c"})

    refused = rules.receive(long, 0.0)
    assert isinstance(refused, Refuse)
    assert refused.status is not None
    assert "payload_characters" in refused.status.description
    passed = rules.receive(frame(), 0.0)
    assert isinstance(passed, Forward)
    assert passed.message.action is Action.SDP_OFFER
