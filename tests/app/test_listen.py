import errno
import socket

import pytest

from app.listen import listen, refuse_port
from app.settings import SettingsError


def test_port_0_is_any_free_one() -> None:
    with listen("127.0.0.1", 0, "http_port") as listener:
        assert listener.getsockname()[1] > 0


def test_a_taken_port_is_told_by_its_setting() -> None:
    with listen("127.0.0.1", 0, "http_port") as first:
        port = first.getsockname()[1]
        with pytest.raises(SettingsError) as caught:
            listen("127.0.0.1", port, "http_port")
    assert str(caught.value) == (
        f"HTTP_PORT: {port} on 127.0.0.1 is taken; choose another with --http-port or HELIOGRAPH_HTTP_PORT "
        "(0 takes any free one)"
    )


def test_one_of_more_ports_cannot_be_any() -> None:
    with pytest.raises(SettingsError, match=r"HELIOGRAPH_TURN_MORE_PORTS$"):
        refuse_port("127.0.0.1", 443, "turn_more_ports", OSError(errno.EADDRINUSE, "taken"))


def test_a_taken_port_gives_way_where_it_may() -> None:
    with listen("127.0.0.1", 0, "http_port") as first:
        port = first.getsockname()[1]
        with listen("127.0.0.1", port, "http_port", may_move=True) as second:
            assert second.getsockname()[1] not in (0, port)


def test_an_address_of_another_machine_is_told() -> None:
    with pytest.raises(SettingsError, match=r"HOST: 192\.0\.2\.1 is no address of this machine"):
        listen("192.0.2.1", 0, "http_port")


def test_ipv6_is_bound_too() -> None:
    with listen("::1", 0, "http_port") as listener:
        assert listener.family is socket.AF_INET6


def test_other_reasons_keep_their_words() -> None:
    with pytest.raises(SettingsError, match="OPS_PORT: 90 on ::1 cannot be bound: Odd"):
        refuse_port("::1", 90, "ops_port", OSError(99999, "Odd"))


def test_accepted_sockets_give_up_a_peer_that_acknowledges_nothing() -> None:
    with listen("127.0.0.1", 0, "http_port") as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 20_000
