"""The sockets that clients come to, on this machine."""

import contextlib
import itertools
import socket
from collections.abc import Iterator

import msgspec
import pytest

from media.relay.interfaces import Interfaces, read_interfaces
from media.relay.listeners import ListenError, Listeners, Ports, open_listeners, probe
from tests.media.relay.loopback import offer

LOOPBACK = Ports(("127.0.0.1",), 0)


@contextlib.contextmanager
def listening(ports: Ports, interfaces: Interfaces | None = None) -> Iterator[Listeners]:
    listeners = open_listeners(ports, interfaces or Interfaces())
    try:
        yield listeners
    finally:
        listeners.close()


def free_port() -> int:
    with listening(LOOPBACK) as listeners:
        return listeners.port


def names(listeners: Listeners) -> tuple[list[object], list[object]]:
    udp = [each.handle.getsockname()[:2] for each in listeners.udp]
    return udp, [handle.getsockname()[:2] for handle in listeners.tcp]


def test_both_transports_and_families_have_the_same_free_port() -> None:
    with listening(Ports(("127.0.0.1", "::1"), 0)) as listeners:
        port = listeners.port
        assert names(listeners) == ([("127.0.0.1", port), ("::1", port)],) * 2
        assert listeners.ports == {port}
        assert all(not handle.getblocking() for handle in listeners.tcp)


def test_more_ports_are_of_the_transport_that_they_name() -> None:
    one, two, three = free_port(), free_port(), free_port()
    more = ((one, "udp"), (two, "tcp"), (three, "both"))
    with listening(Ports(("127.0.0.1",), 0, more)) as listeners:
        udp, tcp = ([port for _, port in found] for found in names(listeners))
        assert udp == [listeners.port, one, three]
        assert tcp == [listeners.port, two, three]
        assert listeners.ports == {listeners.port, one, two, three}


def test_without_tcp_no_port_has_it() -> None:
    with listening(Ports(("127.0.0.1",), 0, ((free_port(), "both"),), has_tcp=False)) as listeners:
        assert (len(listeners.udp), len(listeners.tcp)) == (2, 0)


def test_transport_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="more_ports: sctp"):
        open_listeners(Ports(("127.0.0.1",), 0, ((1, "sctp"),)), Interfaces())


@pytest.mark.parametrize(("kind", "transport"), [(socket.SOCK_DGRAM, "udp"), (socket.SOCK_STREAM, "tcp")])
def test_taken_port_is_named_and_nothing_stays_open(kind: socket.SocketKind, transport: str) -> None:
    host = "127.83.71.9"  # nobody else on this machine takes a port of it meanwhile
    with socket.socket(socket.AF_INET, kind) as other:
        other.bind((host, 0))
        if kind == socket.SOCK_STREAM:
            other.listen()
        taken = other.getsockname()[1]
        with pytest.raises(ListenError) as error:
            open_listeners(Ports((host,), taken), Interfaces())
    assert (error.value.port, error.value.transport, error.value.strerror) == (
        taken,
        transport,
        "Address already in use",
    )
    with listening(Ports((host,), taken)):
        pass


def test_any_free_port_is_one_that_is_free_for_tcp_too(monkeypatch: pytest.MonkeyPatch) -> None:
    with listening(LOOPBACK) as taken:
        taken.udp.pop().handle.close()  # its number is free for UDP alone
        offer(monkeypatch, iter((taken.port, free_port())))
        with listening(LOOPBACK) as listeners:
            assert listeners.port != taken.port


def test_any_free_port_is_none_that_is_kept_for_relays(monkeypatch: pytest.MonkeyPatch) -> None:
    kept, port = free_port(), free_port()
    ports = msgspec.structs.replace(LOOPBACK, kept_free=range(kept, kept + 1))
    with monkeypatch.context() as patch:
        offer(patch, iter((kept, port)))
        with listening(ports) as listeners:
            assert listeners.port == port
    offer(monkeypatch, itertools.repeat(kept))
    with listening(ports) as listeners:
        assert listeners.port == kept, "there is no other"
    with listening(msgspec.structs.replace(ports, port=kept)) as listeners:
        assert listeners.port == kept, "as it was told"


def test_wildcard_udp_has_a_socket_per_address_and_tcp_needs_none() -> None:
    interfaces = read_interfaces()
    with listening(Ports(("0.0.0.0",), 0), interfaces) as listeners:
        udp, tcp = names(listeners)
        assert udp[0] == tcp[0] == ("0.0.0.0", listeners.port)
        assert ("127.0.0.1", listeners.port) in udp
        assert len(tcp) == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::"])
def test_processes_of_ours_share_ports_that_were_free_before(host: str) -> None:
    interfaces = read_interfaces()
    shared = Ports((host,), free_port(), is_shared=True)
    probe(shared, interfaces)
    with listening(shared, interfaces) as one, listening(shared, interfaces) as two:
        assert names(one) == names(two)
        with pytest.raises(ListenError, match="in use"):
            probe(shared, interfaces)
    probe(shared, interfaces)


@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1"])
def test_no_other_program_of_this_machine_comes_beside_the_listeners(host: str) -> None:
    listeners = open_listeners(Ports(("0.0.0.0",), 0), read_interfaces())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as thief:
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with pytest.raises(OSError, match="Address already in use"):
            thief.bind((host, listeners.port))
    listeners.close()
