"""Settings -> what relays in the TURN process: our own server, or coturn."""

from asyncio import Event
from collections.abc import Callable
from typing import Protocol

from app.wiring.orders import TurnOrder
from app.wiring.turn import OnReady
from app.wiring.turn_usage import Totals
from app.wiring.turn_workers import make_server
from media.turn_check.self_check import Finding


class TurnEngine(Protocol):
    """What relays, for as long as `run` runs; `moved` is a sentence when its port was taken."""

    moved: str

    def counters(self) -> dict[str, float] | None:
        """Return the plain counters by name; None while a part of it hangs."""

    def usage(self) -> dict[str, Totals]:
        """Return what each channel used, by its digest in hexadecimal."""

    def take(self, line: bytes) -> None:
        """Take a line of the parent."""

    async def check_self(self) -> Finding | None:
        """Try the advertised address, once it is ready."""

    async def run(self, on_ready: OnReady, stopping: Event) -> None:
        """Serve until `stopping`; `on_ready` gets the URIs. Raises: CommandError."""

    def hurry(self) -> None:
        """End at once, whatever is still relayed."""


def engine(order: TurnOrder, on_notice: Callable[[str], None]) -> TurnEngine:
    """Return the one that the settings choose; `on_notice` gets sentences for the person who started it all.

    Raises: SettingsError.
    """
    if order.settings.turn_engine == "builtin":
        return make_server(order, on_notice)
    from app.wiring.coturn import CoturnServer  # its code is loaded when it is wanted

    return CoturnServer(order)
