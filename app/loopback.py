"""Which names and addresses mean this machine and no other, whatever a name server says."""

import ipaddress
import re

_PLACE = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[^:\[\]]+))(?::[0-9]{1,5})?", re.ASCII)


def is_loopback(place: str) -> bool:
    """Whether `host`, `host:port` or a bare IPv6 address means this machine (RFC 6761, 6.3)."""
    match = _PLACE.fullmatch(place)
    host = (match["six"] or match["host"]).lower() if match else place
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
