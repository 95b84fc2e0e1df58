import pytest

from media.turn_check.steps import Attempt, Seen, StepError, Steps, StepSkipped
from media.turn_check.uri import Way
from media.turn_check.verdict import Advice, Asked, LinkError, Trouble

ASKED = Asked("example.org", "192.0.2.7", 3478, Way.UDP)


class Clock:
    now = 10.0

    def __call__(self) -> float:
        return self.now


def does(outcome: Seen | Exception, clock: Clock):  # type: ignore[no-untyped-def]
    async def work() -> Seen:
        clock.now += 0.0125
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return work


async def taken(steps: Steps, clock: Clock, *outcomes: Seen | Exception) -> list[str]:
    for count, outcome in enumerate(outcomes):
        await steps.take(f"step {count}", does(outcome, clock))
    return [step.result for step in steps.taken]


async def test_steps_are_taken_until_one_fails() -> None:
    clock = Clock()
    steps = Steps(clock, ASKED)
    error = StepError("403", Advice("It is forbidden.", "Allow it."))
    results = await taken(steps, clock, Seen("fine", "look"), StepSkipped("no use"), error, Seen("never"))
    assert results == ["ok", "skipped", "failed", "skipped"]
    first, second, third, last = steps.taken
    assert (first.seen, first.note, first.ms) == ("fine", "look", 12.5)
    assert second.seen == "no use"
    assert (third.seen, third.cause, third.fix) == ("403", "It is forbidden.", "Allow it.")
    assert (last.seen, last.ms) == ("", 0.0)
    attempt = Attempt("turn:x", "UDP", "", tuple(steps.taken))
    assert not attempt.has_passed
    assert attempt.ms == 37.5


async def test_a_skipped_step_may_end_it_all_without_a_failure() -> None:
    clock = Clock()
    steps = Steps(clock)
    assert await taken(steps, clock, StepSkipped("no more", is_end=True), Seen("never")) == ["skipped", "skipped"]
    assert Attempt("turn:x", "UDP", "", tuple(steps.taken)).has_passed
    steps.skip(("a", "b"))
    assert [step.name for step in steps.taken[2:]] == ["a", "b"]


async def test_a_connection_that_fails_is_told_with_its_usual_cause() -> None:
    clock = Clock()
    steps = Steps(clock, ASKED)
    assert await taken(steps, clock, LinkError(Trouble.REFUSED)) == ["failed"]
    assert steps.taken[0].cause == "Nothing listens on UDP port 3478 there."


async def test_an_address_without_a_route_is_no_failure_when_there_is_another() -> None:
    clock = Clock()
    steps = Steps(clock, ASKED, may_lack_route=True)
    assert await taken(steps, clock, LinkError(Trouble.UNREACHABLE), Seen("never")) == ["skipped", "skipped"]
    alone = Steps(clock, ASKED)
    assert await taken(alone, clock, LinkError(Trouble.UNREACHABLE)) == ["failed"]


async def test_without_an_address_the_error_flies() -> None:
    with pytest.raises(LinkError):
        await Steps(Clock()).take("any", does(LinkError(Trouble.SILENT), Clock()))
