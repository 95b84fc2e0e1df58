"""The flags of `heliograph bench`: those of all benchmarks, and those that are options of one."""

import argparse
from typing import Final

from app.cli_parser import json_flag, names, positive, seconds

OPTIONS: Final = ("rows", "seconds", "scenario", "cameras", "nodes", "duty_s", "pace")


def add(parser: argparse.ArgumentParser) -> None:
    """Add them; an option that is not given is None."""
    json_flag(parser)
    parser.add_argument("bench", metavar="NAME", help="first-frame, media, auth ...: a file of tests/benchmarks")
    parser.add_argument("--runs", type=positive, default=5, help="repetitions (default: 5)")
    parser.add_argument("--rows", type=names, metavar="ROW[,ROW]", help="measure these alone (signaling)")
    parser.add_argument("--seconds", type=seconds, help="how long one run takes (signaling; default: 2)")
    fleet = parser.add_argument_group("bench fleet")
    fleet.add_argument(
        "--scenario",
        choices=("duty", "idle-restart"),
        help="duty: viewers, flaky links, and a node is killed (default); idle-restart: nothing but the kill",
    )
    fleet.add_argument("--cameras", type=positive, metavar="N", help="how many cameras connect (default: 1000)")
    fleet.add_argument("--nodes", type=int, choices=(1, 2), help="services; two share a redis-server (default: 1)")
    fleet.add_argument("--duty-s", type=positive, metavar="S", help="seconds of duty before the kill (default: 20)")
    fleet.add_argument(
        "--pace",
        type=seconds,
        metavar="X",
        help="how busy the cameras are: 2 calls, fails and reconnects twice as often (default: 1), as in --pace 0.5",
    )
