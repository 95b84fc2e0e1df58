"""`heliograph master`: send a picture into a channel, alone or as the child of `demo`."""

import argparse
import asyncio
import sys

import msgspec

from app import descriptors, logs, report
from app.exits import CommandError, Exit
from app.line_writer import LineWriter
from app.parent import ParentLink, report_stats, run_for_parent
from app.processes import Ending
from app.settings import Loaded
from app.wiring.master import MasterPart
from app.wiring.orders import MasterOrder, RecordOrder
from media.report import ViewerReport
from media.sources.uri import shown


class Ready(msgspec.Struct, frozen=True, tag_field="type", tag="ready"):
    """The first line of `--json`."""

    channel: str
    source: str


class Reported(msgspec.Struct, frozen=True, tag_field="type", tag="report"):
    """Each further line: the viewers, with rates over the last `over_s`, and all counters."""

    over_s: float
    viewers: tuple[ViewerReport, ...]
    counters: dict[str, float]


def run(arguments: argparse.Namespace, loaded: Loaded) -> Exit:
    """Send until SIGINT or SIGTERM, until a newer master takes over, or until the parent is gone."""
    descriptors.allow_many()  # each viewer takes a socket for each address of this machine, and more for a relay
    if arguments.inherited_fd is not None:
        link = ParentLink(arguments.inherited_fd)
        order = msgspec.json.decode(link.configuration(), type=MasterOrder)
        logs.configure(order.settings.log_level, order.settings.log_format)
        return run_for_parent(link, lambda stopping: _for_parent(order, link, stopping))
    if not arguments.channel:
        raise CommandError("--channel NAME is missing; example: heliograph master --channel demo", Exit.USAGE)
    settings = loaded.preferring(log_format="text")
    logs.configure(settings.log_level, settings.log_format)
    order = MasterOrder(
        settings,
        arguments.channel,
        arguments.source,
        arguments.persist,
        encoder=arguments.encoder,
        bitrate_bps=arguments.bitrate,
        max_layers=arguments.max_layers,
        talkback=arguments.talkback,
        talkback_mode=arguments.talkback_mode,
        ptz_command=arguments.ptz_command,
        record=RecordOrder.of(arguments.record or "", arguments.record_max_age_s, arguments.record_max_bytes),
    )
    part = MasterPart(order)  # before the event loop, so that SIGINT ends the probe of the encoders, too
    asyncio.run(_alone(part, order, arguments.stats_interval_s if arguments.json else None))
    return Exit.OK


async def _for_parent(order: MasterOrder, link: ParentLink, stopping: asyncio.Event) -> None:
    def ready() -> None:
        link.report(report.Report(ready=report.Ready()))

    master = MasterPart(order)
    async with asyncio.TaskGroup() as group:
        reporting = group.create_task(report_stats(link, master.counters))
        await master.run(ready, stopping)
        reporting.cancel()


async def _alone(part: MasterPart, order: MasterOrder, report_s: float | None) -> None:
    """Send; with `report_s` tell on stdout how the viewers are served."""
    is_ready = asyncio.Event()

    def announce() -> None:
        print(f"heliograph: master of {order.channel} sends {shown(order.source)}", file=sys.stderr)
        is_ready.set()

    ending = Ending()
    async with ending.by_signal(), asyncio.TaskGroup() as group:
        reporting = None
        if report_s is not None and sys.__stdout__ is not None:
            ready = Ready(order.channel, shown(order.source))
            reporting = group.create_task(_report(part, ready, is_ready, sys.__stdout__.fileno(), report_s))
        await part.run(announce, ending.event)
        if reporting is not None:
            reporting.cancel()


async def _report(part: MasterPart, ready: Ready, is_ready: asyncio.Event, descriptor: int, every_s: float) -> None:
    """Write `ready` once that is so, then reports; those that nobody reads in time are lost and counted."""
    await is_ready.wait()
    with LineWriter(descriptor, msgspec.json.encode(ready)) as writer:
        part.report()  # rates count from here
        while True:
            await asyncio.sleep(every_s)
            told = part.report()
            counters = {**part.counters(), "reports.lost": float(writer.stats.lost)}
            writer.put(msgspec.json.encode(Reported(told.over_s, told.viewers, counters)))
