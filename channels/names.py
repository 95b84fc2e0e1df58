"""Names that cross the wire, right by construction: channel name, client id, role, ARN. No I/O."""

import enum
import re
import sys
from typing import Final, Self

import msgspec

from channels.errors import InvalidArgumentException

_NAME = re.compile(r"[a-zA-Z0-9_.-]{1,256}", re.ASCII)
_ARN = re.compile(
    r"arn:(?P<partition>[a-z0-9-]+):kinesisvideo:(?P<region>[a-z0-9-]+):(?P<account>[0-9]{12})"
    r":channel/(?P<name>[a-zA-Z0-9_.-]{1,256})/(?P<created_ms>0|[1-9][0-9]{0,18})",
    re.ASCII,
)
_ARN_LIMIT = 1024


class Role(enum.StrEnum):
    """Which side of a signaling channel a connection is on."""

    MASTER = "MASTER"
    VIEWER = "VIEWER"

    @property
    def counted(self) -> str:
        """As counters and limits name it."""
        return _COUNTED[self]


_COUNTED: Final = {role: role.value.lower() for role in Role}


def parse_channel_name(text: str) -> str:
    """Return `text` when it is a channel name: 1-256 of `[a-zA-Z0-9_.-]` (KVS API: CreateSignalingChannel).

    Raises: InvalidArgumentException.
    """
    if not _NAME.fullmatch(text):
        raise InvalidArgumentException("ChannelName must be 1 to 256 characters of a-z A-Z 0-9 _ . -")
    return text


def parse_client_id(text: str) -> str:
    """Return `text` when it is a client id: 1-256 of `[a-zA-Z0-9_.-]`, not starting with `AWS_` in any case.

    Raises: InvalidArgumentException. Source: KVS API, ConnectAsViewer.
    """
    if not _NAME.fullmatch(text):
        raise InvalidArgumentException("ClientId must be 1 to 256 characters of a-z A-Z 0-9 _ . -")
    if text[:4].upper() == "AWS_":
        raise InvalidArgumentException("ClientId must not begin with AWS_: the prefix is reserved")
    return text


class ChannelArn(msgspec.Struct, frozen=True):
    """ARN of one incarnation of a channel: `arn:<partition>:kinesisvideo:<region>:<account>:channel/<name>/<ms>`.

    `created_ms` is the creation time in epoch milliseconds; it tells a re-created channel from its predecessor.
    """

    partition: str
    region: str
    account: str
    name: str
    created_ms: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an ARN of at most 1,024 characters.

        Raises: InvalidArgumentException with what an ARN looks like.
        """
        match = _ARN.fullmatch(text) if len(text) <= _ARN_LIMIT else None
        if match is None:
            raise InvalidArgumentException(
                "ChannelARN must look like arn:aws:kinesisvideo:<region>:<12 digits>:channel/<name>/<digits>"
            )
        return cls(match["partition"], match["region"], match["account"], match["name"], int(match["created_ms"]))

    def __str__(self) -> str:
        """Its text, once for all who keep it: each connection is listed by it in several tables."""
        return sys.intern(
            f"arn:{self.partition}:kinesisvideo:{self.region}:{self.account}:channel/{self.name}/{self.created_ms}"
        )
