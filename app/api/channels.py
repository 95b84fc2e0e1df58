"""Control plane operations of signaling channels: permission, quota, then the rules of `channels.control`.

KVS API: service kinesisvideo.
"""

from collections.abc import Callable

import msgspec

from app.api import shapes
from app.api.reference import permitted, referred
from app.authenticate import authorise
from app.endpoints import Asked, EndpointSettings, Owner
from app.wire import Caller, Operation
from channels.channel import DEFAULT_MESSAGE_TTL_S, Channel, ChannelType
from channels.control import DEFAULT_PAGE_SIZE, ControlPlane, public_version, require_active
from channels.errors import InvalidArgumentException
from channels.names import ChannelArn, Role


def _nobody(_: ChannelArn) -> Owner | None:
    return None


class ChannelsApi:
    """The operations on signaling channels as the KVS control plane has them.

    `owner` knows to which of several processes a channel belongs.
    """

    def __init__(
        self, control: ControlPlane, settings: EndpointSettings, owner: Callable[[ChannelArn], Owner | None] = _nobody
    ) -> None:
        self._control = control
        self._settings = settings
        self._owner = owner

    @property
    def operations(self) -> tuple[Operation, ...]:
        """Each operation with its path; AWS is not consistent in their case."""
        table = (
            ("CreateSignalingChannel", "/createSignalingChannel", shapes.CreateSignalingChannelInput, self._create),
            ("DescribeSignalingChannel", "/describeSignalingChannel", shapes.ChannelReference, self._describe),
            ("ListSignalingChannels", "/listSignalingChannels", shapes.ListSignalingChannelsInput, self._list),
            ("UpdateSignalingChannel", "/updateSignalingChannel", shapes.UpdateSignalingChannelInput, self._update),
            ("DeleteSignalingChannel", "/deleteSignalingChannel", shapes.DeleteSignalingChannelInput, self._delete),
            (
                "GetSignalingChannelEndpoint",
                "/getSignalingChannelEndpoint",
                shapes.GetSignalingChannelEndpointInput,
                self._endpoint,
            ),
            ("TagResource", "/TagResource", shapes.TagResourceInput, self._tag),
            ("UntagResource", "/UntagResource", shapes.UntagResourceInput, self._untag),
            ("ListTagsForResource", "/ListTagsForResource", shapes.ListTagsForResourceInput, self._list_tags),
        )
        return tuple(Operation(name, path, request, handle, "kinesisvideo") for name, path, request, handle in table)

    async def _create(
        self, caller: Caller, body: shapes.CreateSignalingChannelInput
    ) -> shapes.CreateSignalingChannelOutput:
        account = caller.grant.account
        resource = self._control.name_pattern(account, body.channel_name)
        authorise(caller.grant, "CreateSignalingChannel", resource, event=caller.event)
        self._control.meter("CreateSignalingChannel", account)
        ttl_s = _message_ttl(body.single_master_configuration)
        channel = await self._control.create(
            account,
            body.channel_name,
            body.channel_type or ChannelType.SINGLE_MASTER,
            DEFAULT_MESSAGE_TTL_S if ttl_s is None else ttl_s,
            [(tag.key, tag.value) for tag in body.tags or ()],
        )
        return shapes.CreateSignalingChannelOutput(str(channel.arn))

    async def _describe(self, caller: Caller, body: shapes.ChannelReference) -> shapes.DescribeSignalingChannelOutput:
        channel = await referred(self._control, caller, "DescribeSignalingChannel", body)
        return shapes.DescribeSignalingChannelOutput(_info(channel))

    async def _list(
        self, caller: Caller, body: shapes.ListSignalingChannelsInput
    ) -> shapes.ListSignalingChannelsOutput:
        account = caller.grant.account
        authorise(caller.grant, "ListSignalingChannels", "*", event=caller.event)
        self._control.meter("ListSignalingChannels", account)
        condition = body.channel_name_condition
        listing = await self._control.list(
            account,
            (condition.comparison_value if condition else None) or "",
            DEFAULT_PAGE_SIZE if body.max_results is None else body.max_results,
            body.next_token,
        )
        channels = tuple(_info(channel) for channel in listing.channels)
        return shapes.ListSignalingChannelsOutput(channels, listing.next_token or msgspec.UNSET)

    async def _update(self, caller: Caller, body: shapes.UpdateSignalingChannelInput) -> shapes.Empty:
        arn = permitted(self._control, caller, "UpdateSignalingChannel", body.channel_arn)
        ttl_s = _message_ttl(body.single_master_configuration)
        await self._control.update(arn, caller.grant.account, body.current_version, ttl_s)
        return shapes.Empty()

    async def _delete(self, caller: Caller, body: shapes.DeleteSignalingChannelInput) -> shapes.Empty:
        arn = permitted(self._control, caller, "DeleteSignalingChannel", body.channel_arn)
        await self._control.delete(arn, caller.grant.account, body.current_version)
        return shapes.Empty()

    async def _endpoint(
        self, caller: Caller, body: shapes.GetSignalingChannelEndpointInput
    ) -> shapes.GetSignalingChannelEndpointOutput:
        arn = permitted(self._control, caller, "GetSignalingChannelEndpoint", body.channel_arn)
        require_active(await self._control.resolve(arn, caller.grant.account))
        wanted = body.single_master_channel_endpoint_configuration or shapes.EndpointConfiguration()
        protocols = dict.fromkeys(wanted.protocols or ("WSS", "HTTPS"))
        if "WEBRTC" in protocols:
            raise InvalidArgumentException("Protocols: WEBRTC needs media storage, which this channel does not have")
        asked, owner = Asked(caller.scheme, caller.host), self._owner(arn)
        urls = {
            "WSS": self._settings.socket_url(wanted.role or Role.VIEWER, arn, asked, owner),
            "HTTPS": self._settings.rest_url(arn, asked, owner),
        }
        endpoints = tuple(shapes.ResourceEndpoint(protocol, urls[protocol]) for protocol in protocols)
        return shapes.GetSignalingChannelEndpointOutput(endpoints)

    async def _tag(self, caller: Caller, body: shapes.TagResourceInput) -> shapes.Empty:
        arn = permitted(self._control, caller, "TagResource", body.resource_arn)
        await self._control.tag(arn, caller.grant.account, [(tag.key, tag.value) for tag in body.tags])
        return shapes.Empty()

    async def _untag(self, caller: Caller, body: shapes.UntagResourceInput) -> shapes.Empty:
        arn = permitted(self._control, caller, "UntagResource", body.resource_arn)
        await self._control.untag(arn, caller.grant.account, body.tag_key_list)
        return shapes.Empty()

    async def _list_tags(
        self, caller: Caller, body: shapes.ListTagsForResourceInput
    ) -> shapes.ListTagsForResourceOutput:
        arn = permitted(self._control, caller, "ListTagsForResource", body.resource_arn)
        if body.next_token:
            raise InvalidArgumentException("NextToken was not given out here: all tags of a channel come at once")
        return shapes.ListTagsForResourceOutput(dict(await self._control.list_tags(arn, caller.grant.account)))


def _message_ttl(configuration: shapes.SingleMasterConfiguration | None) -> int | None:
    return configuration.message_ttl_seconds if configuration else None


def _info(channel: Channel) -> shapes.ChannelInfo:
    return shapes.ChannelInfo(
        channel_name=channel.arn.name,
        channel_arn=str(channel.arn),
        channel_type=channel.type,
        channel_status=channel.status,
        creation_time=channel.arn.created_ms / 1000,
        single_master_configuration=shapes.ChannelSettings(channel.message_ttl_s),
        version=public_version(channel),
    )
