"""`heliograph turn`: STUN/TURN alone, or as the child of `serve` and `demo`."""

import argparse
import asyncio
import importlib
import json

import msgspec

from app import logs
from app.data_folder import load_or_create_turn_secrets, open_data_folder
from app.exits import Exit
from app.parent import ParentLink, report_stats, run_for_parent
from app.processes import Ending, Report
from app.settings import Loaded, Settings
from app.wiring import turn
from app.wiring.orders import TurnOrder, own_certificate

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
    asyncio.run(_alone(_order(loaded.settings), is_json=arguments.json))
    return Exit.OK


def _order(settings: Settings) -> TurnOrder:
    folder = open_data_folder(settings)
    secrets = tuple(secret.decode() for secret in reversed(load_or_create_turn_secrets(folder)))
    certificate = own_certificate(settings)
    if certificate is None and settings.tls:
        pair, _ = importlib.import_module("app.tls").files(settings, folder)
        certificate = (str(pair.certificate), str(pair.key))
    return TurnOrder(settings, secrets, certificate=certificate)


async def _for_parent(server: turn.TurnServer, link: ParentLink, stopping: asyncio.Event) -> None:
    async with asyncio.TaskGroup() as group:
        reporting = group.create_task(report_stats(link, server.counters))
        await server.run(_announce(server, link), stopping)
        reporting.cancel()


def _announce(server: turn.TurnServer, link: ParentLink) -> turn.OnReady:
    def ready(uris: tuple[str, ...]) -> None:
        if server.moved:
            link.report(Report(notice=server.moved))
        link.report(Report(ready={"uris": uris}))

    return ready


async def _alone(order: TurnOrder, *, is_json: bool) -> None:
    def announce(uris: tuple[str, ...]) -> None:
        line = json.dumps({"turn": uris[0], "uris": uris}) if is_json else f"STUN/TURN on {', '.join(uris)}"
        print(line, flush=True)

    ending = Ending()
    async with ending.by_signal(), asyncio.TaskGroup() as group:
        serving = group.create_task(turn.TurnServer(order).run(announce, ending.event))
        ending.on_hurry.append(serving.cancel)
