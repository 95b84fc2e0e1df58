"""`heliograph turn`: STUN/TURN alone, or as the child of `serve` and `demo`."""

import argparse
import asyncio
import importlib
import json
import sys
from collections.abc import Callable

import msgspec

from app import descriptors, logs
from app.data_folder import keys_folder, load_or_create_turn_secrets
from app.exits import Exit
from app.parent import ParentLink, refuse, report_stats, run_for_parent
from app.processes import Ending
from app.report import Ready, Report
from app.settings import Loaded, Settings, SettingsError
from app.wiring.orders import TurnOrder, own_certificate
from app.wiring.turn_engine import TurnEngine, engine
from app.wiring.turn_self_check import tell
from app.wiring.turn_usage import UsageReports
from media.relay import packet_loop

USAGE_S = 1.0
_VERBS = {"check": "app.cli_turn_check", "coturn-config": "app.cli_turn_coturn"}


def run(arguments: argparse.Namespace, loaded: Loaded) -> Exit:
    """Relay until SIGINT or SIGTERM, or until the parent is gone; or do the verb."""
    if arguments.verb is not None:
        return Exit(importlib.import_module(_VERBS[arguments.verb]).run(arguments, loaded))
    descriptors.allow_many()
    if arguments.inherited_fd is not None:
        link = ParentLink(arguments.inherited_fd)
        order = msgspec.json.decode(link.configuration(), type=TurnOrder)
        logs.configure(order.settings.log_level, order.settings.log_format)
        try:
            server = engine(order, lambda sentence: _report_notice(link, sentence))
        except SettingsError as error:
            return refuse(link, error)
        return run_for_parent(
            link, lambda stopping: _for_parent(server, link, stopping), server.take, packet_loop.new_event_loop
        )
    logs.configure(loaded.settings.log_level, loaded.settings.log_format)
    with asyncio.Runner(loop_factory=packet_loop.new_event_loop) as runner:
        runner.run(_alone(order_of(loaded.settings), is_json=arguments.json))
    return Exit.OK


def order_of(settings: Settings) -> TurnOrder:
    """Return the order of a TURN process of its own, with what lies in the data folder. Raises: SettingsError."""
    folder = keys_folder(settings)
    secrets = tuple(secret.decode() for secret in reversed(load_or_create_turn_secrets(folder)))
    certificate = own_certificate(settings)
    if certificate is None and settings.tls:
        pair, _ = importlib.import_module("app.tls").files(settings, folder)
        certificate = pair.names
    return TurnOrder(settings, secrets, certificate=certificate)


async def _for_parent(server: TurnEngine, link: ParentLink, stopping: asyncio.Event) -> None:
    def notice(sentence: str) -> None:
        _report_notice(link, sentence)

    def ready(uris: tuple[str, ...]) -> None:
        if server.moved:
            notice(server.moved)
        link.report(Report(ready=Ready(uris)))
        beside.append(group.create_task(_check_self(server, notice)))

    async with asyncio.TaskGroup() as group:
        beside = [
            group.create_task(report_stats(link, server.counters)),
            group.create_task(_report_usage(link, server)),
        ]
        await server.run(ready, stopping)
        for task in beside:
            task.cancel()


def _report_notice(link: ParentLink, sentence: str) -> None:
    link.report(Report(notice=sentence))


async def _report_usage(link: ParentLink, server: TurnEngine) -> None:
    reports = UsageReports()
    while True:
        await asyncio.sleep(USAGE_S)
        changes = reports.changes(server.usage())
        if changes and link.report(Report(usage=changes)):
            reports.told(changes)


async def _alone(order: TurnOrder, *, is_json: bool) -> None:
    server, ending = engine(order, _notice), Ending()

    def ready(uris: tuple[str, ...]) -> None:
        line = json.dumps({"turn": uris[0], "uris": uris}) if is_json else f"STUN/TURN on {', '.join(uris)}"
        print(line, flush=True)
        beside.append(group.create_task(_check_self(server, _notice)))

    async def serve() -> None:
        try:
            await server.run(ready, ending.event)
        finally:
            for task in beside:
                task.cancel()

    beside: list[asyncio.Task[None]] = []
    async with ending.by_signal(), asyncio.TaskGroup() as group:
        group.create_task(serve())
        ending.on_hurry.append(server.hurry)


async def _check_self(server: TurnEngine, notice: Callable[[str], None]) -> None:
    finding = await server.check_self()
    if finding is not None:
        tell(finding, notice)


def _notice(sentence: str) -> None:
    print(f"heliograph: {sentence}", file=sys.stderr, flush=True)
