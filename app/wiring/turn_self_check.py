"""What the TURN process finds out about its own advertised address, once it serves, and who is told."""

import logging
import time
from collections.abc import Callable

import msgspec

from app.loopback import is_loopback
from app.settings import Settings
from channels import ice
from channels.names import ChannelArn
from media.relay.interfaces import read_interfaces
from media.relay.placement import WILDCARDS
from media.turn_check.client import Credential
from media.turn_check.self_check import Finding, Reach, SelfCheckOrder, check_self

log = logging.getLogger(__name__)

CHANNEL = "turn-check"
_TOLD = (Reach.NOWHERE, Reach.PRIVATE)


def credential(settings: Settings, secret: bytes) -> Credential:
    """Return one as GetIceServerConfig makes them, of a channel that nobody else uses."""
    arn = ChannelArn(settings.partition, settings.region, settings.account, CHANNEL, 0)
    username, password = ice.mint(secret, arn, None, time.time())
    if settings.turn_engine == "coturn":
        password = ice.coturn_password(secret, username)
    return Credential(username, password)


async def find_out(settings: Settings, port: int, wanted: Credential) -> Finding | None:
    """Try the advertised address; None where only this machine comes to us: there is nothing to get wrong."""
    place = settings.turn_place
    if not settings.turn_self_check or is_loopback(place):
        return None
    host = "127.0.0.1" if place in WILDCARDS else place
    finding = await check_self(SelfCheckOrder((host, port), wanted, read_interfaces().addresses))
    if finding.reach is Reach.PRIVATE and settings.turn_advertised_address:
        return msgspec.structs.replace(finding, reach=Reach.HERE)  # somebody chose it
    return finding


def tell(finding: Finding, notice: Callable[[str], None]) -> None:
    """Log what was found; what a person should know of goes to `notice` too."""
    level = logging.WARNING if finding.reach is Reach.NOWHERE else logging.INFO
    facts = {"address": finding.address, "reach": finding.reach.value, "hint": finding.sentence}
    log.log(level, "relay address checked", extra=facts)
    if finding.reach in _TOLD:
        notice(f"TURN: {finding.sentence}")
