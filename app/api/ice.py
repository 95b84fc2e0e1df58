"""GetIceServerConfig: the relays of this service with a credential of the channel (KVS API, service signaling)."""

from collections.abc import Callable

import msgspec

from app.api import shapes
from app.authenticate import authorise
from app.wire import Caller, Operation
from channels import ice
from channels.control import ControlPlane
from channels.errors import NotAuthorizedException, ServiceUnavailableException
from channels.names import ChannelArn, parse_client_id


class IceSettings(msgspec.Struct, frozen=True):
    """What the answer holds: `uris` (1 to 4, or a function that gives them once the relay runs), and the secret.

    `ttl_s` must be over 30: a common device SDK refuses less. `is_for_coturn`: passwords are those that coturn takes.
    """

    uris: tuple[str, ...] | Callable[[], tuple[str, ...]]
    secret: bytes
    ttl_s: int = ice.DEFAULT_TTL_S
    is_for_coturn: bool = False

    def __repr__(self) -> str:
        return f"IceSettings(ttl_s={self.ttl_s})"


OnMinted = Callable[[str, float], None]
"""Takes a user name that is about to be answered, and its expiry (epoch s)."""


class IceApi:
    """The one operation on ICE servers; `wall` gives epoch seconds."""

    def __init__(
        self,
        control: ControlPlane,
        settings: IceSettings,
        wall: Callable[[], float],
        on_minted: OnMinted = lambda _, __: None,
    ) -> None:
        self._control = control
        self._settings = settings
        self._wall = wall
        self._on_minted = on_minted

    @property
    def operations(self) -> tuple[Operation, ...]:
        """GetIceServerConfig."""
        request = shapes.GetIceServerConfigInput
        return (Operation("GetIceServerConfig", "/v1/get-ice-server-config", request, self._get, "signaling"),)

    async def _get(self, caller: Caller, body: shapes.GetIceServerConfigInput) -> shapes.GetIceServerConfigOutput:
        arn = ChannelArn.parse(body.channel_arn)
        client_id = None if body.client_id is None else parse_client_id(body.client_id)
        authorise(caller.grant, "GetIceServerConfig", str(arn), NotAuthorizedException, caller.event)
        if client_id is None:
            client_id = caller.grant.client_id
        elif caller.grant.client_id not in (None, client_id):
            raise NotAuthorizedException(f"ClientId must be {caller.grant.client_id}: the token is bound to it")
        self._control.meter("GetIceServerConfig", caller.grant.account, arn)
        channel = await self._control.resolve(arn, caller.grant.account)
        uris = self._settings.uris if isinstance(self._settings.uris, tuple) else self._settings.uris()
        if not uris:
            raise ServiceUnavailableException("the relay is not ready: try again")
        ttl_s, ids = self._settings.ttl_s, caller.grant.credential_ids
        now = self._wall()
        username, password = ice.mint(self._settings.secret, channel.arn, client_id, now, ttl_s, ids)
        self._on_minted(username, now + ttl_s)
        if self._settings.is_for_coturn:
            password = ice.coturn_password(self._settings.secret, username)
        return shapes.GetIceServerConfigOutput((shapes.IceServerEntry(uris, username, password, ttl_s),))
