"""Where listeners and relay sockets are bound and what address clients are told. No sockets are opened here."""

from collections.abc import Callable

import msgspec

from media.relay.interfaces import Interfaces
from media.turn import address
from media.turn.address import IPV4, IPV6

WILDCARDS = {"0.0.0.0": IPV4, "::": IPV6}


class PlacementError(Exception):
    """The settings do not fit this machine; the message names the setting."""


class Placement(msgspec.Struct, frozen=True):
    """Hosts of the listeners, the first one first; per family the host of relay sockets and the advertised address."""

    listener_hosts: tuple[str, ...]
    relay_hosts: dict[int, str]
    advertised: dict[int, bytes]
    is_loopback_only: bool


def place(
    hosts: tuple[str, ...],
    advertised_addresses: tuple[str, ...],
    interfaces: Interfaces,
    detect: Callable[[int], str | None],
) -> Placement:
    """Choose the addresses. `detect(family)` tells from which address this machine talks to the world.

    A relay socket sits on the address that it is told as, or behind a NAT on the one that the world is reached from.
    With every listener on loopback it sits on an interface address all the same, and on loopback only without one:
    browsers gather interface addresses, never loopback, and answer from the address they were sent to, so a relay on
    127.0.0.1 would hear from 127.0.0.1 what it permitted for another address. Permissions for own addresses alone
    keep the network out.
    Raises: PlacementError when nothing can be advertised or a setting contradicts another.
    """
    hosts = every_host(hosts)
    is_loopback_only = all(address.is_loopback(_pack(host)) for host in hosts)
    relay_hosts = _hosts(tuple(WILDCARDS) if is_loopback_only else hosts, interfaces, detect)
    if is_loopback_only:
        relay_hosts = {**_loopback_hosts(interfaces), **relay_hosts}
    advertised = {family: address.pack(host) for family, host in relay_hosts.items()}
    for text in advertised_addresses:
        ip = _pack(text)
        family = address.family(ip)
        if is_loopback_only and ip not in interfaces.addresses and not address.is_loopback(ip):
            raise PlacementError(
                f"advertised_address: {text} is not of this machine, but TURN listens on loopback only; give it a host "
                "that others can reach"
            )
        if family not in relay_hosts:
            raise PlacementError(
                f"advertised_address: {text} is of a family that TURN does not listen on; the host `::` is for both"
            )
        advertised[family] = ip
        if ip in interfaces.addresses:
            relay_hosts[family] = text
    if not advertised:
        raise PlacementError("advertised_address: no address of this machine is found, please set it")
    return Placement(hosts, relay_hosts, advertised, is_loopback_only)


def every_host(hosts: tuple[str, ...]) -> tuple[str, ...]:
    """Return the hosts to listen on: `::` means both families, a name of loopback its address."""
    found: list[str] = []
    for host in hosts:
        if host == "localhost":
            found.append("127.0.0.1")
        elif host == "::":
            found += ["0.0.0.0", "::"]
        else:
            found.append(host)
    return tuple(dict.fromkeys(found))


def _loopback_hosts(interfaces: Interfaces) -> dict[int, str]:
    found = {IPV4: "127.0.0.1"}
    if address.pack("::1") in interfaces.addresses:
        found[IPV6] = "::1"
    return found


def _hosts(hosts: tuple[str, ...], interfaces: Interfaces, detect: Callable[[int], str | None]) -> dict[int, str]:
    found: dict[int, str] = {}
    for host in hosts:
        ip = _pack(host)
        family = address.family(ip)
        chosen: str | None = host
        if host in WILDCARDS:
            chosen = detect(family) or _first_of(interfaces, family)
        if chosen is not None and not address.is_loopback(address.pack(chosen)):
            found.setdefault(family, chosen)
    return found


def _first_of(interfaces: Interfaces, family: int) -> str | None:
    usable = sorted(ip for ip in interfaces.addresses if address.family(ip) == family and is_for_listening(ip))
    usable = [ip for ip in usable if not address.is_loopback(ip)]
    return address.host_text(usable[0]) if usable else None


def is_for_listening(ip: bytes) -> bool:
    """Tell whether a socket can be bound to the address without naming an interface."""
    special = address.special_range(ip)
    return special is None or special.name != "link-local"


def _pack(host: str) -> bytes:
    try:
        return address.pack(host)
    except ValueError as error:
        raise PlacementError(f"host: {host} is no IP address") from error
