"""Ports and places of TURN as settings write them, and their values."""

import ipaddress
import os
import re

from app.setting import SettingsError

_PORT = re.compile(r"([0-9]{1,5})(?:/(udp|tcp))?", re.ASCII)
_PLACE = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+)):([0-9]{1,5})", re.ASCII)
_PORTS = range(1, 65536)
AUTO = "auto"


def more_ports(texts: tuple[str, ...]) -> tuple[tuple[int, str], ...]:
    """Return each port with `udp`, `tcp` or `both`. Raises: SettingsError."""
    found = []
    for text in texts:
        match = _PORT.fullmatch(text)
        if match is None or int(match[1]) not in _PORTS:
            raise SettingsError(f"TURN_MORE_PORTS: {text} is no port; one looks like 443/udp, 5349/tcp or 5349")
        found.append((int(match[1]), match[2] or "both"))
    return tuple(found)


def alternate_server(text: str) -> tuple[str, int] | None:
    """Return address and port, None for an empty text. Raises: SettingsError."""
    if not text:
        return None
    match = _PLACE.fullmatch(text)
    try:
        address = ipaddress.ip_address(match[1] or match[2]) if match else None
    except ValueError:
        address = None
    if match is None or address is None or int(match[3]) not in _PORTS:
        raise SettingsError(
            f"TURN_ALTERNATE_SERVER: {text} is no address with a port; one looks like 203.0.113.8:3478 or "
            "[2001:db8::8]:3478"
        )
    return str(address), int(match[3])


def workers(text: str) -> int:
    """Return how many processes; `auto` is one for each core that this one may use."""
    return len(os.sched_getaffinity(0)) if text == AUTO else int(text)
