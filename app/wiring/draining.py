"""The end of a node's websockets, as its log tells it."""

import logging
import time
from typing import Final

from app.processes import Ending
from channels.signaling.hub import Hub

URGENT_S: Final = 1.0  # whoever pressed Ctrl-C waits for no longer, nor do clients of a node without its relay
log = logging.getLogger(__name__)


async def drain(hub: Hub, over_s: float, ending: Ending) -> None:
    """Send the hub's connections away over so many seconds, over one at most when the end is urgent."""
    over_s = min(over_s, URGENT_S) if ending.is_urgent else over_s
    began, stats = time.monotonic(), hub.stats
    log.info("draining", extra={"masters": stats.masters, "viewers": stats.viewers, "over_s": over_s})
    await hub.drain(over_s)
    seconds = round(time.monotonic() - began, 3)
    if hub.is_busy or hub.leases:
        left = {"has_unsettled_messages": hub.is_busy, "leases_left": hub.leases}
        log.warning("drained, but not all was settled in time", extra={"seconds": seconds, **left})
    else:
        log.info("drained", extra={"seconds": seconds})
