"""Where channels are kept: the interface of the catalog. Implementations: `embedded/store.py`, later Redis."""

from typing import Protocol

import msgspec

from channels.channel import Channel
from channels.names import ChannelArn


class Page(msgspec.Struct, frozen=True):
    """Part of a listing in name order; `next_name` is the last name of the page, None on the last page."""

    channels: tuple[Channel, ...]
    next_name: str | None


class StoreUnavailableError(Exception):
    """The catalog cannot answer now; the caller gets ServiceUnavailableException."""


class Store(Protocol):
    """Catalog of channels; an acknowledged write survives `kill -9` of the process.

    Every method raises StoreUnavailableError when the catalog cannot answer.
    """

    async def create(self, channel: Channel, account_limit: int) -> None:
        """Add a channel. Raises: ResourceInUseException (name taken), AccountChannelLimitExceededException."""

    async def get(self, arn: ChannelArn) -> Channel | None:
        """The channel of exactly this incarnation."""

    async def get_by_name(self, account: str, region: str, name: str) -> Channel | None:
        """The living channel of this name."""

    async def list(self, account: str, region: str, prefix: str, after: str, limit: int) -> Page:
        """Up to `limit` channels in name order whose name begins with `prefix` and sorts after `after`."""

    async def replace(self, channel: Channel, expected_version: str) -> None:
        """Put a new state in the place of the version expected.

        Raises: ResourceNotFoundException, VersionMismatchException.
        """

    async def delete(self, arn: ChannelArn, expected_version: str | None) -> None:
        """Remove the channel. Raises: ResourceNotFoundException, VersionMismatchException."""

    async def check(self) -> None:
        """Prove that the catalog answers; for readiness."""
