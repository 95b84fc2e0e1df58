"""Requests and answers of the control plane and of GetIceServerConfig: wire names and bounds, no behaviour.

Source: service models of kinesisvideo and kinesis-video-signaling. Counts that have an error class of their own (tags)
are not bounded here.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from channels.channel import ChannelStatus, ChannelType
from channels.names import Role

ChannelName = Annotated[str, Meta(min_length=1, max_length=256, pattern=r"^[a-zA-Z0-9_.-]+\Z")]
ClientId = Annotated[str, Meta(min_length=1, max_length=256, pattern=r"^[a-zA-Z0-9_.-]+\Z")]
Arn = Annotated[str, Meta(min_length=1, max_length=1024)]
Version = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[a-zA-Z0-9]+\Z")]
PageToken = Annotated[str, Meta(max_length=1024, pattern=r"^[a-zA-Z0-9+/=]*\Z")]
MessageTtl = Annotated[int, Meta(ge=5, le=120)]
TagKey = Annotated[str, Meta(min_length=1, max_length=128)]
TagValue = Annotated[str, Meta(max_length=256)]
Protocol = Literal["WSS", "HTTPS", "WEBRTC"]


def wire_name(field: str) -> str:
    """`channel_arn` is ChannelARN on the wire, `channel_name` ChannelName."""
    return "".join("ARN" if word == "arn" else word.capitalize() for word in field.split("_"))


class Shape(msgspec.Struct, frozen=True, rename=wire_name):
    """What travels in PascalCase."""


class Empty(Shape, frozen=True):
    """An answer without content."""


class SingleMasterConfiguration(Shape, frozen=True):
    """How long a message waits for its recipient, in seconds."""

    message_ttl_seconds: MessageTtl | None = None


class Tag(Shape, frozen=True):
    """One tag on its way in; on the way out tags are a mapping."""

    key: TagKey
    value: TagValue


class CreateSignalingChannelInput(Shape, frozen=True):
    """A name, and what is to differ from the defaults."""

    channel_name: ChannelName
    channel_type: ChannelType | None = None
    single_master_configuration: SingleMasterConfiguration | None = None
    tags: tuple[Tag, ...] | None = None


class CreateSignalingChannelOutput(Shape, frozen=True):
    """The ARN of the new channel."""

    channel_arn: str


class ChannelReference(Shape, frozen=True):
    """A channel by its name or by its ARN."""

    channel_name: ChannelName | None = None
    channel_arn: Arn | None = None


class ChannelSettings(Shape, frozen=True):
    """SingleMasterConfiguration as an answer gives it: complete."""

    message_ttl_seconds: int


class ChannelInfo(Shape, frozen=True):
    """One channel; CreationTime in epoch seconds with a fraction."""

    channel_name: str
    channel_arn: str
    channel_type: ChannelType
    channel_status: ChannelStatus
    creation_time: float
    single_master_configuration: ChannelSettings
    version: str


class DescribeSignalingChannelOutput(Shape, frozen=True):
    """The channel asked for."""

    channel_info: ChannelInfo


class ChannelNameCondition(Shape, frozen=True):
    """Which names a listing shows; all when there is no value."""

    comparison_operator: Literal["BEGINS_WITH"] | None = None
    comparison_value: ChannelName | None = None


class ListSignalingChannelsInput(Shape, frozen=True):
    """How many channels a page may hold (500), where it begins, and which names it shows."""

    max_results: Annotated[int, Meta(ge=1, le=10_000)] | None = None
    next_token: PageToken | None = None
    channel_name_condition: ChannelNameCondition | None = None


class ListSignalingChannelsOutput(Shape, frozen=True):
    """One page in name order; no NextToken on the last one."""

    channel_info_list: tuple[ChannelInfo, ...]
    next_token: str | UnsetType = UNSET


class UpdateSignalingChannelInput(Shape, frozen=True):
    """CurrentVersion is the Version that the caller saw last."""

    channel_arn: Arn
    current_version: Version
    single_master_configuration: SingleMasterConfiguration | None = None


class DeleteSignalingChannelInput(Shape, frozen=True):
    """Without CurrentVersion whatever version there is goes."""

    channel_arn: Arn
    current_version: Version | None = None


class EndpointConfiguration(Shape, frozen=True):
    """SingleMasterChannelEndpointConfiguration: WSS and HTTPS for a VIEWER unless it says otherwise."""

    protocols: Annotated[tuple[Protocol, ...], Meta(min_length=1, max_length=5)] | None = None
    role: Role | None = None


class GetSignalingChannelEndpointInput(Shape, frozen=True):
    """Which endpoints of a channel to tell, and for which role."""

    channel_arn: Arn
    single_master_channel_endpoint_configuration: EndpointConfiguration | None = None


class ResourceEndpoint(Shape, frozen=True):
    """One endpoint: a URL without a trailing slash, and without the port that its scheme implies."""

    protocol: Protocol
    resource_endpoint: str


class GetSignalingChannelEndpointOutput(Shape, frozen=True):
    """The endpoints in the order asked for."""

    resource_endpoint_list: tuple[ResourceEndpoint, ...]


class TagResourceInput(Shape, frozen=True):
    """1 to 50 tags to add or to give another value."""

    resource_arn: Arn
    tags: Annotated[tuple[Tag, ...], Meta(min_length=1)]


class UntagResourceInput(Shape, frozen=True):
    """1 to 50 keys; the ones that the channel does not carry are ignored."""

    resource_arn: Arn
    tag_key_list: Annotated[tuple[TagKey, ...], Meta(min_length=1, max_length=50)]


class ListTagsForResourceInput(Shape, frozen=True):
    """Whose tags to list. All come at once, so no NextToken is ever given out, and none is good."""

    resource_arn: Arn
    next_token: PageToken | None = None


class ListTagsForResourceOutput(Shape, frozen=True):
    """Tags as a mapping."""

    tags: dict[str, str]


class MediaStorageConfiguration(Shape, frozen=True):
    """Whether the channel is recorded, and to where."""

    status: Literal["ENABLED", "DISABLED"]
    stream_arn: str | None


class DescribeMediaStorageConfigurationOutput(Shape, frozen=True):
    """Always DISABLED: this service does not record yet."""

    media_storage_configuration: MediaStorageConfiguration


class WantedMediaStorage(Shape, frozen=True):
    """MediaStorageConfiguration as a request gives it; StreamARN is where the media would go."""

    status: Literal["ENABLED", "DISABLED"]
    stream_arn: Arn | None = None


class UpdateMediaStorageConfigurationInput(Shape, frozen=True):
    """Whether the channel is to be recorded; only DISABLED is served."""

    channel_arn: Arn
    media_storage_configuration: WantedMediaStorage


class DescribeMappedResourceConfigurationInput(Shape, frozen=True):
    """A stream by its name or by its ARN; MaxResults can only be 1."""

    stream_name: ChannelName | None = None
    stream_arn: Arn | None = None
    max_results: Annotated[int, Meta(ge=1, le=1)] | None = None
    next_token: PageToken | None = None


class MappedResource(Shape, frozen=True):
    """A channel that records into a stream."""

    type: str
    arn: str


class DescribeMappedResourceConfigurationOutput(Shape, frozen=True):
    """The channel that records into the stream, if there is one."""

    mapped_resource_configuration_list: tuple[MappedResource, ...]
    next_token: str | UnsetType = UNSET


class GetIceServerConfigInput(Shape, frozen=True):
    """For which channel; ClientId need not be connected. Service and Username are taken and not used."""

    channel_arn: Arn
    client_id: ClientId | None = None
    service: Literal["TURN"] | None = None
    username: Annotated[str, Meta(min_length=1, max_length=256, pattern=r"^[a-zA-Z0-9_.-]+\Z")] | None = None


class IceServerEntry(Shape, frozen=True):
    """URIs of one relay and a credential that opens allocations for Ttl seconds."""

    uris: tuple[str, ...]
    username: str
    password: str
    ttl: int


class GetIceServerConfigOutput(Shape, frozen=True):
    """The relays that this service runs."""

    ice_server_list: tuple[IceServerEntry, ...]


class SendAlexaOfferToMasterInput(Shape, frozen=True):
    """An SDP offer in base64, and the client id under which the master is to answer it."""

    channel_arn: Arn
    sender_client_id: ClientId
    message_payload: Annotated[str, Meta(min_length=1, max_length=10_000, pattern=r"^[a-zA-Z0-9+/=]+\Z")]


class SendAlexaOfferToMasterOutput(Shape, frozen=True):
    """The master's SDP answer in base64, as it came."""

    answer: str
