"""`heliograph move`: bring what a service that was alone keeps in --data-dir into Redis, and say what became of it."""

import argparse
import json
import sys

import msgspec

from app.cli_table import print_table
from app.exits import CommandError, Exit
from app.settings import Loaded
from app.wiring.move import AGAIN, Report, move
from channels.moving import Tally

_SHOWN = 20  # conflicts of a kind, for people


def run(arguments: argparse.Namespace, loaded: Loaded) -> Exit:
    """Do it, or with --dry-run look, and print how much of each kind was moved. Conflicts are exit code 1."""
    try:
        report = move(loaded.settings, _notice, is_trial=arguments.dry_run)
    except KeyboardInterrupt:  # no way to be done, unlike that of a service
        raise CommandError(f"broken off; {AGAIN}") from None
    conflicts = sum(len(tally.conflicts) for tally in report.kinds.values())
    if arguments.json:
        print(json.dumps(_shown(report)))
        return Exit.FAILURE if conflicts else Exit.OK
    print(f"{'would move' if report.is_trial else 'moved'} from {report.source} to {report.target}:\n")
    print_table(("", "moved", "there before", "conflicts"), [_row(*each) for each in report.kinds.items()])
    sys.stdout.flush()  # before what is told of it, where both go to one file
    for kind, tally in report.kinds.items():
        _tell_conflicts(kind, tally)
    if conflicts:
        raise CommandError(f"{conflicts} in conflict: Redis keeps what it has, and the data folder what it had")
    if not report.is_trial:
        _notice(f"now start `heliograph serve --redis URL`, on each machine; {report.source} is as it was")
    return Exit.OK


def _shown(report: Report) -> dict[str, object]:
    kinds = {kind: msgspec.to_builtins(tally) for kind, tally in report.kinds.items()}
    return {"from": report.source, "to": report.target, "dry_run": report.is_trial, **kinds}


def _row(kind: str, tally: Tally) -> dict[str, str]:
    numbers = {"moved": tally.moved, "there before": tally.there, "conflicts": len(tally.conflicts)}
    return {"": kind.replace("_", " "), **{name: str(number) for name, number in numbers.items()}}


def _tell_conflicts(kind: str, tally: Tally) -> None:
    for conflict in tally.conflicts[:_SHOWN]:
        _notice(f"{kind.replace('_', ' ')}: {conflict.name}: {conflict.reason}")
    if len(tally.conflicts) > _SHOWN:
        _notice(f"{kind.replace('_', ' ')}: {len(tally.conflicts) - _SHOWN} more; --json has them all")


def _notice(sentence: str) -> None:
    print(f"heliograph: {sentence}", file=sys.stderr, flush=True)
