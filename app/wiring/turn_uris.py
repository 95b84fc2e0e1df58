"""URIs under which clients find the TURN server (RFC 7065): only what is served, in the order of AWS."""

import ipaddress
from collections.abc import Iterator

import msgspec

from app.settings import Settings
from media.relay.relay import RelayAddress

MOST = 4  # KVS API: IceServer, Uris
_HTTPS = 443  # the port that firewalls let through


class Served(msgspec.Struct, frozen=True):
    """What clients may use: the relay's address and ports, and whether it has a certificate for TLS and DTLS."""

    address: RelayAddress
    has_tls: bool = False


def turn_uris(settings: Settings, served: Served) -> tuple[str, ...]:
    """Return 1 to 4 URIs, plain UDP first: some clients take one server only, and that one all of them speak.

    TLS is told on port 443 where it is served there, else on the port of the others. Its clients compare the name with
    the certificate, so it may have a name of its own.
    """
    return tuple(_found(settings, served))[:MOST]


def _found(settings: Settings, served: Served) -> Iterator[str]:
    address = served.address
    host = shown_host(settings, address.host)
    host = f"[{host}]" if ":" in host else host
    name = settings.turn_host_name or host
    tcp = [port for port, transport in address.served if transport == "tcp"]
    yield f"turn:{host}:{address.port}?transport=udp"
    if served.has_tls:
        yield f"turns:{name}:{address.port}?transport=udp"
    if served.has_tls and tcp:
        yield f"turns:{name}:{_HTTPS if _HTTPS in tcp else tcp[0]}?transport=tcp"
    elif tcp:
        yield f"turn:{host}:{tcp[0]}?transport=tcp"
    if address.port != _HTTPS and (_HTTPS, "udp") in address.served:
        yield f"turn:{host}:{_HTTPS}?transport=udp"


def shown_host(settings: Settings, host: str) -> str:
    """The address that clients are told, of the listener's family where it has one."""
    given = settings.turn_advertised_address
    version = ipaddress.ip_address(host).version
    return next((text for text in given if ipaddress.ip_address(text).version == version), next(iter(given), host))
