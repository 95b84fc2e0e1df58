import os

import pytest

from app.setting import SettingsError
from app.turn_places import alternate_server, more_ports, workers


def test_a_port_may_name_its_transport() -> None:
    assert more_ports(("443/udp", "5349/tcp", "5350")) == ((443, "udp"), (5349, "tcp"), (5350, "both"))
    assert more_ports(()) == ()


@pytest.mark.parametrize("text", ["", "0", "70000/udp", "443/sctp", "udp/443", "-1", "443 udp"])
def test_what_is_no_port_is_told(text: str) -> None:
    with pytest.raises(SettingsError, match=r"TURN_MORE_PORTS: .* is no port; one looks like 443/udp"):
        more_ports((text,))


def test_an_alternate_server_is_an_address_with_a_port() -> None:
    assert alternate_server("") is None
    assert alternate_server("203.0.113.8:3478") == ("203.0.113.8", 3478)
    assert alternate_server("[2001:db8:0::8]:1") == ("2001:db8::8", 1)


@pytest.mark.parametrize("text", ["203.0.113.8", "turn.example.org:1", "1.2.3:1", "203.0.113.8:0", "2001:db8::8:1"])
def test_what_is_no_alternate_server_is_told(text: str) -> None:
    with pytest.raises(SettingsError, match=r"TURN_ALTERNATE_SERVER: .* is no address with a port"):
        alternate_server(text)


def test_auto_is_one_worker_for_each_core() -> None:
    assert workers("3") == 3
    assert workers("auto") == len(os.sched_getaffinity(0))
