"""Opens the UDP and TCP sockets that clients come to. What they say is not read here."""

import errno
import socket
from collections.abc import Iterator

import msgspec

from media.relay.interfaces import Interfaces
from media.relay.placement import WILDCARDS, is_for_listening
from media.relay.udp import UdpSocket, open_socket
from media.turn import address

BACKLOG = 1024
KEEPALIVE_S = 60
DEAD_AFTER_S = 120
"""How long a connection may go without an answer from the other end's kernel."""

MOST_TRIES = 32
"""How often any free port is asked for until one is free for both transports, and none that is kept for relays."""

TRANSPORTS = {"udp": (True, False), "tcp": (False, True), "both": (True, True)}


class Ports(msgspec.Struct, frozen=True):
    """On which hosts and ports to listen. `port` 0 is any free one, none of `kept_free` unless the system has no other;
    `is_shared`: by several processes of ours.
    """

    hosts: tuple[str, ...]
    port: int
    more: tuple[tuple[int, str], ...] = ()
    has_tcp: bool = True
    is_shared: bool = False
    kept_free: range = range(0)


class ListenError(OSError):
    """A listener cannot be bound; `errno` as the kernel gives it."""

    def __init__(self, error: OSError, port: int, transport: str) -> None:
        super().__init__(error.errno, error.strerror)
        self.port = port
        self.transport = transport


class Listeners:
    """Bound sockets; their numbers are the indices in `udp`."""

    def __init__(self) -> None:
        self.udp: list[UdpSocket] = []
        self.tcp: list[socket.socket] = []
        self.port = 0

    @property
    def ports(self) -> frozenset[int]:
        """Every port that is listened on."""
        return frozenset(handle.getsockname()[1] for handle in self._handles())

    @property
    def served(self) -> tuple[tuple[int, str], ...]:
        """Every port with each transport that it is listened on for, in the order they were bound."""
        bound = [(each.handle, "udp") for each in self.udp] + [(handle, "tcp") for handle in self.tcp]
        return tuple(dict.fromkeys((int(handle.getsockname()[1]), transport) for handle, transport in bound))

    def close(self) -> None:
        """Close them all."""
        for handle in self._handles():
            handle.close()
        self.udp.clear()
        self.tcp.clear()

    def _handles(self) -> list[socket.socket]:
        return [*(each.handle for each in self.udp), *self.tcp]


def open_listeners(ports: Ports, interfaces: Interfaces) -> Listeners:
    """Bind all listeners, or none.

    A port of several processes must not be 0, and is not noticed to be taken by another such process: see `probe`.
    Raises: ListenError when one cannot be bound; ValueError for a transport that is none.
    """
    wanted = list(_wanted(ports))
    last = MOST_TRIES if ports.port == 0 else 1
    for count in range(1, last + 1):
        listeners = Listeners()
        try:
            for port, is_udp, is_tcp in wanted:
                _open(listeners, ports, port, (is_udp, is_tcp), interfaces)
        except OSError as error:
            listeners.close()
            if error.errno != errno.EADDRINUSE or count == last:
                raise
            continue
        if ports.port != 0 or listeners.port not in ports.kept_free or count == last:
            return listeners
        listeners.close()
    raise AssertionError("the last try returns or raises")


def probe(ports: Ports, interfaces: Interfaces) -> None:
    """Tell whether the ports are free: once, before the first of several processes that share them is started.

    Raises: ListenError when one cannot be bound.
    """
    open_listeners(msgspec.structs.replace(ports, is_shared=False), interfaces).close()


def _wanted(ports: Ports) -> Iterator[tuple[int, bool, bool]]:
    yield ports.port, True, ports.has_tcp
    for port, transport in ports.more:
        if transport not in TRANSPORTS:
            raise ValueError(f"more_ports: {transport} is none of {', '.join(TRANSPORTS)}")
        is_udp, is_tcp = TRANSPORTS[transport]
        yield port, is_udp, is_tcp and ports.has_tcp


def _open(listeners: Listeners, ports: Ports, port: int, transports: tuple[bool, bool], interfaces: Interfaces) -> None:
    is_udp, is_tcp = transports
    for host in ports.hosts:
        if is_udp:
            port = _open_udp(listeners, host, port, interfaces, ports.is_shared)
        if is_tcp:
            # replies of a connection leave from the address that was asked: a wildcard socket needs no others beside
            port = _open_tcp(listeners, host, port, ports.is_shared)
    if listeners.port == 0:
        listeners.port = port


def _open_udp(listeners: Listeners, host: str, port: int, interfaces: Interfaces, is_shared: bool) -> int:
    try:
        handle = open_socket(host, port, is_port_shared=is_shared)
        listeners.udp.append(UdpSocket(handle))
        port = handle.getsockname()[1]
        if host in WILDCARDS:
            _open_beside(listeners, handle, interfaces, is_shared)
    except OSError as error:
        raise ListenError(error, port, "udp") from error
    return port


def _open_beside(listeners: Listeners, wildcard: socket.socket, interfaces: Interfaces, is_shared: bool) -> None:
    # One socket per address, so that a reply leaves from the address that was asked; the wildcard socket was
    # bound alone (a taken port is noticed) and serves addresses that come later.
    shared = [wildcard]
    wildcard.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    port = wildcard.getsockname()[1]
    length = 4 if wildcard.family == socket.AF_INET else 16
    for ip in sorted(interfaces.addresses):
        if len(ip) == length and is_for_listening(ip):
            handle = open_socket(address.host_text(ip), port, is_beside_wildcard=True, is_port_shared=is_shared)
            listeners.udp.append(UdpSocket(handle))
            shared.append(handle)
    for handle in shared:
        # all are bound: nobody else on this machine may come beside them and take what is sent to us
        handle.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)


def _open_tcp(listeners: Listeners, host: str, port: int, is_shared: bool) -> int:
    handle = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    listeners.tcp.append(handle)
    try:
        handle.setblocking(False)
        handle.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of before may linger
        if is_shared:
            handle.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if handle.family == socket.AF_INET6:
            handle.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        _tune(handle)
        handle.bind((host, port))
        handle.listen(BACKLOG)
    except OSError as error:
        raise ListenError(error, port, "tcp") from error
    return int(handle.getsockname()[1])


def _tune(listener: socket.socket) -> None:
    # On Linux connections take these over from their listener: no system call for each of them.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", KEEPALIVE_S),
        ("TCP_KEEPINTVL", KEEPALIVE_S // 3),
        ("TCP_USER_TIMEOUT", DEAD_AFTER_S * 1000),
    ):
        if hasattr(socket, name):  # elsewhere than on Linux some are missing
            listener.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
