"""Which channel a request names, and whether its caller may act on it: by ARN, or by name in the control plane.

Who may not act on a channel is refused in the same words whether it exists or not.
"""

from app.api import shapes
from app.authenticate import authorise
from app.wire import Caller
from channels.channel import Channel
from channels.control import ControlPlane
from channels.errors import AccessDeniedException, InvalidArgumentException, ResourceNotFoundException, ServiceError
from channels.names import ChannelArn


def permitted(
    control: ControlPlane,
    caller: Caller,
    action: str,
    text: str,
    error: type[ServiceError] = AccessDeniedException,
) -> ChannelArn:
    """The ARN in `text`, once the caller may do `action` to it and its quota allows.

    Raises: InvalidArgumentException, `error`, ClientLimitExceededException.
    """
    arn = ChannelArn.parse(text)
    authorise(caller.grant, action, str(arn), error, caller.event)
    control.meter(action, caller.grant.account, arn)
    return arn


async def referred(control: ControlPlane, caller: Caller, action: str, reference: shapes.ChannelReference) -> Channel:
    """The channel that is named by ARN, by name, or by both if they agree.

    Raises: as `permitted`, and ResourceNotFoundException.
    """
    name = reference.channel_name
    if reference.channel_arn is not None:
        arn = ChannelArn.parse(reference.channel_arn)
        if name not in (None, arn.name):
            raise InvalidArgumentException("ChannelName is not the name in ChannelARN: give one of them")
        permitted(control, caller, action, str(arn))
        return await control.resolve(arn, caller.grant.account)
    if name is None:
        raise InvalidArgumentException("ChannelName or ChannelARN is missing")
    account = caller.grant.account
    channel = await control.find(account, name)
    _authorise_named(caller, action, channel, control.name_pattern(account, name))
    control.meter(action, account, channel.arn if channel else None)
    if channel is None:
        raise ResourceNotFoundException(f"there is no channel named {name}")
    return channel


def _authorise_named(caller: Caller, action: str, channel: Channel | None, pattern: str) -> None:
    if channel is None:
        authorise(caller.grant, action, pattern, event=caller.event)
        return
    try:
        authorise(caller.grant, action, str(channel.arn), event=caller.event)
    except AccessDeniedException as denial:  # its words must not tell that the channel exists
        raise AccessDeniedException(denial.message.replace(str(channel.arn), pattern)) from None
