"""What each channel used of the relay, told in reports of bounded size. No I/O."""

from collections.abc import Mapping

MOST = 500  # channels in a report
REMEMBERED = 16_384

Totals = tuple[int, int, int]
"""Allocations alive now, bytes to peers and bytes to clients since the start."""


class UsageReports:
    """What was told of each channel, by the digest of its ARN, and what has changed since."""

    def __init__(self) -> None:
        self._told: dict[str, Totals] = {}  # what was told least lately comes first

    def changes(self, usage: Mapping[str, Totals]) -> dict[str, Totals]:
        """Return what is new; of more than 500 channels first those that were never told, then those longest ago."""
        new = [channel for channel in usage if channel not in self._told]
        old = [channel for channel, told in self._told.items() if usage.get(channel, told) != told]
        return {channel: usage[channel] for channel in (*new, *old)[:MOST]}

    def told(self, changes: Mapping[str, Totals]) -> None:
        """Take note that these have arrived."""
        for channel, totals in changes.items():
            remember(self._told, channel, totals)


def remember(known: dict[str, Totals], channel: str, totals: Totals) -> None:
    """Put it last, and forget the first when there are too many."""
    known.pop(channel, None)
    known[channel] = totals
    if len(known) > REMEMBERED:
        del known[next(iter(known))]
