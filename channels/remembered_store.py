"""A catalog that is remembered for a while: what was read of it answers for it while it does not.

While the catalog answers, every read is its own. So nothing here can be out of date but in an outage, and then not for
longer than `lifetime_s`, nor beyond a deletion that this node heard of. What is remembered is not waited for longer
than `patience_s`: who reads it has more to ask of a Redis that may be frozen, and 2 s in all.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import msgspec

from channels.channel import Channel
from channels.names import ChannelArn
from channels.store import Page, Store, StoreUnavailableError

LIFETIME_S: Final = 30.0
PATIENCE_S: Final = 0.5
_PAUSE_S: Final = 1.0  # a catalog that fails slowly is asked for what is remembered only so often
_Key = tuple[str, str, str]


class MemoryStats(msgspec.Struct):
    """Plain counters: reads that were answered from memory, and those that could not be."""

    recalled: int = 0
    missed: int = 0


class RememberedStore:
    """The catalog `store`, and its channels that were read within the last `lifetime_s`, `limit` of them at most."""

    def __init__(
        self,
        store: Store,
        now: Callable[[], float] = time.monotonic,
        lifetime_s: float = LIFETIME_S,
        limit: int = 100_000,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self.stats = MemoryStats()
        self._store = store
        self._now = now
        self._lifetime_s = lifetime_s
        self._limit = limit
        self._patience_s = patience_s
        self._known: OrderedDict[_Key, tuple[Channel, float]] = OrderedDict()  # until when; what was read last is last
        self._changes = 0
        self._ask_again_at = 0.0

    def __len__(self) -> int:
        return len(self._known)

    async def create(self, channel: Channel, account_limit: int) -> None:
        """Add a channel. Raises: ResourceInUseException (name taken), AccountChannelLimitExceededException."""
        await self._store.create(channel, account_limit)
        self._note(channel)

    async def get(self, arn: ChannelArn) -> Channel | None:
        """The channel of exactly this incarnation."""
        channel = await self.get_by_name(arn.account, arn.region, arn.name)
        return channel if channel is not None and channel.arn == arn else None

    async def get_by_name(self, account: str, region: str, name: str) -> Channel | None:
        """The living channel of this name."""
        key, changes = (account, region, name), self._changes
        if self._now() < self._ask_again_at and (remembered := self._recall(key)) is not None:
            return remembered
        try:
            async with asyncio.timeout(self._patience_s if self._remembers(key) else None):
                found = await self._store.get_by_name(*key)
        except (StoreUnavailableError, TimeoutError) as error:
            self._ask_again_at = self._now() + _PAUSE_S
            remembered = self._recall(key)
            if remembered is None:
                self.stats.missed += 1
                raise StoreUnavailableError(str(error) or "the catalog does not answer") from error
            return remembered
        self._ask_again_at = 0.0
        if changes == self._changes:  # else the answer may be older than what we heard meanwhile
            self._known.pop(key, None)
            if found is not None:
                self._note(found)
        return found

    async def list(self, account: str, region: str, prefix: str, after: str, limit: int) -> Page:
        """Up to `limit` channels in name order whose name begins with `prefix` and sorts after `after`."""
        return await self._store.list(account, region, prefix, after, limit)

    async def replace(self, channel: Channel, expected_version: str) -> None:
        """Put a new state in the place of the version expected.

        Raises: ResourceNotFoundException, VersionMismatchException.
        """
        try:
            await self._store.replace(channel, expected_version)
        finally:  # when it is done: what is read before may be of before
            self.forget(channel.arn)

    async def delete(self, arn: ChannelArn, expected_version: str | None) -> None:
        """Remove the channel. Raises: ResourceNotFoundException, VersionMismatchException."""
        try:
            await self._store.delete(arn, expected_version)
        finally:
            self.forget(arn)

    async def check(self) -> None:
        """Prove that the catalog answers; for readiness."""
        await self._store.check()

    def forget(self, arn: ChannelArn) -> None:
        """The channel was changed or deleted, here or elsewhere."""
        self._changes += 1
        self._known.pop((arn.account, arn.region, arn.name), None)

    def forget_all(self) -> None:
        """Perhaps we did not hear of a change."""
        self._changes += 1
        self._known.clear()

    def _remembers(self, key: _Key) -> bool:
        return key in self._known and self._known[key][1] > self._now()

    def _recall(self, key: _Key) -> Channel | None:
        if not self._remembers(key):
            return None
        self.stats.recalled += 1
        return self._known[key][0]

    def _note(self, channel: Channel) -> None:
        now, arn = self._now(), channel.arn
        self._known[arn.account, arn.region, arn.name] = (channel, now + self._lifetime_s)
        while self._known:
            _, until = self._known[first := next(iter(self._known))]
            if until > now and len(self._known) <= self._limit:
                return
            del self._known[first]
