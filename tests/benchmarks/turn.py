"""TURN: what a packet, a reply and an allocation cost the server, beside Debian's coturn in the same run.

Rates are packets delivered per CPU-second of the server, in a closed loop over loopback with a bounded number of
packets on their way; a compiled generator plays clients and peers on the other core. `cpu_per_100mbit` and `latency`
are at a fixed load with Poisson's arrivals. Memory is proportional set size: the kernel's sockets are not in it.
"""

import asyncio
import contextlib
import statistics
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import msgspec

from app.bench import Ratio, Row
from app.certificates import DevelopmentFiles
from tests import certificates
from tests.benchmarks._turn_servers import Generator, Report, TurnServer, coturn, coturn_version, make_secret, ours

SECONDS = "seconds=0.7"
HELD = 2000
FIXED_RATE = 60_000
FIXED_SIZE = 1200

Progress = Callable[[str], None]
Pair = tuple[list[Report], list[Report]]
Servers = tuple[TurnServer, TurnServer]


class Case(msgspec.Struct, frozen=True):
    """A row of rates: the load and the goal of ours divided by coturn's."""

    name: str
    words: tuple[str, ...]
    unit: str
    goal: str
    note: str


_BURSTY = ("up=20", "burst=4")
CASES = (
    Case("bursty", _BURSTY, "packets/CPU-s", ">= 1.1", "up, 20 flows, bursts of 4, 1200 B"),
    Case("audio", (*_BURSTY, "size=172"), "packets/CPU-s", "-", "up, 20 flows, bursts of 4, 172 B"),
    Case("worst_case", ("up=200",), "packets/CPU-s", ">= 0.85", "up, 200 flows by turns, single packets, 1200 B"),
    Case("downlink", ("down=20", "burst=4"), "packets/CPU-s", "-", "down, 20 flows, bursts of 4, 1200 B"),
    Case("worst_case_down", ("down=200",), "packets/CPU-s", "-", "down, 200 flows by turns, single packets, 1200 B"),
    Case(
        "send_data",
        ("up=20", "down=20", "burst=4", "indications=1"),
        "packets/CPU-s",
        ">= 0.75",
        "Send up and Data down at once, 20 flows each, bursts of 4, 1200 B",
    ),
    Case("binding", ("mode=binding",), "replies/CPU-s", ">= 0.8", "32 clients"),
    Case("allocations", ("mode=allocations",), "allocations/CPU-s", ">= 1.0", "401, Allocate, Refresh to 0"),
)
_BOTH_WAYS = ("up=20", "down=20", "burst=4")
_BOTH_WAYS_NOTE = "up and down at once, 20 flows each, bursts of 4, 1200 B"
SECURE_CASES = (
    Case("tls", (*_BOTH_WAYS, "transport=tls"), "packets/CPU-s", ">= 0.5", f"clients on TLS, {_BOTH_WAYS_NOTE}"),
    Case("dtls", (*_BOTH_WAYS, "transport=dtls"), "packets/CPU-s", ">= 0.5", f"clients on DTLS, {_BOTH_WAYS_NOTE}"),
)


async def run(runs: int, progress: Progress) -> tuple[Row, ...]:
    """Measure every case `runs` times, ours and coturn's by turns."""
    with tempfile.TemporaryDirectory(prefix="heliograph-bench-") as folder:
        home = Path(folder)
        bench = Bench(home, runs, progress)
        async with bench.servers() as servers:
            await bench.warm_up(servers)
            rows = [await bench.rate(case, servers) for case in CASES]
            fixed = await bench.fixed_load(servers)
        async with bench.servers(is_secure=True) as servers:
            secure = [await bench.rate(case, servers) for case in SECURE_CASES]
        return (*rows, await bench.memory(), *fixed, *secure, await bench.ceiling())


class Bench:
    """Measures by turns and makes the rows."""

    def __init__(self, home: Path, runs: int, progress: Progress) -> None:
        self._home = home
        self._runs = runs
        self._progress = progress
        self._generator = Generator(home, make_secret(home))
        self._peer_name = f"coturn {coturn_version()}"

    @contextlib.asynccontextmanager
    async def servers(self, *, is_secure: bool = False) -> AsyncIterator[Servers]:
        """Both servers, from their start to their end."""
        files = certificates.made(self._home) if is_secure else None
        with contextlib.ExitStack() as stack:
            yield await asyncio.to_thread(_start, stack, self._home, files)

    async def warm_up(self, servers: Servers) -> None:
        """Let both load what they need."""
        for server in servers:
            await self._generator.load(server, *_BURSTY, "seconds=0.3")

    async def rate(self, case: Case, servers: Servers) -> Row:
        """Work per CPU-second of the server."""
        pair = await self._by_turns(servers, (*case.words, SECONDS))
        mine, others = ([report.received / report.server_s for report in reports] for reports in pair)
        return self._row(case.name, (mine, others), case.unit, case.goal, f"{case.note}; {_usage(pair)}")

    async def fixed_load(self, servers: Servers) -> tuple[Row, Row]:
        """Processor time and latency at a load that is the same for both."""
        words = (*_BURSTY, f"rate={FIXED_RATE}", f"size={FIXED_SIZE}", "seconds=1.5")
        pair = await self._by_turns(servers, words)
        direct = [await self._generator.load(None, *words) for _ in range(self._runs)]
        floor_p50, floor_p99 = (min(getattr(report, name) for report in direct) for name in ("p50_us", "p99_us"))
        cpu = tuple([_percent_per_100mbit(report) for report in reports] for reports in pair)
        added = tuple([max(1.0, report.p50_us - floor_p50) for report in reports] for reports in pair)
        loss = [sum(r.sent - r.received for r in reports) / sum(r.sent for r in reports) for reports in pair]
        tails = [min(report.p99_us for report in reports) - floor_p99 for reports in pair]
        note = f"{FIXED_RATE} packets/s of {FIXED_SIZE} B, bursts of 4; lost {loss[0]:.2%}, coturn {loss[1]:.2%}"
        tail = f"added p99 {tails[0]} us, coturn {tails[1]} us (best of {self._runs}); direct p50 {floor_p50} us"
        return (
            self._row("cpu_per_100mbit", (cpu[0], cpu[1]), "% of a core", "<= 0.95", f"{note}; {_usage(pair)}"),
            self._row("latency", (added[0], added[1]), "us added at p50", "p50 <= 60 us, p99 <= 2 ms", tail),
        )

    async def memory(self) -> Row:
        """Memory per allocation with a channel, of servers that are started for it."""
        kib: tuple[list[float], list[float]] = ([], [])
        for _ in range(self._runs):
            async with self.servers() as servers:
                await self.warm_up(servers)
                for server, values in zip(servers, kib, strict=True):
                    report = await self._generator.load(server, "mode=memory", f"count={HELD}")
                    values.append(report.pss_kib / HELD)
        note = f"{HELD} allocations with a channel each, proportional set size, kernel sockets not counted"
        return self._row("memory_per_allocation", kib, "KiB", "ours <= 3", note)

    async def ceiling(self) -> Row:
        """What the generator does by itself: clients that send to their peers without a server."""
        speeds = []
        for words in (_BURSTY, ("up=200",)):
            reports = [await self._generator.load(None, *words, SECONDS) for _ in range(self._runs)]
            speeds.append(statistics.median(report.received / report.own_s for report in reports))
        note = f"no server: a socket sends to the other; single packets over 200 sockets {speeds[1]:.0f}"
        self._progress(f"generator: {speeds[0]:.0f}")
        return Row("generator", round(speeds[0]), None, None, "packets/CPU-s", None, "above every row", note)

    async def _by_turns(self, servers: Servers, words: Sequence[str]) -> Pair:
        pair: Pair = ([], [])
        for number in range(self._runs):
            turns = list(zip(servers, pair, strict=True))
            for server, reports in turns if number % 2 else reversed(turns):
                reports.append(await self._generator.load(server, *words))
        return pair

    def _row(self, name: str, pair: tuple[list[float], list[float]], unit: str, goal: str, note: str) -> Row:
        mine, others = pair
        row = Row(
            name=name,
            ours=_rounded(statistics.median(mine)),
            peer=_rounded(statistics.median(others)),
            peer_name=self._peer_name,
            unit=unit,
            ratio=Ratio.of(mine, others),
            goal=goal,
            note=f"{_spread(mine)}, coturn {_spread(others)}; {note}",
        )
        assert row.ratio is not None
        self._progress(f"{name}: {row.ours:g} against {row.peer:g}, ratio {row.ratio.median:.2f}")
        return row


def _start(stack: contextlib.ExitStack, home: Path, files: DevelopmentFiles | None) -> Servers:
    return stack.enter_context(ours(home, files)), stack.enter_context(coturn(home, files))


def _percent_per_100mbit(report: Report) -> float:
    return 100 * report.server_s / (report.received * FIXED_SIZE * 8 / 1e8)


def _usage(pair: Pair) -> str:
    """How full the cores were, and what was lost or wrong; a closed loop loses nothing."""
    busy = [statistics.median(report.server_s / report.seconds for report in reports) for reports in pair]
    own = max(report.own_s / report.seconds for reports in pair for report in reports)
    wrong = [sum(report.wrong for report in reports) for reports in pair]
    return f"server's core {busy[0]:.2f} and {busy[1]:.2f} used, generator's {own:.2f}; wrong {wrong[0]} and {wrong[1]}"


def _spread(values: Sequence[float]) -> str:
    return f"{_rounded(min(values)):g} to {_rounded(max(values)):g}"


def _rounded(value: float) -> float:
    return round(value) if value >= 1000 else round(value, 2)


if __name__ == "__main__":
    for shown in asyncio.run(run(1, print)):
        print(shown)
