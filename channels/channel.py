"""What a signaling channel is: a value, no behaviour of a store."""

import enum

import msgspec

from channels.names import ChannelArn

DEFAULT_MESSAGE_TTL_S = 60


class ChannelType(enum.Enum):
    """Kinds of channel the KVS API names; only SINGLE_MASTER exists as a service."""

    SINGLE_MASTER = "SINGLE_MASTER"
    FULL_MESH = "FULL_MESH"


class ChannelStatus(enum.Enum):
    """Life cycle of a channel (KVS API: ChannelInfo)."""

    CREATING = "CREATING"
    ACTIVE = "ACTIVE"
    UPDATING = "UPDATING"
    DELETING = "DELETING"


class Channel(msgspec.Struct, frozen=True):
    """One signaling channel as the catalog holds it.

    `message_ttl_s` is 5-120 seconds, `version` an opaque string of 1-64 `[a-zA-Z0-9]`, new on each update.
    The creation time is `arn.created_ms`.
    """

    arn: ChannelArn
    version: str
    message_ttl_s: int = DEFAULT_MESSAGE_TTL_S
    type: ChannelType = ChannelType.SINGLE_MASTER
    status: ChannelStatus = ChannelStatus.ACTIVE
    tags: dict[str, str] = {}
