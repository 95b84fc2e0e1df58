"""Operations on media storage, which this service does not have: each says so, as a client of KVS understands it.

KVS API: services kinesisvideo and kinesis-video-webrtc-storage; the latter writes camelCase.
"""

import re
from typing import Final

import msgspec

from app.api import shapes
from app.api.reference import permitted, referred
from app.authenticate import authorise
from app.wire import Caller, Operation
from channels.control import ControlPlane, require_active
from channels.errors import InvalidArgumentException, ResourceNotFoundException
from channels.names import parse_channel_name, parse_client_id

_STREAM: Final = re.compile(
    r"arn:[a-z0-9-]+:kinesisvideo:[a-z0-9-]+:[0-9]{12}:stream/(?P<name>[a-zA-Z0-9_.-]{1,256})/(?:0|[1-9][0-9]{0,18})",
    re.ASCII,
)
_NO_STORAGE: Final = "this service stores no media yet: master and viewers talk to each other directly"


class JoinStorageSessionInput(msgspec.Struct, frozen=True, rename="camel"):
    """The channel whose storage session a master wants to join."""

    channel_arn: shapes.Arn


class JoinStorageSessionAsViewerInput(msgspec.Struct, frozen=True, rename="camel"):
    """The channel whose storage session a viewer wants to join."""

    channel_arn: shapes.Arn
    client_id: shapes.ClientId


class StorageApi:
    """What KVS offers around media storage."""

    def __init__(self, control: ControlPlane) -> None:
        self._control = control

    @property
    def operations(self) -> tuple[Operation, ...]:
        """Three of the control plane, two of the storage service."""
        return (
            Operation(
                "DescribeMediaStorageConfiguration",
                "/describeMediaStorageConfiguration",
                shapes.ChannelReference,
                self._describe,
                "kinesisvideo",
            ),
            Operation(
                "UpdateMediaStorageConfiguration",
                "/updateMediaStorageConfiguration",
                shapes.UpdateMediaStorageConfigurationInput,
                self._update,
                "kinesisvideo",
            ),
            Operation(
                "DescribeMappedResourceConfiguration",
                "/describeMappedResourceConfiguration",
                shapes.DescribeMappedResourceConfigurationInput,
                self._describe_mapped,
                "kinesisvideo",
            ),
            Operation("JoinStorageSession", "/joinStorageSession", JoinStorageSessionInput, self._join, "storage"),
            Operation(
                "JoinStorageSessionAsViewer",
                "/joinStorageSessionAsViewer",
                JoinStorageSessionAsViewerInput,
                self._join_as_viewer,
                "storage",
            ),
        )

    async def _describe(
        self, caller: Caller, body: shapes.ChannelReference
    ) -> shapes.DescribeMediaStorageConfigurationOutput:
        await referred(self._control, caller, "DescribeMediaStorageConfiguration", body)
        return shapes.DescribeMediaStorageConfigurationOutput(shapes.MediaStorageConfiguration("DISABLED", None))

    async def _update(self, caller: Caller, body: shapes.UpdateMediaStorageConfigurationInput) -> shapes.Empty:
        wanted = body.media_storage_configuration
        if wanted.stream_arn is not None:
            _parse_stream(wanted.stream_arn)
        arn = permitted(self._control, caller, "UpdateMediaStorageConfiguration", body.channel_arn)
        require_active(await self._control.resolve(arn, caller.grant.account))
        if wanted.status == "ENABLED":
            raise InvalidArgumentException(f"MediaStorageConfiguration: Status must be DISABLED, {_NO_STORAGE}")
        return shapes.Empty()

    async def _describe_mapped(
        self, caller: Caller, body: shapes.DescribeMappedResourceConfigurationInput
    ) -> shapes.DescribeMappedResourceConfigurationOutput:
        name, resource = self._stream(caller, body)
        authorise(caller.grant, "DescribeMappedResourceConfiguration", resource, event=caller.event)
        self._control.meter("DescribeMappedResourceConfiguration", caller.grant.account)
        if body.next_token:
            raise InvalidArgumentException("NextToken was not given out here: all there is comes at once")
        raise ResourceNotFoundException(f"there is no stream {name}: {_NO_STORAGE}")

    def _stream(self, caller: Caller, body: shapes.DescribeMappedResourceConfigurationInput) -> tuple[str, str]:
        """The name of the stream and the resource that a permission must cover."""
        if body.stream_arn is not None:
            name = _parse_stream(body.stream_arn)
            if body.stream_name not in (None, name):
                raise InvalidArgumentException("StreamName is not the name in StreamARN: give one of them")
            return name, body.stream_arn
        if body.stream_name is None:
            raise InvalidArgumentException("StreamName or StreamARN is missing")
        pattern = self._control.name_pattern(caller.grant.account, parse_channel_name(body.stream_name))
        return body.stream_name, pattern.replace(":channel/", ":stream/")

    async def _join(self, caller: Caller, body: JoinStorageSessionInput) -> shapes.Empty:
        return await self._refuse(caller, "JoinStorageSession", body.channel_arn)

    async def _join_as_viewer(self, caller: Caller, body: JoinStorageSessionAsViewerInput) -> shapes.Empty:
        parse_client_id(body.client_id)
        return await self._refuse(caller, "JoinStorageSessionAsViewer", body.channel_arn)

    async def _refuse(self, caller: Caller, action: str, text: str) -> shapes.Empty:
        arn = permitted(self._control, caller, action, text)
        await self._control.resolve(arn, caller.grant.account)
        raise InvalidArgumentException(f"channelArn: the channel has no media storage, {_NO_STORAGE}")


def _parse_stream(text: str) -> str:
    """The name in the ARN of a stream."""
    match = _STREAM.fullmatch(text)
    if match is None:
        raise InvalidArgumentException(
            "StreamARN must look like arn:aws:kinesisvideo:<region>:<12 digits>:stream/<name>/<digits>"
        )
    return match["name"]
