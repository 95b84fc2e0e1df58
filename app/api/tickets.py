"""CreateConnectTicket: a token becomes a one-shot ticket for one websocket, once that connect would be admitted.

A browser never sees why an upgrade was refused, so this answers with the very error that the socket would give.
"""

from typing import Annotated, Protocol

import msgspec
from msgspec import Meta

from app.authenticate import authorise_connect
from app.wire import Caller, Operation
from channels.auth.grant import Grant
from channels.auth.ticket import Ticket
from channels.channel import Channel
from channels.errors import InvalidArgumentException
from channels.names import ChannelArn, Role, parse_client_id
from channels.tickets import TicketBook


class CreateConnectTicketInput(msgspec.Struct, frozen=True, rename="camel"):
    """Which connect the ticket is for; `client_id` is a viewer's, and may be left out where the token binds one."""

    channel_arn: Annotated[str, Meta(min_length=1, max_length=1024)]
    role: Role
    client_id: Annotated[str, Meta(min_length=1, max_length=256)] | None = None


class CreateConnectTicketOutput(msgspec.Struct, frozen=True, rename="camel"):
    """The ticket, for `?ticket=` of the websocket, and how long it is good."""

    ticket: str
    expires_in_seconds: int


class Resolver(Protocol):
    """Where channels are looked up: the control plane."""

    async def resolve(self, arn: ChannelArn, account: str | None = None) -> Channel:
        """The living channel of this ARN. Raises: ResourceNotFoundException."""


class Admission(Protocol):
    """Who knows whether a connect would be let in: the hub."""

    async def check_admission(self, channel: Channel, role: Role, client_id: str) -> None:
        """Do nothing when it would. Raises: ClientLimitExceededException naming the limit."""


class TicketsApi:
    """The one operation on tickets."""

    def __init__(self, control: Resolver, hub: Admission, tickets: TicketBook) -> None:
        self._control = control
        self._hub = hub
        self._tickets = tickets

    @property
    def operations(self) -> tuple[Operation, ...]:
        """CreateConnectTicket."""
        request = CreateConnectTicketInput
        return (Operation("CreateConnectTicket", "/v1/connect-ticket", request, self._create, "heliograph"),)

    async def _create(self, caller: Caller, body: CreateConnectTicketInput) -> CreateConnectTicketOutput:
        arn = ChannelArn.parse(body.channel_arn)
        client_id = _client_id(body, caller.grant)
        authorise_connect(caller.grant, None, arn, body.role, client_id, caller.event)
        channel = await self._control.resolve(arn, caller.grant.account)
        await self._hub.check_admission(channel, body.role, client_id)
        text = await self._tickets.issue(Ticket(caller.grant, channel.arn, body.role, client_id))
        return CreateConnectTicketOutput(text, int(self._tickets.lifetime_s))


def _client_id(body: CreateConnectTicketInput, grant: Grant) -> str:
    """A master has none: what it sends is ignored, as the socket does."""
    if body.role is Role.MASTER:
        return ""
    client_id = body.client_id or grant.client_id
    if client_id is None:
        raise InvalidArgumentException("clientId is missing: a viewer connects under a client id")
    return parse_client_id(client_id)
