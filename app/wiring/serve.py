"""`heliograph serve`: the node and the relay's process, data in the data folder."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from app.cli_token import load_keys
from app.data_folder import load_or_create_turn_secrets
from app.processes import Child, Ending
from app.settings import Settings
from app.slot_memory import SlotMemory
from app.wiring import loop
from app.wiring.access import AccessOrder
from app.wiring.listeners import Listeners
from app.wiring.node import Node, NodeOrder
from app.wiring.orders import own_certificate

if TYPE_CHECKING:
    from app.wiring.redis_start import RedisPlaces

Announce = Callable[[dict[str, object]], None]
"""Takes where the service answers: `http`, `https`, `turn`, `ops`."""


def start(order: NodeOrder, listeners: Listeners, turn: Child, on_ready: Announce) -> None:
    """Serve until SIGINT or SIGTERM, on an event loop of its own.

    Raises: CommandError when a part cannot start or ends by itself.
    """
    loop.run(order.settings, _run(order, listeners, turn, on_ready))


def order(settings: Settings, folder: Path, slot: SlotMemory | None = None) -> NodeOrder:
    """Return what a node with the keys of this folder is made of; they are made at first start."""
    access = AccessOrder.of(settings, folder)
    secrets = load_or_create_turn_secrets(folder)
    catalog = str(folder / "catalog.sqlite")
    redis = _redis(settings)
    followed = folder if redis is None else None  # with Redis it is a copy, which any command may write
    return NodeOrder(settings, catalog, load_keys(folder), secrets, access, redis, slot, followed)


async def _run(order: NodeOrder, listeners: Listeners, turn: Child, on_ready: Announce) -> None:
    ending = Ending()
    async with ending.by_signal():
        of_https = listeners.tls.tls.pair.names if listeners.tls else None
        turn.configure(order.for_turn(own_certificate(order.settings) or of_https))
        node = Node(order, turn)
        async with node.running(listeners, ending):
            await node.ownership.settle()
            slot = {} if node.ownership.number is None else {"slot": node.ownership.number}
            if node.turn_uri:
                on_ready(
                    {
                        "http": listeners.http_url,
                        "https": listeners.https_url,
                        "turn": node.turn_uri,
                        "ops": listeners.ops_url,
                        **slot,
                    }
                )
            await ending.event.wait()


def _redis(settings: Settings) -> "RedisPlaces | None":
    if not (settings.redis_url or settings.catalog_url):
        return None
    from app.wiring.redis_start import places  # what a node that is alone does not need

    return places(settings)
