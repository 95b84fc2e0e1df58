"""Settings -> coturn in the place of our own relay, in the TURN process."""

import asyncio
import logging
import socket
import tempfile
import time
from collections.abc import Callable, Iterator

import msgspec

from app import turn_places
from app.exits import CommandError, Exit
from app.listen import BIND_ERRORS, refuse_port
from app.settings import Settings, SettingsError
from app.wiring.orders import News, Revoked, TurnOrder
from app.wiring.turn import OnReady, relay_settings, unfit
from app.wiring.turn_self_check import credential, find_out
from app.wiring.turn_uris import Served, turn_uris
from app.wiring.turn_usage import Totals
from channels import ice
from channels.redis.settings import RedisSettings, RedisUrlError
from media.coturn.coturn import Coturn, CoturnError, CoturnSettings
from media.coturn.coturn_config import CoturnRedisPlace, CoturnRules
from media.coturn.coturn_statistics import CoturnStatistics
from media.relay.interfaces import Interfaces, detect, read_interfaces
from media.relay.listeners import ListenError, Ports, probe
from media.relay.placement import WILDCARDS, Placement, PlacementError, is_for_listening, place
from media.relay.relay import RelayAddress
from media.turn import address
from media.turn.address import IPV4
from media.turn.policy import PeerRules
from media.turn_check.self_check import Finding

log = logging.getLogger(__name__)
_NEWS = msgspec.json.Decoder[News](News)


def coturn_rules(order: TurnOrder, interfaces: Interfaces, folder: str) -> CoturnRules:
    """Return what coturn must know of the settings and this machine. Raises: SettingsError."""
    settings = order.settings
    _check(settings)
    bounds = relay_settings(settings)
    placement = _placement(settings, interfaces)
    listeners = tuple(_listeners(placement, interfaces))
    return CoturnRules(
        listener_hosts=listeners,
        port=settings.turn_port,
        relay_hosts=placement.relay_hosts,
        advertised=placement.advertised,
        min_port=bounds.min_port,
        max_port=bounds.max_port,
        realm=settings.turn_realm,
        secrets=order.secrets,
        peers=_peers(settings, placement, interfaces),
        folder=folder,
        more_ports=tuple(port for port, _ in bounds.more_ports),
        has_tcp=settings.turn_tcp,
        certificate=order.certificate,
        allocations_per_user=settings.turn_allocations_per_channel,
        bitrate_bps=bounds.bitrate_bps,
        total_bitrate_bps=bounds.total_bitrate_bps,
        threads=turn_places.workers(settings.turn_workers),
        redis=_redis(settings),
    )


def _redis(settings: Settings) -> CoturnRedisPlace | None:
    if not settings.turn_coturn_redis:
        return None
    place = redis_of(settings)
    (host, port), *_ = place.addresses
    return CoturnRedisPlace(host, port, place.db, place.password)


def redis_of(settings: Settings) -> RedisSettings:
    """Return the Redis of coturn. Raises: SettingsError."""
    try:
        return RedisSettings.parse(settings.turn_coturn_redis)
    except RedisUrlError as error:
        raise SettingsError(f"TURN_COTURN_REDIS: {error}") from None


def _check(settings: Settings) -> None:
    if settings.turn_port == 0:
        raise SettingsError("TURN_PORT: coturn takes no free port of its own choice: give one")
    for port, transport in turn_places.more_ports(settings.turn_more_ports):
        if transport == "tcp" or (transport == "udp" and settings.turn_tcp):
            raise SettingsError(f"TURN_MORE_PORTS: coturn serves {port} over UDP and TCP alike: write {port} alone")


def _placement(settings: Settings, interfaces: Interfaces) -> Placement:
    families = {IPV4: socket.AF_INET}
    try:
        return place(
            (settings.turn_place,),
            settings.turn_advertised_address,
            interfaces,
            lambda family: detect(families.get(family, socket.AF_INET6)),
        )
    except PlacementError as error:
        raise unfit(error) from None


def _listeners(placement: Placement, interfaces: Interfaces) -> Iterator[str]:
    """Addresses one by one: on a wildcard coturn would answer from another one than was asked."""
    for host in placement.listener_hosts:
        if host not in WILDCARDS:
            yield host
            continue
        for ip in sorted(interfaces.addresses):
            if address.family(ip) == WILDCARDS[host] and is_for_listening(ip):
                yield address.host_text(ip)


def _peers(settings: Settings, placement: Placement, interfaces: Interfaces) -> PeerRules:
    return PeerRules(
        own=interfaces.own,
        own_ranges=interfaces.ranges,
        broadcasts=interfaces.broadcasts,
        advertised=frozenset(placement.advertised.values()),
        allowed=tuple(address.parse_range(text, is_openable=True) for text in settings.allow_peer_cidrs),
        is_loopback_only=placement.is_loopback_only,
    )


class CoturnServer:
    """coturn with the credentials that GetIceServerConfig mints, in the place of `TurnServer`."""

    def __init__(self, order: TurnOrder) -> None:
        self._order = order
        self.moved = ""
        self._is_ready = False
        self._has_heard_revoked = False
        self._running: asyncio.Task[None] | None = None
        self._statistics = CoturnStatistics(_channel)

    def counters(self) -> dict[str, float]:
        """Return what coturn told by way of Redis; without one it tells its numbers in its log only."""
        return self._statistics.counters(time.monotonic())

    def usage(self) -> dict[str, Totals]:
        """Return what each channel used, by its digest in hexadecimal; from where `counters` are."""
        used = self._statistics.usage()
        return {key.hex(): (one.allocations, one.bytes_to_peers, one.bytes_to_clients) for key, one in used.items()}

    def take(self, line: bytes) -> None:
        """Take a line of the parent; of what was revoked coturn cannot be told, and it knows no names by their hash.

        What was revoked before it is ready had its allocations, if any, with another process.
        """
        if isinstance(_NEWS.decode(line), Revoked) and self._is_ready and not self._has_heard_revoked:
            self._has_heard_revoked = True
            log.warning("coturn ends no allocation of what was revoked", extra={"hint": "they go on while refreshed"})

    async def check_self(self) -> Finding | None:
        """Try the advertised address, once coturn is ready."""
        settings, secret = self._order.settings, self._order.secrets[0].encode()
        return await find_out(settings, settings.turn_port, credential(settings, secret))

    async def run(self, on_ready: OnReady, stopping: asyncio.Event) -> None:
        """Serve until `stopping`; `on_ready` gets the URIs.

        Raises: SettingsError, and CommandError when coturn cannot be used or ends by itself.
        """
        self._running = asyncio.current_task()
        settings, interfaces = self._order.settings, read_interfaces()
        with tempfile.TemporaryDirectory(prefix="heliograph-coturn-") as folder:  # mode 0700, gone at the end
            rules = coturn_rules(self._order, interfaces, folder)
            _probe(settings, rules, interfaces)
            wanted = CoturnSettings(settings.turn_coturn_program, accepts_old=settings.turn_coturn_accept_old)
            has_tls = rules.certificate is not None

            def ready() -> None:
                self._is_ready = True
                told = RelayAddress(_told(rules), rules.port, _served(rules))
                on_ready(turn_uris(settings, Served(told, has_tls)))

            trouble = await self._serve(Coturn(wanted, rules), ready, stopping)
        if trouble is not None:
            if trouble.has_worked:
                raise CommandError(f"TURN: {trouble}", Exit.PART_ENDED) from None
            raise SettingsError(f"TURN_ENGINE: {trouble}") from None

    async def _serve(self, coturn: Coturn, ready: Callable[[], None], stopping: asyncio.Event) -> CoturnError | None:
        """Serve until `stopping`, hearing what coturn tells; the answer is why it ended by itself."""
        async with asyncio.TaskGroup() as group:
            hearing = group.create_task(self._hear()) if self._order.settings.turn_coturn_redis else None
            try:
                await coturn.run(ready, stopping)
            except CoturnError as error:
                return error
            finally:
                if hearing is not None:
                    hearing.cancel()
        return None

    async def _hear(self) -> None:
        """Put our secrets where coturns elsewhere take them from, and count what this one tells."""
        from channels.redis.coturn import CoturnRedis  # what coturn alone needs, and then only with Redis

        settings = self._order.settings
        redis = CoturnRedis(redis_of(settings), settings.turn_realm)
        await redis.put_secrets(self._order.secrets)
        await redis.listen(lambda topic, text: self._statistics.take(topic, text, time.monotonic()))

    def hurry(self) -> None:
        """End the task of `run` at once."""
        if self._running is not None:
            self._running.cancel()


def _channel(username: str) -> bytes | None:
    keys = ice.turn_keys(username, ())
    return None if keys is None else keys.channel


def _told(rules: CoturnRules) -> str:
    """The address that clients are told: the one listener's, else the advertised one."""
    if len(rules.listener_hosts) == 1:
        return rules.listener_hosts[0]
    return address.host_text(rules.advertised.get(IPV4) or next(iter(rules.advertised.values())))


def _served(rules: CoturnRules) -> tuple[tuple[int, str], ...]:
    transports = ("udp", "tcp") if rules.has_tcp else ("udp",)
    return tuple((port, transport) for transport in transports for port in (rules.port, *rules.more_ports))


def _probe(settings: Settings, rules: CoturnRules, interfaces: Interfaces) -> None:
    """See that the ports are free: coturn itself only writes into its log that they are not."""
    more = tuple((port, "both" if rules.has_tcp else "udp") for port in rules.more_ports)
    try:
        probe(Ports(rules.listener_hosts, rules.port, more, rules.has_tcp), interfaces)
    except ListenError as error:
        if error.errno not in BIND_ERRORS:
            raise
        name = "turn_port" if error.port == settings.turn_port else "turn_more_ports"
        refuse_port(settings.turn_place, error.port, name, error)
