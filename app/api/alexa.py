"""SendAlexaOfferToMaster: one call that brings an offer to the master and waits for its answer (service signaling)."""

from starlette.requests import ClientDisconnect

from app.api import shapes
from app.api.reference import permitted
from app.wire import Caller, Operation
from channels.control import ControlPlane
from channels.errors import NotAuthorizedException
from channels.names import Role, parse_client_id
from channels.signaling.ask import AskerLeftError, Asks
from channels.signaling.members import Connect

_NAME = "SendAlexaOfferToMaster"


class AlexaApi:
    """The one operation that asks a master."""

    def __init__(self, control: ControlPlane, asks: Asks) -> None:
        self._control = control
        self._asks = asks

    @property
    def operations(self) -> tuple[Operation, ...]:
        """SendAlexaOfferToMaster."""
        request = shapes.SendAlexaOfferToMasterInput
        return (Operation(_NAME, "/v1/send-alexa-offer-to-master", request, self._send, "signaling"),)

    async def _send(
        self, caller: Caller, body: shapes.SendAlexaOfferToMasterInput
    ) -> shapes.SendAlexaOfferToMasterOutput:
        client_id = parse_client_id(body.sender_client_id)
        arn = permitted(self._control, caller, _NAME, body.channel_arn, NotAuthorizedException)
        if caller.grant.client_id not in (None, client_id):
            raise NotAuthorizedException(f"SenderClientId must be {caller.grant.client_id}: the token is bound to it")
        channel = await self._control.resolve(arn, caller.grant.account)
        source, ids = caller.event["source"], caller.grant.credential_ids
        connect = Connect(channel, Role.VIEWER, client_id, source=source, credential_ids=ids)
        try:
            answer = await self._asks.ask(connect, body.message_payload, caller.gone)
        except AskerLeftError:
            raise ClientDisconnect from None
        return shapes.SendAlexaOfferToMasterOutput(answer)
