"""Processor time and memory of other processes, and which core they run on."""

import os
import time
from pathlib import Path

_SCHEDULED = 2  # the kernel's CPUCLOCK_SCHED


def cpu_seconds(pid: int) -> float:
    """User and system time of a process with all its threads, in nanoseconds (clock_getcpuclockid(3))."""
    return time.clock_gettime((~pid << 3) | _SCHEDULED)


def pss_kib(pid: int) -> int:
    """Proportional set size of a process in KiB: what it has alone, and its part of what it shares (proc(5))."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("Pss:")).split()[1])


def pin(pid: int, core: int | None) -> None:
    """Keep all threads of a process on one core; None leaves them alone."""
    if core is not None:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), {core})


def cores() -> tuple[int | None, int | None]:
    """A core for the servers and another for what calls them; None twice where there is only one."""
    found = sorted(os.sched_getaffinity(0))
    return (found[0], found[1]) if len(found) > 1 else (None, None)
