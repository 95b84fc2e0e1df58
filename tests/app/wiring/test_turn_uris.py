"""The URIs of the ICE answer: what is served and nothing else, plain UDP first."""

import pytest

from app.settings import Settings
from app.wiring.turn_uris import Served, turn_uris
from media.relay.relay import RelayAddress

UDP, TCP = (3478, "udp"), (3478, "tcp")


def found(host: str, *ports: tuple[int, str], is_enciphered: bool = False, **settings: object) -> list[str]:
    served = Served(RelayAddress(host, 3478, ports), has_tls=is_enciphered)
    return list(turn_uris(Settings(**settings), served))  # type: ignore[arg-type]  # by name


def test_without_a_certificate_udp_comes_before_tcp() -> None:
    assert found("192.0.2.1", UDP) == ["turn:192.0.2.1:3478?transport=udp"]
    assert found("192.0.2.1", UDP, TCP) == ["turn:192.0.2.1:3478?transport=udp", "turn:192.0.2.1:3478?transport=tcp"]


def test_with_a_certificate_the_order_is_that_of_aws() -> None:
    assert found("192.0.2.1", UDP, TCP, is_enciphered=True) == [
        "turn:192.0.2.1:3478?transport=udp",
        "turns:192.0.2.1:3478?transport=udp",
        "turns:192.0.2.1:3478?transport=tcp",
    ]


def test_port_443_is_told_where_it_is_served() -> None:
    ports = (UDP, (443, "udp"), TCP, (443, "tcp"))
    assert found("192.0.2.1", *ports, is_enciphered=True)[2:] == [
        "turns:192.0.2.1:443?transport=tcp",
        "turn:192.0.2.1:443?transport=udp",
    ]
    assert found("192.0.2.1", UDP, (443, "udp"))[1:] == ["turn:192.0.2.1:443?transport=udp"]
    assert found("192.0.2.1", UDP, (5349, "tcp"))[1:] == ["turn:192.0.2.1:5349?transport=tcp"]


def test_a_name_stands_where_clients_compare_it_with_the_certificate() -> None:
    name = "turn.example.org"
    uris = found("192.0.2.1", UDP, TCP, is_enciphered=True, turn_host_name=name, tls=True)
    assert [uri.split(":")[1] for uri in uris] == ["192.0.2.1", name, name]


@pytest.mark.parametrize(
    ("host", "advertised", "shown"),
    [
        ("127.0.0.1", (), "127.0.0.1"),
        ("::1", (), "[::1]"),
        ("10.0.0.1", ("203.0.113.7",), "203.0.113.7"),
        ("10.0.0.1", ("2001:db8::7", "203.0.113.7"), "203.0.113.7"),
        ("fd00::1", ("203.0.113.7", "2001:db8::7"), "[2001:db8::7]"),
    ],
)
def test_the_address_is_the_advertised_one_of_its_family(host: str, advertised: tuple[str, ...], shown: str) -> None:
    assert found(host, UDP, turn_advertised_address=advertised) == [f"turn:{shown}:3478?transport=udp"]
