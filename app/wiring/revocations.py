"""Tells the TURN process what is no longer good: deleted channels, and credentials that were revoked."""

import logging
from collections.abc import Sequence
from typing import Final

import msgspec

from app.wiring.orders import Revoked
from app.wiring.relay_process import RelayProcess
from channels import ice
from channels.names import ChannelArn

TAGS_A_LINE: Final = 10_000
log = logging.getLogger(__name__)


class RevocationStats(msgspec.Struct):
    """Plain counters: lines told to the TURN process of what is no longer good, and lost because nobody read them.

    What is lost relays on until its credential ends.
    """

    told: int = 0
    lost: int = 0


class Revocations:
    """What a node tells its TURN process to end."""

    def __init__(self, turn: RelayProcess) -> None:
        self.stats = RevocationStats()
        self._turn = turn

    def of_channel(self, arn: ChannelArn) -> None:
        """End what this channel relays."""
        self._tell(Revoked(channels=(ice.channel_digest(arn).hex(),)))

    def of_credentials(self, ids: Sequence[str]) -> None:
        """End what is relayed with these credentials."""
        tags = [ice.holder_tag(each).hex() for each in ids]
        for start in range(0, len(tags), TAGS_A_LINE):
            self._tell(Revoked(holders=tuple(tags[start : start + TAGS_A_LINE])))

    def _tell(self, news: Revoked) -> None:
        if self._turn.tell(news):
            self.stats.told += 1
        else:
            self.stats.lost += 1
            log.error("the TURN process was not told what is no longer good", extra={"lost": self.stats.lost})
