"""A fleet of cameras at real services: what they cost, how soon messages arrive, and how all come back after a kill.

`duty`: each camera has a viewer now and then, and some links break, with or without anybody noticing; then a node is
killed, the only one to be started again at once, one of two to stay away. `idle-restart`: nobody calls, and the only
node is killed and started again. The cameras (`_fleet_cameras.c`) do what a stock device SDK does; each has a channel,
a token and an address of its own. Whatever such a client retries is counted by kind; all else must not be.
"""

import asyncio
import contextlib
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from app.bench import Row
from tests.benchmarks import _fleet_cameras, _fleet_nodes
from tests.benchmarks._fleet_cameras import Fleet
from tests.benchmarks._fleet_nodes import Memory, Node
from tests.benchmarks._fleet_rows import Run, rows
from tests.benchmarks._processor import cpu_seconds
from tests.redis_server import RedisServer

_OPEN_S = 120.0
_BACK_S = 180.0
# Seconds between two, on average, of one camera: of visits, of links that end, of links that nobody hears any more.
_EVERY_S = {"visit_every": 100.0, "drop_every": 300.0, "freeze_every": 600.0}
_LASTS_S = {"visit_for": 5.0, "freeze_for": 10.0}

Progress = Callable[[str], None]


class Plan(msgspec.Struct, frozen=True):
    """What one run does: so many cameras, so long on duty (seconds; 0: never), so many times as busy as by default.

    `settle_s` is how long nobody calls before that, and how long all goes on after the kill.
    """

    cameras: int
    duty_s: int
    pace: float
    settle_s: float

    @property
    def options(self) -> dict[str, float]:
        """What the cameras are told."""
        options = {"rate": max(200.0, self.cameras / 15)}
        if self.duty_s:
            options |= {name: value / self.pace for name, value in _EVERY_S.items()} | _LASTS_S
        return options


async def run(
    runs: int,
    progress: Progress,
    *,
    scenario: str = "duty",
    cameras: int = 1000,
    nodes: int = 1,
    duty_s: int = 20,
    pace: float = 1.0,
    settle_s: float = 5.0,
) -> tuple[Row, ...]:
    """Measure `runs` times, each with empty services; `heliograph bench fleet`."""
    is_idle = scenario == "idle-restart"
    nodes, plan = (1 if is_idle else nodes), Plan(cameras, 0 if is_idle else duty_s, pace, settle_s)
    measured = []
    with tempfile.TemporaryDirectory(prefix="heliograph-bench-") as folder:
        program = _fleet_cameras.compiled(Path(folder))
        for number in range(runs):
            home = Path(folder) / f"run-{number}"
            home.mkdir()
            with contextlib.ExitStack() as stack:
                redis = stack.enter_context(RedisServer(home / "redis", appendonly=True)) if nodes > 1 else None
                services = stack.enter_context(_fleet_nodes.nodes(home, nodes, redis.url if redis else ""))
                progress(f"run {number + 1} of {runs}: {cameras} cameras, {nodes} node{'s' if nodes > 1 else ''}")
                measured.append(await _Course(plan, home, services, redis, progress).run(program))
    return rows(measured, nodes)


class _Course:
    """One run."""

    def __init__(
        self, plan: Plan, home: Path, nodes: Sequence[Node], redis: RedisServer | None, progress: Progress
    ) -> None:
        self._plan = plan
        self._home = home
        self._nodes = nodes
        self._redis = redis
        self._progress = progress

    async def run(self, program: Path) -> Run:
        path = self._home / "cameras"
        redis_url = self._redis.url if self._redis else ""
        keys = self._home / "command" if self._redis else self._nodes[0].data_dir
        await _fleet_nodes.write_cameras(path, self._plan.cameras, keys, redis_url)
        for node in self._nodes:
            await asyncio.to_thread(node.start)
        ports = [node.port for node in self._nodes]
        async with _fleet_cameras.running(program, path, ports, self._plan.options) as fleet:
            return await self._measure(fleet)

    async def _measure(self, fleet: Fleet) -> Run:
        plan, began, empty, spent = self._plan, time.monotonic(), self._memory(), self._cpu_s()
        await fleet.do("open")
        opening = await fleet.until(lambda told: told.open == plan.cameras, "all cameras are open", _OPEN_S)
        self._progress(f"{opening.open} cameras are open")
        open_cpu_us = (self._cpu_s() - spent) / plan.cameras * 1e6
        spent = self._cpu_s()
        await asyncio.sleep(plan.settle_s)
        idle_cores, full = (self._cpu_s() - spent) / plan.settle_s, self._memory()
        spent, redis_spent = self._cpu_s(), self._redis_s()
        await fleet.do("mark")
        await self._be_on_duty(fleet)
        duty, duty_cpu_s, redis_cpu_s = await fleet.do("tell"), self._cpu_s() - spent, self._redis_s() - redis_spent
        owed = (await fleet.do(f"watch {len(self._nodes) - 1}")).owed
        spent, killed = self._cpu_s(), time.monotonic()
        down_s = await self._kill()
        storm = await fleet.until(lambda told: told.owed == 0, "all cameras are back", _BACK_S)
        storm_cpu_s = self._cpu_s() - spent
        self._progress(f"{owed} cameras were back {storm.all_back - killed:.2f} s after the kill")
        await asyncio.sleep(plan.settle_s)
        end = await fleet.do("tell")
        return Run(
            cameras=plan.cameras,
            duty_s=float(plan.duty_s),
            empty=empty,
            full=full,
            after=self._memory(),
            open_cpu_us=open_cpu_us,
            idle_cores=idle_cores,
            duty_cpu_s=duty_cpu_s,
            storm_cpu_s=storm_cpu_s,
            redis_cpu_s=redis_cpu_s,
            camera_cores=end.cpu_s / (time.monotonic() - began),
            owed=owed,
            down_s=down_s,
            back_s=storm.all_back - killed,
            storm_s=storm.all_back - max(killed, storm.first_open),
            opening=opening,
            duty=duty,
            end=end,
        )

    async def _be_on_duty(self, fleet: Fleet) -> None:
        if not self._plan.duty_s:
            return
        await fleet.do("duty")
        ends_at = time.monotonic() + self._plan.duty_s
        while (left_s := ends_at - time.monotonic()) > 0:
            await asyncio.sleep(min(left_s, 5.0))
            told = await fleet.do("tell")
            self._progress(
                f"{told.open} open, {told.viewers} viewers, {told.received} messages, "
                f"p50 {told.latency_p50 * 1e3:.2f} ms, p99 {told.latency_p99 * 1e3:.2f} ms"
            )

    async def _kill(self) -> float:
        """Kill the last node; the only one is started again. Seconds without it, 0.0 where another one is there."""
        killed = time.monotonic()
        self._nodes[-1].kill()
        if len(self._nodes) > 1:
            return 0.0
        await asyncio.to_thread(self._nodes[-1].start)
        return time.monotonic() - killed

    def _memory(self) -> Memory:
        found = [node.memory() for node in self._nodes if node.is_running]
        return Memory(sum(each.share for each in found), max(each.peak for each in found))

    def _cpu_s(self) -> float:
        return sum(node.cpu_s for node in self._nodes)

    def _redis_s(self) -> float:
        return cpu_seconds(self._redis.pid) if self._redis else 0.0
