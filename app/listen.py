"""Listening TCP sockets, made before anything else starts, so that a taken port is told by its setting's name."""

import errno
import socket
from typing import NoReturn

from app.settings import BY_NAME, SettingsError

_BACKLOG = 2048
_DEAD_MS = 20_000  # what a peer leaves unacknowledged this long ends its connection, closed or not
BIND_ERRORS = (errno.EADDRINUSE, errno.EACCES, errno.EADDRNOTAVAIL)
_HOSTS = {"ops_port": "ops_host", "turn_port": "turn_host", "turn_more_ports": "turn_host"}
_NEVER_ANY = ("turn_more_ports",)
_REASONS = {
    errno.EADDRINUSE: "is taken",
    errno.EACCES: "needs the right to bind ports under 1024",
}


def listen(host: str, port: int, name: str, *, may_move: bool = False) -> socket.socket:
    """Return a TCP socket bound to `host`:`port`; `name` is the setting the port came from.

    With `may_move` a taken port gives way to any free one. The socket listens once a server takes it.

    Raises: SettingsError with the setting's name.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; accepted sockets inherit it
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _DEAD_MS)
    try:
        listener.bind((host, port))
        listener.listen(_BACKLOG)  # a bound socket that does not listen yet could still be taken by another
    except OSError as error:
        listener.close()
        if may_move and error.errno == errno.EADDRINUSE:
            return listen(host, 0, name)
        refuse_port(host, port, name, error)
    return listener


def refuse_port(host: str, port: int, name: str, error: OSError) -> NoReturn:
    """Raise SettingsError: which setting holds the port that could not be bound, and how to choose another."""
    field = BY_NAME[name]
    if error.errno == errno.EADDRNOTAVAIL:
        own = BY_NAME[_HOSTS.get(name, "host")]
        raise SettingsError(
            f"{own.key}: {host} is no address of this machine; choose another with {own.flag} or {own.variable}"
        ) from None
    reason = _REASONS.get(error.errno or 0, f"cannot be bound: {error.strerror}")
    remedy = f"choose another with {field.flag} or {field.variable}"
    if name not in _NEVER_ANY:
        remedy += " (0 takes any free one)"
    raise SettingsError(f"{field.key}: {port} on {host} {reason}; {remedy}") from None
