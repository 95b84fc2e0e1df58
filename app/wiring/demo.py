"""`heliograph demo`: node, relay and master on loopback, everything in memory, nothing left behind."""

import asyncio
from collections.abc import Callable

import msgspec

from app.exits import CommandError, Exit
from app.processes import Child, Ending
from app.settings import Settings
from app.wiring import loop
from app.wiring.listeners import Listeners
from app.wiring.memory import in_memory
from app.wiring.node import Node
from app.wiring.orders import MasterOrder, RecordOrder

CHANNEL = "demo"
CAMERA_CHANNEL = "camera"


class DemoOrder(msgspec.Struct, frozen=True):
    """What to show; with `may_turn_move` a taken TURN port gives way to any free one."""

    settings: Settings
    source: str
    may_turn_move: bool = True
    record: RecordOrder | None = None


class DemoParts(msgspec.Struct, frozen=True):
    """The processes and sockets of a demo, made before anything heavy is loaded."""

    listeners: Listeners
    turn: Child
    master: Child


Announce = Callable[[dict[str, object]], None]
"""Takes the fields of the ready line but `ready_ms`, and `ops`, the URL of the operations port."""
Notice = Callable[[str], None]
"""Takes a sentence for the person who watches."""


def start(order: DemoOrder, parts: DemoParts, on_ready: Announce, on_notice: Notice) -> None:
    """Show until SIGINT or SIGTERM, on an event loop of its own.

    Raises: CommandError when a part cannot start or ends by itself.
    """
    loop.run(order.settings, _run(order, parts, on_ready, on_notice))


async def _run(order: DemoOrder, parts: DemoParts, on_ready: Announce, on_notice: Notice) -> None:
    ending = Ending()
    async with ending.by_signal():
        memory = in_memory(order.settings, "heliograph-demo")
        parts.turn.on_notice = on_notice
        parts.turn.configure(memory.order.for_turn(may_move=order.may_turn_move))
        node = Node(memory.order, parts.turn)
        account = order.settings.account
        channel = await node.control.create(account, CHANNEL)
        await node.control.create(account, CAMERA_CHANNEL)
        url = parts.listeners.http_url
        own = msgspec.structs.replace(order.settings, endpoint=url, token=memory.token, access_key_id="")
        parts.master.configure(MasterOrder(own, CHANNEL, order.source, record=order.record))
        async with asyncio.TaskGroup() as group, node.running(parts.listeners, ending, parts.master):
            sending = group.create_task(_follow_master(parts.master, ending, on_notice))
            if await ending.comes_after(parts.master.ready()):
                on_ready(_ready_line(parts.listeners, node.turn_uri, str(channel.arn), memory.token))
            await ending.event.wait()
            sending.cancel()
            await asyncio.wait((sending,))  # so that the node has nobody of ours to send away


def _ready_line(listeners: Listeners, turn_uri: str, channel_arn: str, text: str) -> dict[str, object]:
    url = listeners.http_url
    return {
        "http": url,
        "https": None,
        "turn": turn_uri,
        "channel_name": CHANNEL,
        "channel_arn": channel_arn,
        "viewer_url": f"{url}/viewer#channel={CHANNEL}&token={text}",
        "token": text,
        "ops": listeners.ops_url,
    }


async def _follow_master(master: Child, ending: Ending, on_notice: Notice) -> None:
    try:
        await master.run()
    except CommandError as error:
        if error.code is Exit.REPLACED:
            on_notice(f"a newer master took over the channel {CHANNEL}; the demo's own has ended, all else runs on")
        else:
            ending.fail(error)
