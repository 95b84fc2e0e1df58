"""Settings -> the TURN server of one process."""

import asyncio
import errno
import logging
import ssl
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from app import turn_places
from app.listen import BIND_ERRORS, refuse_port
from app.loopback import is_loopback
from app.processes import flatten
from app.settings import Settings, SettingsError
from app.wiring.orders import Minted, News, Revoked, TurnOrder
from app.wiring.turn_self_check import credential, find_out
from app.wiring.turn_uris import Served, shown_host, turn_uris
from app.wiring.turn_usage import Totals
from channels import ice
from media.relay.board import Board
from media.relay.interfaces import read_interfaces
from media.relay.listeners import ListenError, Ports, probe
from media.relay.placement import PlacementError
from media.relay.relay import Relay, RelayAddress
from media.relay.relay_settings import RelaySettings
from media.turn.credential import Keys
from media.turn.user_names import UserNames
from media.turn_check.self_check import Finding

if TYPE_CHECKING:
    from app.wiring.turn_tls import TurnTls

log = logging.getLogger(__name__)
_NEWS = msgspec.json.Decoder[News](News)
_HTTPS = 443
CERTIFICATE_S = 1.0
OnReady = Callable[[tuple[str, ...]], None]
"""Takes the URIs of what is served."""


def relay_settings(settings: Settings, worker: int = 0, workers: int = 1) -> RelaySettings:
    """Return what the relay takes of the settings; relaxed, its bounds are lifted unless they were changed.

    A worker of several has an even share of what is bounded for all: they don't know of each other's.
    """
    own = settings
    ports = own.turn_max_port - own.turn_min_port + 1
    if own.limits_profile == "relaxed":
        own = _lifted(own)
    return RelaySettings(
        host=own.turn_place,
        port=own.turn_port,
        realm=own.turn_realm,
        min_port=own.turn_min_port,
        max_port=own.turn_max_port,
        advertised_address=next(iter(own.turn_advertised_address), None),
        advertised_address_v6=next(iter(own.turn_advertised_address[1:]), None),
        allow_peer_cidrs=own.allow_peer_cidrs,
        allocations_per_channel=_share(own.turn_allocations_per_channel or ports, workers),
        allocations_per_source=_share(own.turn_allocations_per_source, workers),
        bitrate_bps=own.turn_bitrate_bps,
        total_bitrate_bps=_share(own.turn_total_bitrate_bps, workers),
        has_legacy_channel_numbers=own.turn_legacy_channel_numbers,
        has_mobility=own.turn_mobility,
        has_tcp_relays=own.turn_tcp_relays,
        drain_s=own.turn_drain_s,
        alternate_server=turn_places.alternate_server(own.turn_alternate_server),
        more_ports=turn_places.more_ports(own.turn_more_ports),
        has_tcp=own.turn_tcp,
        worker=worker,
        workers=workers,
    )


def _share(bound: int, workers: int) -> int:
    return -(-bound // workers)  # rounded up: what is bounded never becomes what has no bound


def _lifted(settings: Settings) -> Settings:
    bounds = ("turn_allocations_per_channel", "turn_allocations_per_source", "turn_bitrate_bps")
    plain = Settings()
    lifted = {name: 0 for name in bounds if getattr(settings, name) == getattr(plain, name)}
    return msgspec.structs.replace(settings, **lifted)


def with_port_443(settings: Settings) -> Settings:
    """Return the settings with UDP 443 among the ports where it is wanted, can be bound, and others can reach it."""
    place = settings.turn_place
    taken = {settings.turn_port, *(port for port, _ in turn_places.more_ports(settings.turn_more_ports))}
    if not settings.turn_udp_443 or is_loopback(place) or _HTTPS in taken:
        return settings
    hosts = ("0.0.0.0", "::") if place == "::" else (place,)  # as the place says
    try:
        probe(Ports(hosts, _HTTPS, has_tcp=False), read_interfaces())
    except OSError:
        return settings
    return msgspec.structs.replace(settings, turn_more_ports=(*settings.turn_more_ports, f"{_HTTPS}/udp"))


def unfit(error: PlacementError) -> SettingsError:
    """Return what the relay says of its setting under the name that the setting has here."""
    name, _, reason = str(error).partition(": ")
    return SettingsError(f"TURN_{name.upper()}: {reason}")


def any_port(order: TurnOrder, settings: Settings, error: ListenError) -> Settings:
    """Return the settings with any free port in the place of the one that could not be bound.

    Raises: SettingsError where it may not move; `error` when that is of another kind.
    """
    is_first = error.port == settings.turn_port
    if error.errno not in BIND_ERRORS:
        raise error
    if not (order.may_move and is_first and error.errno == errno.EADDRINUSE):
        refuse_port(settings.turn_place, error.port, "turn_port" if is_first else "turn_more_ports", error)
    return msgspec.structs.replace(settings, turn_port=0)


class TurnServer:
    """The relay with the keys that GetIceServerConfig mints for. Raises: SettingsError for a certificate of no use."""

    def __init__(self, order: TurnOrder) -> None:
        self._order = order
        self._secrets = tuple(secret.encode() for secret in order.secrets)
        self._tls = _tls(order.certificate)
        self._settings = with_port_443(order.settings)
        self._names = UserNames(order.settings.turn_realm) if order.hears_names else None
        self._relay = self._make_relay(self._settings)
        self._revoked: list[Revoked] | None = []  # what came before the relay could take it
        self._running: asyncio.Task[None] | None = None
        self._looking: asyncio.TimerHandle | None = None
        self._port = order.settings.turn_port
        self.moved = ""  # a sentence, when the port was taken

    def _make_relay(self, settings: Settings) -> Relay:
        rules = relay_settings(settings, self._order.worker, self._order.workers)
        if self._tls is not None:
            rules = msgspec.structs.replace(rules, tls=self._tls.context, certificate=self._tls.pair)
        rules = msgspec.structs.replace(rules, board=_board(self._order.board))
        return Relay(rules, self._key_for, None if self._names is None else self._names.username_for)

    def _key_for(self, username: str) -> Keys | None:
        keys = ice.turn_keys(username, self._secrets)
        if keys is None:
            return None
        expires_at = _monotonic(keys.expires_at)
        return Keys(passwords=keys.passwords, quota_key=keys.channel, expires_at=expires_at, holders=keys.holders)

    async def check_self(self) -> Finding | None:
        """Try the advertised address, once the relay is ready; of several workers the first does."""
        if self._order.worker > 0:
            return None
        settings = self._order.settings
        return await find_out(settings, self._port, credential(settings, self._secrets[0]))

    def counters(self) -> dict[str, float]:
        """Return the plain counters by name."""
        certificates = {} if self._tls is None else self._tls.counters()
        transports = {} if self._revoked is not None else self._relay.transports()
        now = {f"transports.{name}": float(count) for name, count in transports.items()}
        names = {} if self._names is None else {"names_forgotten": float(self._names.forgotten)}
        return flatten(self._relay.stats) | now | certificates | names

    def usage(self) -> dict[str, Totals]:
        """Return what each channel used, by its digest in hexadecimal."""
        used = {} if self._revoked is not None else self._relay.usage()
        return {key.hex(): (one.allocations, one.bytes_to_peers, one.bytes_to_clients) for key, one in used.items()}

    def take(self, line: bytes) -> None:
        """Take a line of the parent: know a name, or end what was revoked, at once or as soon as there is a relay."""
        news = _NEWS.decode(line)
        if isinstance(news, Minted):
            if self._names is not None:
                self._names.learn(news.username, _monotonic(news.expires_at), time.monotonic())
        elif self._revoked is None:
            self._revoke(news)
        else:
            self._revoked.append(news)

    def _revoke(self, revoked: Revoked) -> None:
        for channel in revoked.channels:
            self._relay.revoke(bytes.fromhex(channel))
        for holder in revoked.holders:
            self._relay.revoke_holder(bytes.fromhex(holder))

    async def run(self, on_ready: OnReady, stopping: asyncio.Event) -> None:
        """Relay until `stopping`; `on_ready` gets the URIs.

        Raises: SettingsError when a port is taken and may not move, or the certificate is of no use.
        """
        settings, self._running = self._settings, asyncio.current_task()
        try:
            await self._relay_on(settings, on_ready, stopping)
        except PlacementError as error:
            raise unfit(error) from None
        except ssl.SSLError as error:
            raise SettingsError(f"TURN_TLS_CERTIFICATE: it is refused by OpenSSL: {error}") from None
        except ListenError as error:
            free = any_port(self._order, settings, error)
            self._relay = self._make_relay(free)
            await self._relay_on(free, on_ready, stopping)

    def hurry(self) -> None:
        """End the task of `run` at once, whatever is still relayed."""
        if self._running is not None:
            self._running.cancel()

    async def _relay_on(self, settings: Settings, on_ready: OnReady, stopping: asyncio.Event) -> None:
        def ready(address: RelayAddress) -> None:
            if settings.turn_port != self._order.settings.turn_port:
                self.moved = f"TURN_PORT: {self._order.settings.turn_port} is taken, using {address.port}"
            self._port = address.port
            waiting, self._revoked = self._revoked or [], None
            for revoked in waiting:
                self._revoke(revoked)
            on_ready(turn_uris(settings, Served(address, self._has_tls(settings, address.host))))

        self._look_at_certificate()
        try:
            await self._relay.run(ready, stopping)
        finally:
            if self._looking is not None:
                self._looking.cancel()

    def _look_at_certificate(self) -> None:
        """Take up another certificate within two seconds; connections that are open go on with theirs."""
        if self._tls is None:
            return
        self._looking = asyncio.get_running_loop().call_later(CERTIFICATE_S, self._look_at_certificate)
        if self._tls.refresh():
            try:
                self._relay.reload_certificate()
            except ssl.SSLError as error:
                log.warning("the new certificate is not used for DTLS", extra={"reason": str(error)})

    def _has_tls(self, settings: Settings, host: str) -> bool:
        """Whether clients are told of TLS: only where they can take the certificate."""
        return self._tls is not None and self._tls.is_for(shown_host(settings, host), settings.turn_host_name)


def _monotonic(epoch_s: float) -> float:
    """Credentials carry wall time, the relay's core lives in monotonic time."""
    return epoch_s - time.time() + time.monotonic()


def _board(path: str) -> Board:
    try:
        return Board(path)
    except OSError as error:
        log.warning("relays of other workers are not reached", extra={"reason": str(error)})
        return Board()


def _tls(files: tuple[str, str] | None) -> "TurnTls | None":
    if files is None:
        return None
    from app.wiring.turn_tls import TurnTls  # what only TLS needs: without, it starts sooner

    return TurnTls(*files)
