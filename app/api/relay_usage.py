"""DescribeRelayUsage: what a channel's clients relay, for whoever may describe it."""

from collections.abc import Callable
from typing import Annotated

import msgspec
from msgspec import Meta

from app.authenticate import authorise
from app.wire import Caller, Operation
from channels import ice
from channels.control import ControlPlane
from channels.names import ChannelArn

ACTION = "DescribeSignalingChannel"

UsageOf = Callable[[bytes], tuple[int, int, int]]
"""Takes the digest of a channel; gives allocations now, bytes to peers and bytes to clients since the start."""


class DescribeRelayUsageInput(msgspec.Struct, frozen=True, rename="camel"):
    """Of which channel."""

    channel_arn: Annotated[str, Meta(min_length=1, max_length=1024)]


class DescribeRelayUsageOutput(msgspec.Struct, frozen=True, rename="camel"):
    """Allocations that are open, and the data that was relayed since the service started, as of a second ago."""

    allocations: int
    bytes_to_peers: int
    bytes_to_clients: int


class RelayUsageApi:
    """The one operation on what is relayed."""

    def __init__(self, control: ControlPlane, usage_of: UsageOf) -> None:
        self._control = control
        self._usage_of = usage_of

    @property
    def operations(self) -> tuple[Operation, ...]:
        """DescribeRelayUsage."""
        request = DescribeRelayUsageInput
        return (Operation("DescribeRelayUsage", "/v1/relay-usage", request, self._describe, "heliograph"),)

    async def _describe(self, caller: Caller, body: DescribeRelayUsageInput) -> DescribeRelayUsageOutput:
        arn = ChannelArn.parse(body.channel_arn)
        authorise(caller.grant, ACTION, str(arn), event=caller.event)
        self._control.meter("DescribeRelayUsage", caller.grant.account, arn)
        channel = await self._control.resolve(arn, caller.grant.account)
        return DescribeRelayUsageOutput(*self._usage_of(ice.channel_digest(channel.arn)))
