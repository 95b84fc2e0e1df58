"""From runs to rows: figures, ratios run by run, and whether a goal was met. Pure."""

import operator
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import msgspec

from app.bench import Ratio, Row
from tests.benchmarks._signaling_load import Report

_COMPARE: Mapping[str, Callable[[float, float], bool]] = {"<": operator.lt, "<=": operator.le, ">=": operator.ge}
Figures = Mapping[str, Sequence[float]]
"""One figure of each run by relay; ours comes first, the yardstick of the ratio second."""


class Goal(msgspec.Struct, frozen=True):
    """What a row must reach: our figure, or its median ratio to the yardstick."""

    of: Literal["ours", "ratio"]
    sign: Literal["<", "<=", ">="]
    value: float

    def is_met(self, ours: float, ratio: Ratio | None) -> bool:
        """Whether a row reached it; without a ratio there is none to reach."""
        figure = ours if self.of == "ours" else ratio.median if ratio else float("nan")
        return _COMPARE[self.sign](figure, self.value)

    def __str__(self) -> str:
        return f"{'ratio ' if self.of == 'ratio' else ''}{self.sign} {self.value:g}"


def row(name: str, unit: str, figures: Figures, goal: Goal | None, note: str, *, best: bool = False) -> Row:
    """One row of the medians of all runs, or of the least of each where the noise of a host only adds (`best`).

    The note begins with the range of every relay, and the medians of those that are neither ours nor the yardstick.
    """
    pick = min if best else statistics.median
    (_, mine), *others = figures.items()
    peer_name, theirs = others[0] if others else (None, None)
    ours = pick(mine)
    ratio = Ratio.of(mine, theirs) if theirs else None
    return Row(
        name=name,
        ours=rounded(ours),
        peer=rounded(pick(theirs)) if theirs else None,
        peer_name=peer_name,
        unit=unit,
        ratio=ratio,
        goal=str(goal) if goal else "-",
        note="; ".join([*_ranges(figures), *(["best of the runs"] if best else []), note]),
        is_met=goal.is_met(ours, ratio) if goal else None,
    )


def _ranges(figures: Figures) -> list[str]:
    ours, *others = figures.items()
    peer, rest = others[:1], others[1:]
    both = ", ".join(f"{'' if pair is ours else pair[0] + ' '}{_range(pair[1])}" for pair in (ours, *peer))
    return [both, *(f"{name} {shown(statistics.median(values))} ({_range(values)})" for name, values in rest)]


def _range(values: Sequence[float]) -> str:
    return f"{shown(min(values))} to {shown(max(values))}"


def shown(value: float) -> str:
    """A figure for people."""
    return str(round(value)) if abs(value) >= 1000 else f"{rounded(value):g}"


def rounded(value: float) -> float:
    """Three digits or more, none invented."""
    return round(value) if abs(value) >= 1000 else float(f"{value:.3g}")


def usage(reports: Sequence[Report]) -> str:
    """How full the cores were with ours and what came back; a generator at 1.00 in a closed loop bounds the wall rate,
    not the figure, which is per CPU-second of the server."""
    busy = statistics.median(sum(report.cpu_s) / report.seconds for report in reports)
    own = max(report.client_cpu_s / report.seconds for report in reports)
    refused = sum(report.not_relayed for report in reports)
    late = sum(report.late for report in reports) / sum(report.messages for report in reports)
    words = [f"server {busy:.2f} core, generator {own:.2f}", f"not relayed {refused}"]
    return ", ".join(words + ([f"sent late {late:.1%}"] if late >= 0.001 else []))
