"""Settings that are wrong or contradict each other, told by name."""

import ipaddress
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from app import turn_places
from app.setting import SettingsError

if TYPE_CHECKING:
    from app.settings import Settings

_NETWORKS = ("allow_peer_cidrs", "trusted_proxies")
_ADDRESSES = ("host", "ops_host", "turn_host", "turn_advertised_address")
_NOT_OF_COTURN = ("turn_alternate_server", "turn_drain_s", "turn_mobility", "turn_tcp_relays")
_DNS_NAME = re.compile(
    r"(\*\.)?([A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.)*[A-Za-z]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\Z"
)
_SLOTS = 10_000
_REGION = re.compile(r"\*|[a-z0-9-]+", re.ASCII)
_ORIGIN = re.compile(r"\*|null|[A-Za-z][A-Za-z0-9+.-]*://[^/?#@\s]+/?")


def check(settings: "Settings", source: Callable[[str], str]) -> None:
    """Find the first setting that cannot be; `source` tells where the value of a setting came from.

    Raises: SettingsError, which names it.
    """
    _check_addresses(settings, source)
    _check_ports(settings)
    _check_tls(settings)
    _check_turn(settings)
    _check_credentials(settings)
    _check_origins(settings)
    _check_regions(settings)
    _check_redis(settings)
    _check_slots(settings)


def _check_addresses(settings: "Settings", source: Callable[[str], str]) -> None:
    for name in (*_NETWORKS, *_ADDRESSES):
        value = getattr(settings, name)
        for text in value if isinstance(value, tuple) else (value,):
            try:
                if name in _NETWORKS:
                    ipaddress.ip_network(text)
                elif text not in ("", "localhost"):
                    ipaddress.ip_address(text)
            except ValueError as error:
                reason = _no_network(text, error) if name in _NETWORKS else f"{text} is not an IP address"
                raise SettingsError(f"{name.upper()}: {reason} (from {source(name)})") from None
    versions = [ipaddress.ip_address(text).version for text in settings.turn_advertised_address]
    if len(set(versions)) < len(versions):
        raise SettingsError("TURN_ADVERTISED_ADDRESS: give one IPv4 and one IPv6 address at most")


def _no_network(text: str, error: ValueError) -> str:
    try:
        return f"{text} is no network; the one around it is {ipaddress.ip_network(text, strict=False)}"
    except ValueError:
        return str(error)


def _check_ports(settings: "Settings") -> None:
    low, high = settings.turn_min_port, settings.turn_max_port
    if low > high:
        raise SettingsError(f"TURN_MIN_PORT: {low} is over TURN_MAX_PORT {high}")
    if settings.http_port and settings.http_port == settings.ops_port:
        raise SettingsError(f"OPS_PORT: {settings.ops_port} is HTTP_PORT too; choose another")
    for name in ("http_port", "ops_port"):
        if settings.tls and settings.https_port and settings.https_port == getattr(settings, name):
            raise SettingsError(f"HTTPS_PORT: {settings.https_port} is {name.upper()} too; choose another")
    ours = dict(_tcp_ports(settings))
    known: set[tuple[int, str]] = set()
    for name, port, transport in _turn_ports(settings):
        if low <= port <= high:
            raise SettingsError(f"{name}: {port} lies inside the relay ports {low}-{high}; choose another")
        if transport != "udp" and settings.turn_tcp and port in ours:
            remedy = "choose another, take UDP alone, or give TURN an address of its own with --turn-host"
            raise SettingsError(f"{name}: {port} is {ours[port]} too; {remedy}")
        for each in ("udp", "tcp") if transport == "both" else (transport,):
            if (port, each) in known:
                raise SettingsError(f"{name}: {port} over {each.upper()} is there twice; leave one out")
            known.add((port, each))


def _turn_ports(settings: "Settings") -> Iterator[tuple[str, int, str]]:
    if settings.turn_port:
        yield "TURN_PORT", settings.turn_port, "both" if settings.turn_tcp else "udp"
    for port, transport in turn_places.more_ports(settings.turn_more_ports):
        yield "TURN_MORE_PORTS", port, transport


def _tcp_ports(settings: "Settings") -> Iterator[tuple[int, str]]:
    """TCP ports of the service, of each of its processes, on the address of TURN; and by which setting."""
    places = [(settings.host, "http_port"), (settings.ops_host, "ops_port")]
    if settings.tls:
        places.append((settings.host, "https_port"))
    count = turn_places.workers(settings.workers)
    for host, name in places:
        first = getattr(settings, name)
        if host == settings.turn_place and first:
            of_which = f" ({first}-{first + count - 1} for {count} processes)" if count > 1 else ""
            yield from ((port, name.upper() + of_which) for port in range(first, first + count))


def _check_tls(settings: "Settings") -> None:
    for prefix in ("TLS", "TURN_TLS"):
        names = [f"{prefix}_CERTIFICATE", f"{prefix}_KEY"]
        given = [name for name in names if getattr(settings, name.lower())]
        if len(given) == 1:
            raise SettingsError(f"{given[0]}: give {' and '.join(names)}, or neither")
    if settings.tls_certificate and not settings.tls:
        raise SettingsError("TLS_CERTIFICATE: without TLS it has no use; add --tls or HELIOGRAPH_TLS=true")
    for name in settings.tls_names:
        if not _DNS_NAME.match(name) and not _is_address(name):
            raise SettingsError(f"TLS_NAMES: {name} is neither a host name nor an IP address")


def _check_one_worker(settings: "Settings") -> None:
    if turn_places.workers(settings.turn_workers) == 1:
        return
    if settings.turn_mobility:
        raise SettingsError(
            "TURN_MOBILITY: it needs TURN_WORKERS 1, as a client that moves may come to another process"
        )
    if settings.turn_tcp_relays:
        raise SettingsError(
            "TURN_TCP_RELAYS: they need TURN_WORKERS 1, as a client's second connection may come to another process"
        )


def _check_coturn(settings: "Settings") -> None:
    """What only our own server does would be left out without a word."""
    if settings.turn_engine != "coturn":
        return
    for name in _NOT_OF_COTURN:
        if getattr(settings, name):
            raise SettingsError(f"{name.upper()}: TURN_ENGINE coturn does not have it; leave it out, or take builtin")


def _check_turn(settings: "Settings") -> None:
    turn_places.alternate_server(settings.turn_alternate_server)
    if settings.turn_alternate_server and not settings.turn_drain_s:
        raise SettingsError("TURN_ALTERNATE_SERVER: without TURN_DRAIN_S a stop sends nobody there")
    if settings.turn_host_name and not (settings.tls or settings.turn_tls_certificate):
        raise SettingsError(
            "TURN_HOST_NAME: without TLS it has no use; add --tls, or --turn-tls-certificate and --turn-tls-key"
        )
    _check_one_worker(settings)
    _check_coturn(settings)
    workers, ports = turn_places.workers(settings.turn_workers), settings.turn_max_port - settings.turn_min_port + 1
    if workers > 1 and ports < 2 * workers:
        raise SettingsError(f"TURN_WORKERS: {workers} cannot share {ports} relay ports; widen TURN_MAX_PORT")


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _check_credentials(settings: "Settings") -> None:
    if bool(settings.access_key_id) != bool(settings.secret_access_key):
        raise SettingsError("ACCESS_KEY_ID: give ACCESS_KEY_ID and SECRET_ACCESS_KEY, or neither")
    if settings.session_token and not settings.access_key_id:
        raise SettingsError("SESSION_TOKEN: it goes with the ACCESS_KEY_ID and SECRET_ACCESS_KEY of its session")
    if settings.token and settings.access_key_id:
        raise SettingsError("TOKEN: give a token or an ACCESS_KEY_ID, not both")


def _check_origins(settings: "Settings") -> None:
    for text in settings.allowed_origins:
        if not _ORIGIN.fullmatch(text):
            raise SettingsError(f"ALLOWED_ORIGINS: {text} is no origin; one looks like https://app.example.org")


def _check_regions(settings: "Settings") -> None:
    for text in settings.signing_regions:
        if not _REGION.fullmatch(text):
            raise SettingsError(f"SIGNING_REGIONS: {text} is no region; one looks like eu-west-1")


def _check_redis(settings: "Settings") -> None:
    if settings.presence_url and not (settings.redis_url or settings.catalog_url):
        raise SettingsError(
            "PRESENCE_URL: nodes that meet there need the same channels; give REDIS_URL or CATALOG_URL too"
        )
    if settings.connection_lease_s < settings.node_lease_s:
        least = f"{settings.node_lease_s:g}"
        raise SettingsError(
            f"CONNECTION_LEASE_S: {settings.connection_lease_s:g} is under NODE_LEASE_S ({least}) and would end first; "
            f"give --connection-lease-s {least} or more"
        )
    if settings.degraded_local and not (settings.redis_url or settings.presence_url):
        raise SettingsError("DEGRADED_LOCAL: without REDIS_URL it has no use; give --redis, or leave it out")


def _check_slots(settings: "Settings") -> None:
    has_others, count = bool(settings.redis_url or settings.presence_url), turn_places.workers(settings.workers)
    if count > 1 and not has_others:
        raise SettingsError(
            f"WORKERS: {count} processes meet in Redis; give --redis or HELIOGRAPH_REDIS_URL, or take one"
        )
    for name in ("slot", "slot_host"):
        if getattr(settings, name) and not has_others:
            raise SettingsError(f"{name.upper()}: without REDIS_URL it has no use; give --redis, or leave it out")
    if settings.slot_host and settings.endpoint_wildcard:
        raise SettingsError("SLOT_HOST: ENDPOINT_WILDCARD has a name for each process already; leave one out")
    if settings.slot and int(settings.slot) + count > _SLOTS:
        raise SettingsError(
            f"SLOT: {count} processes from {settings.slot} on, but the last number is {_SLOTS - 1}; "
            f"choose {_SLOTS - count} or less"
        )
    taken: dict[int, str] = {}
    for name in ("http_port", "https_port", "ops_port") if settings.tls else ("http_port", "ops_port"):
        first = getattr(settings, name)
        for port in range(first, first + count) if first and count > 1 else ():
            if port > 65535 or port in taken:
                reason = "there is none over 65535" if port > 65535 else f"{taken[port]} takes {port}"
                raise SettingsError(
                    f"{name.upper()}: {count} processes need {first}-{first + count - 1}, but {reason}; choose others"
                )
            taken[port] = name.upper()
