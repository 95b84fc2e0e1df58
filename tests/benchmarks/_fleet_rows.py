"""The rows of `bench fleet`: what one run holds, and how all runs become one figure each."""

import statistics
from collections.abc import Callable, Sequence

import msgspec

from app.bench import Row
from tests.benchmarks._fleet_cameras import Told
from tests.benchmarks._fleet_nodes import Memory

_KINDS = {
    "refused": "connection refused",
    "ended": "the connection ended before the answer",
    "late": "no answer in 5 s (a call) or 15 s (a websocket)",
    "429": "HTTP 429",
    "503": "HTTP 503",
}


class Run(msgspec.Struct, frozen=True):
    """One run. Times in seconds, CPU of the nodes; the storm is from the kill to the last camera back."""

    cameras: int
    duty_s: float
    empty: Memory
    full: Memory
    after: Memory
    open_cpu_us: float
    idle_cores: float
    duty_cpu_s: float
    storm_cpu_s: float
    redis_cpu_s: float
    camera_cores: float
    owed: int
    down_s: float
    back_s: float
    storm_s: float
    opening: Told
    duty: Told
    end: Told


def rows(measured: Sequence[Run], nodes: int) -> tuple[Row, ...]:
    """One row for each figure: the median of all runs, but of what must not happen the sum."""

    found = [
        of(measured, "cameras", "connections", "each its own channel, token and address", lambda run: run.cameras),
        of(measured, "memory_empty", "MiB", "PSS of all nodes, without their relays", lambda run: run.empty.share),
        of(measured, "memory_open", "MiB", "the same with all cameras, idle", lambda run: run.full.share),
        of(measured, "memory_per_camera", "KiB", "the difference", _per_camera_kib),
        of(
            measured,
            "open_cpu",
            "us",
            "of the nodes for a camera: GetIceServerConfig and connect",
            lambda run: run.open_cpu_us,
        ),
        of(measured, "idle_cpu", "cores", "of the nodes while nobody calls", lambda run: run.idle_cores),
    ]
    if measured[0].duty_s:
        found += _of_duty(measured)
    found += [
        of(measured, "owed", "cameras", "connected to the node that was killed", lambda run: run.owed),
        of(
            measured,
            "down",
            "s",
            "until that node served again" if nodes == 1 else "the other one served",
            lambda run: run.down_s,
        ),
        of(
            measured,
            "back_all",
            "s",
            "from the kill until all were back",
            lambda run: run.back_s,
            "-" if nodes == 1 else "<= 3",
        ),
        of(measured, "back_p50", "s", "of one camera", lambda run: run.end.back_p50),
        of(measured, "back_p99", "s", "of one camera", lambda run: run.end.back_p99),
        of(measured, "storm", "cameras/s", "from the first one back to the last", lambda run: run.owed / run.storm_s),
        of(measured, "storm_cpu", "s", "of the nodes, from the kill to the last one back", lambda run: run.storm_cpu_s),
        of(
            measured,
            "memory_peak",
            "MiB",
            "most that was resident in a node, up to the end",
            lambda run: run.after.peak,
        ),
        of(measured, "memory_after", "MiB", "PSS at the end", lambda run: run.after.share),
        *(
            of(measured, f"retried_{kind}", "attempts", f"of cameras since the kill: {what}", _failures(kind))
            for kind, what in _KINDS.items()
        ),
        never(measured, "not_retried", _first_other(measured), _others),
        of(measured, "cameras_cpu", "cores", "of the simulated cameras themselves", lambda run: run.camera_cores),
    ]
    return tuple(found)


def of(measured: Sequence[Run], name: str, unit: str, note: str, take: Callable[[Run], float], goal: str = "-") -> Row:
    """The median of all runs, with their range in the note."""
    figures = [take(each) for each in measured]
    spread = f"{min(figures):.4g} to {max(figures):.4g}; " if len(figures) > 1 else ""
    return Row(name, round(statistics.median(figures), 4), None, None, unit, None, goal, f"{spread}{note}")


def never(measured: Sequence[Run], name: str, note: str, take: Callable[[Run], int]) -> Row:
    """The sum of all runs of what must not happen."""
    times = sum(take(each) for each in measured)
    return Row(name, times, None, None, "in all runs", None, "0", note, is_met=not times)


def _of_duty(measured: Sequence[Run]) -> list[Row]:
    note = "of offers, answers and candidates from one simulated socket to the other"
    return [
        of(measured, "duty_cpu", "cores", "of the nodes while on duty", lambda run: run.duty_cpu_s / run.duty_s),
        of(measured, "duty_redis_cpu", "cores", "of Redis", lambda run: run.redis_cpu_s / run.duty_s),
        of(measured, "messages", "per s", "received", lambda run: run.duty.received / run.duty_s),
        of(measured, "message_p50", "ms", note, lambda run: run.duty.latency_p50 * 1e3),
        of(measured, "message_p99", "ms", note, lambda run: run.duty.latency_p99 * 1e3),
        of(
            measured,
            "visits",
            "per s",
            "a viewer comes, both sides send 6 messages",
            lambda run: run.duty.visits / run.duty_s,
        ),
        of(measured, "links_broken", "in the run", "by a reset or an end", lambda run: run.duty.drops + run.end.drops),
        of(
            measured,
            "links_half_open",
            "in the run",
            "left unread while the camera comes back by another",
            lambda run: run.duty.freezes + run.end.freezes,
        ),
        never(
            measured,
            "half_open_kept",
            "of those, still open 5 s after the camera was back",
            lambda run: run.duty.ghosts_left + run.end.ghosts_left,
        ),
        of(
            measured,
            "visits_cut",
            "in the run",
            "the camera was away, or one of both lost its connection",
            lambda run: run.duty.away + run.end.away,
        ),
        never(
            measured,
            "visits_unanswered",
            "both connected for 10 s, and not all messages came",
            lambda run: run.duty.unanswered + run.end.unanswered,
        ),
    ]


def _per_camera_kib(run: Run) -> float:
    return (run.full.share - run.empty.share) * 1024 / run.cameras


def _parts(run: Run) -> tuple[Told, ...]:
    return (run.opening, run.duty, run.end)


def _failures(kind: str) -> Callable[[Run], float]:
    return lambda run: run.end.failures[kind]


def _others(run: Run) -> int:
    return sum(told.failures["other"] + told.viewer_failures["other"] for told in _parts(run))


def _first_other(measured: Sequence[Run]) -> str:
    found = [told.first_other for run in measured for told in _parts(run) if told.first_other]
    return f"first: {found[0]}" if found else "any other answer, to cameras or viewers"
