"""Steps of a check in order: each takes its turn until one fails; what was seen, how long it took, what to do."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Literal

import msgspec

from media.turn_check.verdict import Advice, Asked, LinkError, Trouble, unreached

Result = Literal["ok", "failed", "skipped"]


class Step(msgspec.Struct, frozen=True, omit_defaults=True):
    """One step; `seen` is what came of it, `note` what is worth a look though nothing failed."""

    name: str
    result: Result
    ms: float = 0.0
    seen: str = ""
    note: str = ""
    cause: str = ""
    fix: str = ""


class Attempt(msgspec.Struct, frozen=True):
    """One URI by one way to one address; `address` is empty where the name led to none."""

    uri: str
    way: str
    address: str
    steps: tuple[Step, ...]

    @property
    def has_passed(self) -> bool:
        """Whether no step failed."""
        return all(step.result != "failed" for step in self.steps)

    @property
    def ms(self) -> float:
        """Milliseconds of all steps."""
        return sum(step.ms for step in self.steps)


class Seen(msgspec.Struct, frozen=True):
    """What a step that went well saw."""

    text: str
    note: str = ""


class StepError(Exception):
    """The step failed: what was seen, and what to do about it."""

    def __init__(self, seen: str, advice: Advice) -> None:
        super().__init__(seen)
        self.seen = seen
        self.advice = advice


class StepSkipped(Exception):  # noqa: N818  # no error: there is nothing to be tried
    """The step does not apply; with `is_end` no later one does either."""

    def __init__(self, reason: str, *, is_end: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_end = is_end


class Steps:
    """Records one step after the other; `now` gives seconds. `asked` is where a connection that fails was to go.

    With `may_lack_route` an address that this machine has no route to is no failure: its name has another one.
    """

    def __init__(self, now: Callable[[], float], asked: Asked | None = None, *, may_lack_route: bool = False) -> None:
        self.taken: list[Step] = []
        self.is_over = False
        self._now = now
        self._asked = asked
        self._may_lack_route = may_lack_route

    async def take(self, name: str, work: Callable[[], Awaitable[Seen]]) -> None:
        """Do a step, or note that it was skipped since an earlier one failed."""
        if self.is_over:
            self.skip((name,))
            return
        began = self._now()
        step = await self._done(name, work)
        self.taken.append(msgspec.structs.replace(step, ms=round((self._now() - began) * 1000, 1)))

    def skip(self, names: Iterable[str]) -> None:
        """Note steps that were not taken."""
        self.taken += [Step(name, "skipped") for name in names]

    async def _done(self, name: str, work: Callable[[], Awaitable[Seen]]) -> Step:
        try:
            seen = await work()
        except StepSkipped as skipped:
            self.is_over = skipped.is_end
            return Step(name, "skipped", seen=skipped.reason)
        except LinkError as error:
            self.is_over = True
            if error.trouble is Trouble.UNREACHABLE and self._may_lack_route:
                return Step(name, "skipped", seen=f"this machine has no route there ({error})")
            if self._asked is None:
                raise
            advice = unreached(error, self._asked, name)
            return Step(name, "failed", seen=str(error), cause=advice.cause, fix=advice.fix)
        except StepError as error:
            self.is_over = True
            return Step(name, "failed", seen=error.seen, cause=error.advice.cause, fix=error.advice.fix)
        return Step(name, "ok", seen=seen.text, note=seen.note)
