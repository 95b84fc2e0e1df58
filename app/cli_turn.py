"""`heliograph turn`: STUN/TURN alone, or as the child of `serve` and `demo`."""

import argparse
import asyncio
import importlib
import json
from collections.abc import Callable

import msgspec

from app import logs
from app.data_folder import load_or_create_turn_secret, open_data_folder
from app.exits import Exit
from app.parent import ParentLink, report_stats, run_for_parent
from app.processes import Ending, Report
from app.settings import Loaded
from app.wiring import turn
from app.wiring.orders import TurnOrder

_VERBS = {"check": "app.cli_turn_check"}


def run(arguments: argparse.Namespace, loaded: Loaded) -> Exit:
    """Relay until SIGINT or SIGTERM, or until the parent is gone; or do the verb."""
    if arguments.verb is not None:
        return Exit(importlib.import_module(_VERBS[arguments.verb]).run(arguments, loaded))
    if arguments.inherited_fd is not None:
        link = ParentLink(arguments.inherited_fd)
        order = msgspec.json.decode(link.configuration(), type=TurnOrder)
        logs.configure(order.settings.log_level, order.settings.log_format)
        server = turn.TurnServer(order)
        return run_for_parent(link, lambda stopping: _for_parent(server, link, stopping), server.take)
    logs.configure(loaded.settings.log_level, loaded.settings.log_format)
    secret = load_or_create_turn_secret(open_data_folder(loaded.settings))
    asyncio.run(_alone(TurnOrder(loaded.settings, (secret.decode(),)), is_json=arguments.json))
    return Exit.OK


async def _for_parent(server: turn.TurnServer, link: ParentLink, stopping: asyncio.Event) -> None:
    async with asyncio.TaskGroup() as group:
        reporting = group.create_task(report_stats(link, server.counters))
        await server.run(_announce(server, link), stopping)
        reporting.cancel()


def _announce(server: turn.TurnServer, link: ParentLink) -> Callable[[str], None]:
    def ready(uri: str) -> None:
        if server.moved:
            link.report(Report(notice=server.moved))
        link.report(Report(ready={"uri": uri}))

    return ready


async def _alone(order: TurnOrder, *, is_json: bool) -> None:
    def announce(uri: str) -> None:
        print(json.dumps({"turn": uri}) if is_json else f"STUN/TURN on {uri}", flush=True)

    ending = Ending()
    async with ending.by_signal():
        await turn.TurnServer(order).run(announce, ending.event)
