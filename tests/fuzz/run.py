"""Attacks the whole relay with mutants: `make fuzz`, or COUNT datagrams and a tenth of it streams on each core.

A line every few seconds, then a table. The same seed makes the same attack, but for what threads of the relay do.
"""

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from tests import certificates
from tests.fuzz.datagrams import Datagrams
from tests.fuzz.records import Records
from tests.fuzz.streams import Streams
from tests.fuzz.target import HandClock, Leak, Target, held, target

ROUNDS = 50
EVERY_S = 5.0
FIRST_PART = 0.2
MOST_GROWTH, MOST_GROWN_BYTES = 0.02, 1 << 20
"""Resident memory is flat when the end is at most this above what it was after the first fifth."""


class Counts(msgspec.Struct, frozen=True):
    """How much of each attack."""

    datagrams: int
    streams: int
    records: int

    @classmethod
    def of(cls, datagrams: int) -> "Counts":
        """A tenth as many streams and a twentieth as many DTLS datagrams."""
        return cls(datagrams, datagrams // 10, datagrams // 20)

    def part(self, count: int) -> "Counts":
        """One of `count` equal parts."""
        return Counts(-(-self.datagrams // count), -(-self.streams // count), -(-self.records // count))


class Outcome(msgspec.Struct, frozen=True):
    """What came of an attack. `early` was held after its first fifth, `late` at its end, both with no client left."""

    counts: dict[str, int]
    stats: dict[str, Any]
    early: Leak
    late: Leak
    before: Leak
    after: Leak

    def check(self) -> None:
        """Nothing leaked."""
        grown = self.late.resident_bytes - self.early.resident_bytes
        assert grown <= max(MOST_GROWN_BYTES, MOST_GROWTH * self.early.resident_bytes), f"{grown} bytes more"
        assert self.after.descriptors == self.before.descriptors, (self.before, self.after)


Progress = Callable[[float, Counter[str]], None]


def attack(counts: Counts, seed: int, progress: Progress) -> Outcome:
    """Make the attack, in a loop of its own. Raises: AssertionError, or what the relay raised."""
    loop = HandClock()
    try:
        with tempfile.TemporaryDirectory(prefix="heliograph-fuzz-") as folder:
            return loop.run_until_complete(_attack(counts, seed, progress, Path(folder)))
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


async def _attack(counts: Counts, seed: int, progress: Progress, folder: Path) -> Outcome:
    before = held()
    async with target(folder) as found:
        early, late = await _fight(found, counts, seed, progress)
        await found.rest()
        found.check_empty()
    await asyncio.get_running_loop().shutdown_default_executor()  # a thread of the relay may read a file still
    stats = msgspec.to_builtins(found.relay.stats)
    return Outcome(dict(found.counts), stats, early, late, before, held())


async def _fight(found: Target, counts: Counts, seed: int, progress: Progress) -> tuple[Leak, Leak]:
    """Attack in rounds; return what was held after the first part and at the end."""
    context = certificates.trusting(found.ca)
    datagrams, streams, records = Datagrams(found, seed), Streams(found, seed, context), Records(found, seed)
    early, part = held(), counts.part(ROUNDS)
    for number in range(ROUNDS):
        await datagrams.run(part.datagrams)
        await streams.run(part.streams)
        await streams.encrypted(part.streams // 50)
        await records.run(part.records)
        found.check_bounds()
        progress((number + 1) / ROUNDS, found.counts)
        if number + 1 == int(ROUNDS * FIRST_PART):
            early = await _held_at_rest(found)
    late = await _held_at_rest(found)
    for each in (datagrams, streams, records):
        each.close()
    return early, late


async def _held_at_rest(found: Target) -> Leak:
    # one DTLS session more or less that lives by chance would be 70 KB more or less
    await found.rest()
    return held()


def main() -> None:
    """Run one attacker per core and print what they found."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=10_000_000, help="datagrams")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--alone", action="store_true", help="one attacker, for programs")
    asked = parser.parse_args()
    if asked.alone:
        _alone(asked.count, asked.seed)
        return
    seed = random.SystemRandom().randrange(1 << 32) if asked.seed is None else asked.seed
    cores = len(os.sched_getaffinity(0))
    print(f"seed {seed}, {asked.count} datagrams by {cores} attackers; again: --seed {seed}", flush=True)
    command = [sys.executable, "-m", "tests.fuzz.run", "--alone", "--count", str(-(-asked.count // cores))]
    processes = [
        subprocess.Popen([*command, "--seed", str(seed + number)], stdout=subprocess.PIPE, text=True)
        for number in range(cores)
    ]
    try:
        outcomes = _watch(processes)
    finally:
        for process in processes:
            process.kill()
            process.wait()
    if len(outcomes) < len(processes):
        sys.exit("an attacker failed: its traceback is above")


def _alone(count: int, seed: int) -> None:
    def tell(share: float, counts: Counter[str]) -> None:
        print(json.dumps({"share": share, "counts": counts}), flush=True)

    outcome = attack(Counts.of(count), seed, tell)
    outcome.check()
    print(json.dumps({"outcome": msgspec.to_builtins(outcome)}), flush=True)


def _watch(processes: "list[subprocess.Popen[str]]") -> list[Outcome]:
    reports: list[dict[str, object]] = [{"share": 0.0, "counts": {}} for _ in processes]
    readers = [threading.Thread(target=_read, args=pair) for pair in zip(processes, reports, strict=True)]
    started = time.monotonic()
    for reader in readers:
        reader.start()
    for reader in readers:
        while reader.is_alive():
            reader.join(EVERY_S)
            _print_progress(reports, time.monotonic() - started)
    outcomes = [msgspec.convert(report["outcome"], Outcome) for report in reports if "outcome" in report]
    _print_table(outcomes, time.monotonic() - started)
    return outcomes


def _read(process: "subprocess.Popen[str]", report: dict[str, object]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        report |= json.loads(line)


def _print_progress(reports: list[dict[str, object]], seconds: float) -> None:
    share = min(float(str(report["share"])) for report in reports)
    counts: Counter[str] = Counter()
    for report in reports:
        counts.update(report["counts"])
    left = f"{seconds / share * (1 - share):.0f} s left" if share else "? s left"
    sent = counts["datagrams"]
    print(
        f"{share:4.0%}  {sent} datagrams ({sent / seconds:.0f}/s), {counts['streams']} streams, "
        f"{counts['dtls datagrams']} of DTLS, {left}",
        flush=True,
    )


def _print_table(outcomes: list[Outcome], seconds: float) -> None:
    counts: Counter[str] = Counter()
    for outcome in outcomes:
        counts.update(outcome.counts)
        counts.update({f"relay: {name}": value for name, value in flatten_counts(outcome.stats).items()})
    counts["exceptions"] = 0  # the first one ends the attacker
    print("| what | count |\n|---|---|")
    for name, count in sorted(counts.items()):
        print(f"| {name} | {count} |")
    for outcome in outcomes:
        grown = (outcome.late.resident_bytes - outcome.early.resident_bytes) / 1e6
        print(
            f"| an attacker: resident MB after a fifth, at the end; descriptors before, after | "
            f"{outcome.early.resident_bytes / 1e6:.1f}, {grown:+.2f}; "
            f"{outcome.before.descriptors}, {outcome.after.descriptors} |"
        )
    print(f"| seconds | {seconds:.0f} |")


def flatten_counts(stats: dict[str, Any]) -> dict[str, int]:
    """Numbers by dotted name."""
    flat: dict[str, int] = {}
    for name, value in stats.items():
        if isinstance(value, dict):
            flat |= {f"{name}.{inner}": count for inner, count in value.items()}
        elif isinstance(value, int):
            flat[name] = value
    return flat


if __name__ == "__main__":
    main()
