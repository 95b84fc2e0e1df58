"""What a node did not hear while it was cut off: whether the channels that are connected here are still there."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final, Protocol

from channels.channel import Channel
from channels.errors import ResourceNotFoundException, ServiceUnavailableException
from channels.names import ChannelArn

log = logging.getLogger(__name__)
_RETRY_S: Final = 1.0


class Resolver(Protocol):
    """Where channels are looked up: the control plane."""

    async def resolve(self, arn: ChannelArn, account: str | None = None) -> Channel:
        """The living channel of this ARN. Raises: ResourceNotFoundException, ServiceUnavailableException."""


class Connections(Protocol):
    """Who is connected here: the hub."""

    @property
    def channels(self) -> frozenset[str]:
        """The ARNs of the channels that have a connection."""

    def update_channel(self, channel: Channel) -> None:
        """Take over a changed time to live."""


class MissedNews:
    """Looks once after each `look` or `look_at`; `on_deleted` is called with each channel that is gone."""

    def __init__(self, control: Resolver, hub: Connections, on_deleted: Callable[[ChannelArn], None]) -> None:
        self._control = control
        self._hub = hub
        self._on_deleted = on_deleted
        self._is_wanted = asyncio.Event()
        self._doubtful: set[ChannelArn] = set()

    def look(self) -> None:
        """This node was cut off and is back."""
        self._is_wanted.set()

    def look_at(self, arn: ChannelArn) -> None:
        """This channel may be deleted: nobody answered."""
        self._doubtful.add(arn)
        self._is_wanted.set()

    async def run(self) -> None:
        """Look when it is wanted, until cancelled."""
        while True:
            await self._is_wanted.wait()
            self._is_wanted.clear()
            doubtful, self._doubtful = self._doubtful, set()
            for arn in doubtful.union(map(ChannelArn.parse, self._hub.channels)):
                while not await self._settle(arn):  # noqa: ASYNC110  # nobody tells when it is back
                    await asyncio.sleep(_RETRY_S)

    async def _settle(self, arn: ChannelArn) -> bool:
        try:
            self._hub.update_channel(await self._control.resolve(arn))
        except ServiceUnavailableException:
            return False
        except ResourceNotFoundException:
            log.info("channel was deleted meanwhile", extra={"channel": str(arn)})
            self._on_deleted(arn)
        return True
