"""The end of a node's websockets, as its log tells it."""

import logging
import time

from channels.signaling.hub import Hub

log = logging.getLogger(__name__)


async def drain(hub: Hub, over_s: float) -> None:
    """Send the hub's connections away over so many seconds."""
    began, stats = time.monotonic(), hub.stats
    log.info("draining", extra={"masters": stats.masters, "viewers": stats.viewers, "over_s": over_s})
    await hub.drain(over_s)
    seconds = round(time.monotonic() - began, 3)
    if hub.is_busy or hub.leases:
        left = {"has_unsettled_messages": hub.is_busy, "leases_left": hub.leases}
        log.warning("drained, but not all was settled in time", extra={"seconds": seconds, **left})
    else:
        log.info("drained", extra={"seconds": seconds})
