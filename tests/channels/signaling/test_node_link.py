"""The link between two nodes, by example; `test_node_link_faults` has a bus that does what it likes."""

from typing import Any

from channels.signaling.link_frame import Frame, decode
from channels.signaling.node_link import (
    ACKNOWLEDGE_S,
    RESEND_S,
    WINDOW,
    NodeLink,
    Outcome,
    Settled,
)


def frames(link: NodeLink[Any], now: float) -> list[Frame]:
    return [decode(payload) for payload in link.frames(now)]


def pair() -> tuple[NodeLink[str], NodeLink[str]]:
    return NodeLink("a", 1), NodeLink("b", 1)


def say(link: NodeLink[str], *words: str, flow: str = "f", until: float = 100.0) -> None:
    for word in words:
        assert link.send(word.encode(), flow, word, until)


def pass_on(sent: list[Frame], to: NodeLink[str]) -> tuple[list[tuple[str, Outcome]], list[str]]:
    settled: list[tuple[str, Outcome]] = []
    arrived: list[str] = []
    for frame in sent:
        mine, theirs = to.receive(frame)
        settled += outcomes(mine)
        arrived += [body.body.decode() for body in theirs]
    return settled, arrived


def outcomes(settled: list[Settled[str]]) -> list[tuple[str, Outcome]]:
    return [(each.context, each.outcome) for each in settled]


def test_what_is_said_in_one_turn_goes_out_in_one_frame_and_is_acknowledged_with_the_next() -> None:
    a, b = pair()
    say(a, "1", "2", "3")
    (frame,) = frames(a, 0.0)
    assert pass_on([frame], b) == ([], ["1", "2", "3"])
    say(b, "x")
    (answer,) = frames(b, 0.01)
    assert pass_on([answer], a) == (
        [("1", Outcome.DELIVERED), ("2", Outcome.DELIVERED), ("3", Outcome.DELIVERED)],
        ["x"],
    )

    assert len(a) == 0
    assert frames(b, 0.01) == []
    assert a.acknowledge_in(0.01) == ACKNOWLEDGE_S - 0.01
    assert pass_on(frames(a, 0.02), b) == ([("x", Outcome.DELIVERED)], [])
    assert a.is_idle
    assert b.is_idle


def test_messages_that_are_said_one_by_one_acknowledge_many_at_a_time() -> None:
    a, b = pair()
    settled = []
    for number in range(8):
        now = number * ACKNOWLEDGE_S / 6
        say(a, str(number))
        pass_on(frames(a, now), b)
        say(b, "x")
        settled.append(len(pass_on(frames(b, now), a)[0]))
    assert settled == [1, 0, 0, 3, 0, 0, 3, 0]


def test_a_verdict_goes_with_every_message_until_it_is_known() -> None:
    a, b = pair()
    say(a, "1")
    pass_on(frames(a, 0.0), b)
    say(a, "2")
    frames(b, 0.0)  # a young acknowledgement
    _, (arrived,) = b.receive(frames(a, 0.0)[0])
    b.refuse(arrived, Outcome.ABSENT)
    say(b, "x")
    frames(b, 0.0)  # lost
    say(b, "y")
    assert pass_on(frames(b, 0.0), a)[0] == [("1", Outcome.DELIVERED), ("2", Outcome.ABSENT)]


def test_what_was_lost_is_sent_again_and_what_came_early_waits_for_it() -> None:
    a, b = pair()
    say(a, "1")
    frames(a, 0.0)  # lost
    say(a, "2")
    assert pass_on(frames(a, 0.1), b) == ([], [])
    assert a.expire(RESEND_S) == []
    (again,) = frames(a, RESEND_S)

    assert pass_on([again], b) == ([], ["1", "2"])
    assert pass_on([again], b) == ([], [])
    assert b.duplicates == 1
    assert outcomes(a.receive(frames(b, 0.5)[0])[0]) == [("1", Outcome.DELIVERED), ("2", Outcome.DELIVERED)]
    assert a.expire(9.0) == []
    assert a.resent == 1


def test_a_bus_that_is_back_gets_everything_at_once_and_silence_makes_suspects() -> None:
    a, b = pair()
    say(a, "1", flow="f")
    say(a, "2", flow="g")
    frames(a, 0.0)
    say(a, "3", flow="h")
    assert a.suspects() == ()
    a.resend()
    assert pass_on(frames(a, 0.1), b) == ([], ["1", "2", "3"])

    assert a.suspects() == ("f", "g")


def test_a_body_that_nobody_took_is_told_so_until_that_is_known() -> None:
    a, b = pair()
    say(a, "1", "2", "3")
    _, arrived = b.receive(frames(a, 0.0)[0])
    b.refuse(arrived[1], Outcome.ABSENT)
    b.refuse(arrived[2], Outcome.SLOW)
    frames(b, 0.0)  # lost
    a.expire(RESEND_S)
    pass_on(frames(a, RESEND_S), b)
    (answer,) = frames(b, RESEND_S)

    expected = [("1", Outcome.DELIVERED), ("2", Outcome.ABSENT), ("3", Outcome.SLOW)]
    assert outcomes(a.receive(answer)[0]) == expected
    say(a, "4")
    pass_on(frames(a, 1.0), b)
    assert frames(b, 1.0)[0].refused == ()


def test_a_body_that_is_deferred_holds_the_acknowledgement_back() -> None:
    a, b = pair()
    say(a, "1", "2", "3")
    _, arrived = b.receive(frames(a, 0.0)[0])
    b.defer(arrived[1])
    assert outcomes(a.receive(frames(b, 0.0)[0])[0]) == [("1", Outcome.DELIVERED)]
    assert not b.is_idle
    b.accept(arrived[1])
    b.accept(arrived[1])
    assert outcomes(a.receive(frames(b, 0.1)[0])[0]) == [("2", Outcome.DELIVERED), ("3", Outcome.DELIVERED)]


def test_a_deferred_body_that_its_sender_gave_up_holds_nothing_back() -> None:
    a, b = pair()
    say(a, "1", until=1.0)
    _, arrived = b.receive(frames(a, 0.0)[0])
    b.defer(arrived[0])
    assert outcomes(a.expire(1.0)) == [("1", Outcome.DOUBTFUL)]
    say(a, "2")
    pass_on(frames(a, 1.0), b)
    assert outcomes(a.receive(frames(b, 1.0)[0])[0]) == [("2", Outcome.DELIVERED)]
    b.refuse(arrived[0], Outcome.ABSENT)
    assert a.receive(frames(b, 1.1)[0]) == ([], [])


def test_what_surely_reached_nobody_may_go_elsewhere_with_all_that_follows_it() -> None:
    a, _ = pair()
    say(a, "1", flow="f", until=1.5)
    frames(a, 0.0)
    say(a, "2", flow="g", until=1.6)
    (unheard,) = frames(a, 0.1)
    a.unheard(unheard)
    a.unheard(Frame("a", 9, 1, messages=((1, b"another epoch"),)))
    say(a, "3", flow="f", until=3.0)
    say(a, "4", flow="g", until=9.0)

    assert outcomes(a.expire(1.6)) == [("1", Outcome.DOUBTFUL), ("2", Outcome.UNSENT), ("4", Outcome.UNSENT)]
    assert outcomes(a.withdraw("f")) == [("3", Outcome.UNSENT)]
    assert a.is_idle


def test_what_nobody_heard_goes_nowhere_else_when_something_after_it_may_have_arrived() -> None:
    a, _ = pair()
    say(a, "1", "2", until=1.5)
    for frame in frames(a, 0.0):
        a.unheard(frame)
    say(a, "3", until=1.0)
    frames(a, 0.1)

    assert outcomes(a.expire(1.0)) == [("3", Outcome.DOUBTFUL)]
    say(a, "4", until=1.5)
    assert outcomes(a.expire(1.5)) == [("1", Outcome.DOUBTFUL), ("2", Outcome.DOUBTFUL), ("4", Outcome.UNSENT)]


def test_what_the_sender_gave_up_is_skipped_and_never_handed_over_later() -> None:
    a, b = pair()
    say(a, "1", until=1.0)
    (late,) = frames(a, 0.0)
    say(a, "2", "3")
    assert pass_on(frames(a, 0.1), b) == ([], [])
    assert outcomes(a.expire(1.0)) == [("1", Outcome.DOUBTFUL)]

    assert pass_on(frames(a, 1.0), b) == ([], ["2", "3"])
    assert pass_on([late], b) == ([], [])


def test_too_much_on_its_way_is_refused() -> None:
    a, b = pair()
    assert all(a.send(b"", "f", "", 9.0) for _ in range(WINDOW))
    assert not a.send(b"", "f", "", 9.0)
    full = frames(a, 0.0)
    assert len(full) == WINDOW // 256
    for frame in full:
        b.receive(frame)
    a.receive(frames(b, 0.0)[0])
    assert not a.send(bytes(9_000_000), "f", "", 9.0)
    assert a.send(bytes(300_000), "f", "", 9.0)
    assert a.send(bytes(300_000), "f", "", 9.0)
    assert [len(frame.messages) for frame in frames(a, 0.0)] == [1, 1]


def test_an_end_that_was_forgotten_starts_a_new_epoch_and_the_old_one_is_void() -> None:
    a, b = pair()
    say(a, "1", "2")
    (old,) = frames(a, 0.0)
    pass_on([old], b)
    again = NodeLink[str]("a", 2)
    say(again, "3")
    assert pass_on(frames(again, 1.0), b) == ([], ["3"])
    assert pass_on([old], b) == ([], [])
    assert outcomes(again.receive(frames(b, 1.0)[0])[0]) == [("3", Outcome.DELIVERED)]
    assert a.receive(frames(b, 1.0)[0] if b.has_news else Frame("b", 1, 1, 2, 1)) == ([], [])


def test_a_verdict_about_an_older_epoch_is_void() -> None:
    a, b = pair()
    say(a, "1")
    _, (arrived,) = b.receive(frames(a, 0.0)[0])
    b.defer(arrived)
    b.receive(Frame("a", 2, 1))
    b.refuse(arrived, Outcome.ABSENT)
    b.accept(arrived)
    assert b.is_idle


def test_a_receiver_keeps_only_so_much_that_came_early() -> None:
    _, b = pair()
    far = Frame("a", 1, 1, messages=((1 + WINDOW, b"too far"), (2, b"two"), (3, bytes(9_000_000))))
    assert b.receive(far) == ([], [])
    _, arrived = b.receive(Frame("a", 1, 1, messages=((1, b"one"), (3, b"three"))))
    assert [each.body for each in arrived] == [b"one", b"two", b"three"]
