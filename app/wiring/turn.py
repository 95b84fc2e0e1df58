"""Settings -> the TURN server of one process."""

import asyncio
import errno
import time
from collections.abc import Callable

import msgspec

from app.listen import BIND_ERRORS, refuse_port
from app.processes import flatten
from app.settings import Settings, SettingsError
from app.wiring.orders import Revoked, TurnOrder
from channels import ice
from media.turn.credential import Keys
from media.turn.placement import PlacementError
from media.turn.relay import Relay, RelayAddress, RelaySettings

_REVOKED = msgspec.json.Decoder(Revoked)


def relay_settings(settings: Settings) -> RelaySettings:
    """Return what the relay takes of the settings; relaxed, only the number of relay ports bounds a channel."""
    is_relaxed = settings.limits_profile == "relaxed"
    rules = RelaySettings()
    ports = settings.turn_max_port - settings.turn_min_port + 1
    return RelaySettings(
        host=settings.host,
        port=settings.turn_port,
        realm=settings.turn_realm,
        min_port=settings.turn_min_port,
        max_port=settings.turn_max_port,
        advertised_address=settings.turn_advertised_address or None,
        allow_peer_cidrs=settings.allow_peer_cidrs,
        allocations_per_channel=ports if is_relaxed else rules.allocations_per_channel,
        bitrate_bps=0 if is_relaxed else rules.bitrate_bps,
    )


class TurnServer:
    """The relay with the keys that GetIceServerConfig mints for."""

    def __init__(self, order: TurnOrder) -> None:
        self._order = order
        self._secrets = tuple(secret.encode() for secret in order.secrets)
        self._relay = Relay(relay_settings(order.settings), self._key_for)
        self._revoked: list[Revoked] | None = []  # what came before the relay could take it
        self.moved = ""  # a sentence, when the port was taken

    def _key_for(self, username: str) -> Keys | None:
        keys = ice.turn_keys(username, self._secrets)
        if keys is None:
            return None
        # credentials carry wall time, the relay's core lives in monotonic time
        expires_at = keys.expires_at - time.time() + time.monotonic()
        return Keys(passwords=keys.passwords, quota_key=keys.channel, expires_at=expires_at, holders=keys.holders)

    def counters(self) -> dict[str, float]:
        """Return the plain counters by name."""
        return flatten(self._relay.stats)

    def take(self, line: bytes) -> None:
        """Take a line of the parent: end what was revoked, at once or as soon as there is a relay."""
        revoked = _REVOKED.decode(line)
        if self._revoked is None:
            self._revoke(revoked)
        else:
            self._revoked.append(revoked)

    def _revoke(self, revoked: Revoked) -> None:
        for channel in revoked.channels:
            self._relay.revoke(bytes.fromhex(channel))
        for holder in revoked.holders:
            self._relay.revoke_holder(bytes.fromhex(holder))

    async def run(self, on_ready: Callable[[str], None], stopping: asyncio.Event) -> None:
        """Relay until `stopping`; `on_ready` gets the `turn:` URI.

        Raises: SettingsError when the port is taken and may not move.
        """

        settings = self._order.settings
        try:
            await self._relay_on(settings, on_ready, stopping)
        except PlacementError as error:
            raise SettingsError(f"TURN: {error}") from None
        except OSError as error:
            if error.errno not in BIND_ERRORS:
                raise
            if not (self._order.may_move and error.errno == errno.EADDRINUSE):
                refuse_port(settings.host, settings.turn_port, "turn_port", error)
            free = msgspec.structs.replace(settings, turn_port=0)
            self._relay = Relay(relay_settings(free), self._key_for)
            await self._relay_on(free, on_ready, stopping)

    async def _relay_on(self, settings: Settings, on_ready: Callable[[str], None], stopping: asyncio.Event) -> None:
        def ready(address: RelayAddress) -> None:
            if settings.turn_port != self._order.settings.turn_port:
                self.moved = f"TURN_PORT: {self._order.settings.turn_port} is taken, using {address.port}"
            waiting, self._revoked = self._revoked or [], None
            for revoked in waiting:
                self._revoke(revoked)
            on_ready(turn_uri(settings, address.host, address.port))

        await self._relay.run(ready, stopping)


def turn_uri(settings: Settings, host: str, port: int) -> str:
    """Return the URI under which clients reach the relay (RFC 7065)."""
    shown = settings.turn_advertised_address or host
    return f"turn:[{shown}]:{port}?transport=udp" if ":" in shown else f"turn:{shown}:{port}?transport=udp"
