"""Tells the TURN process the user names that clients are given, so that it knows them by their USERHASH."""

import msgspec

from app.wiring.orders import Minted
from app.wiring.relay_process import RelayProcess


class NameStats(msgspec.Struct):
    """Plain counters: user names told to the TURN process, and lost because it did not read; those work in plain."""

    told: int = 0
    lost: int = 0


class TurnNames:
    """What a node tells its TURN process of the names it mints: a burst of them never costs the relay its life."""

    def __init__(self, turn: RelayProcess) -> None:
        self.stats = NameStats()
        self._turn = turn

    def tell(self, username: str, expires_at: float) -> None:
        """Tell of a name that is about to be answered; `expires_at` is epoch seconds."""
        if self._turn.mention(Minted(username, expires_at)):
            self.stats.told += 1
        else:
            self.stats.lost += 1
