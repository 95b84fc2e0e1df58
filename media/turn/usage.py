"""How much was relayed for each quota key, also for allocations that are over. No I/O, no clock."""

import msgspec

REMEMBERED = 4096
"""Quota keys without an allocation whose counts are kept; the one that was used least lately goes first."""


class Usage(msgspec.Struct, gc=False):
    """Of one quota key: allocations alive now, and bytes of data since the start."""

    allocations: int = 0
    bytes_to_peers: int = 0
    bytes_to_clients: int = 0


class Usages:
    """The usage of each quota key; allocations of one key share the object."""

    def __init__(self) -> None:
        self._live: dict[bytes, Usage] = {}
        self._idle: dict[bytes, Usage] = {}

    def begin(self, quota_key: bytes) -> Usage:
        """Count one more allocation and return what its bytes are to be added to."""
        usage = self._live.get(quota_key)
        if usage is None:
            usage = self._live[quota_key] = self._idle.pop(quota_key) if quota_key in self._idle else Usage()
        usage.allocations += 1
        return usage

    def end(self, quota_key: bytes) -> None:
        """Count one allocation less; what it relayed stays known."""
        usage = self._live[quota_key]
        usage.allocations -= 1
        if not usage.allocations:
            self._idle[quota_key] = self._live.pop(quota_key)
            if len(self._idle) > REMEMBERED:
                del self._idle[next(iter(self._idle))]

    def all(self) -> dict[bytes, Usage]:
        """Return every usage that is known."""
        return {**self._idle, **self._live}
