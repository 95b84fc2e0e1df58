"""Which URL a client is told, for each way it may have found us; and which role a host has."""

import pytest

from app.endpoints import Asked, EndpointSettings, Owner
from channels.names import ChannelArn, Role

ARN = ChannelArn.parse("arn:aws:kinesisvideo:us-west-2:000000000000:channel/demo/1700000000000")
OTHER = ChannelArn.parse("arn:aws:kinesisvideo:us-west-2:000000000000:channel/demo/1700000000001")
PLAIN = EndpointSettings()
TLS = EndpointSettings(https_port=8443)
TLS_443 = EndpointSettings(https_port=443)
PROXY = EndpointSettings(public_scheme="https")


def told(settings: EndpointSettings, url: str) -> tuple[str, str]:
    """The viewer's socket and the REST endpoint as a caller of `url` is told them."""
    scheme, _, host = url.partition("://")
    asked = Asked(scheme, host)
    return settings.socket_url(Role.VIEWER, ARN, asked), settings.rest_url(ARN, asked)


@pytest.mark.parametrize(
    ("settings", "asked", "socket", "rest"),
    [
        (PLAIN, "http://kvs.test:8080", "ws://kvs.test:8080/viewer", "http://kvs.test:8080"),
        (PLAIN, "http://kvs.test:80", "ws://kvs.test/viewer", "http://kvs.test"),
        (PLAIN, "http://[::1]:8080", "ws://[::1]:8080/viewer", "http://[::1]:8080"),
        (TLS, "http://kvs.test:8080", "wss://kvs.test:8443/viewer", "http://kvs.test:8080"),
        (TLS, "http://kvs.test", "wss://kvs.test:8443/viewer", "http://kvs.test"),
        (TLS, "http://kvs.test:80", "wss://kvs.test:8443/viewer", "http://kvs.test"),
        (TLS, "http://[::1]:8080", "wss://[::1]:8443/viewer", "http://[::1]:8080"),
        (TLS, "https://kvs.test:8443", "wss://kvs.test:8443/viewer", "https://kvs.test:8443"),
        (TLS, "https://kvs.test", "wss://kvs.test/viewer", "https://kvs.test"),  # a port is forwarded to ours
        (TLS_443, "https://kvs.test:443", "wss://kvs.test/viewer", "https://kvs.test"),
        (TLS_443, "http://kvs.test:8080", "wss://kvs.test/viewer", "http://kvs.test:8080"),
        (PROXY, "http://kvs.test", "wss://kvs.test/viewer", "https://kvs.test"),
        (PROXY, "http://kvs.test:443", "wss://kvs.test/viewer", "https://kvs.test"),
        (PROXY, "http://kvs.test:8080", "wss://kvs.test:8080/viewer", "https://kvs.test:8080"),
    ],
)
def test_without_a_name_each_caller_is_told_the_name_that_it_used(
    settings: EndpointSettings, asked: str, socket: str, rest: str
) -> None:
    assert told(settings, asked) == (socket, rest)


@pytest.mark.parametrize(
    ("settings", "asked", "socket", "rest"),
    [
        (EndpointSettings("a.test"), "http://b.test:8080", "ws://a.test/viewer", "http://a.test"),
        (EndpointSettings("a.test:443", "http"), "http://b.test", "ws://a.test:443/viewer", "http://a.test:443"),
        (EndpointSettings("a.test:8443", "https"), "http://b.test", "wss://a.test:8443/viewer", "https://a.test:8443"),
        (EndpointSettings("a.test:443", "https"), "http://b.test", "wss://a.test/viewer", "https://a.test"),
        (EndpointSettings("[::2]", https_port=443), "https://b.test", "wss://[::2]/viewer", "https://[::2]"),
        (EndpointSettings("a.test", None, 8443), "https://b.test:8443", "wss://a.test/viewer", "https://a.test"),
        (EndpointSettings("a.test:1", None, 8443), "http://b.test:8080", "wss://a.test:1/viewer", "http://b.test:8080"),
    ],
)
def test_a_public_name_stands_for_the_tls_port_if_there_is_one(
    settings: EndpointSettings, asked: str, socket: str, rest: str
) -> None:
    assert told(settings, asked) == (socket, rest)


@pytest.mark.parametrize(
    ("settings", "asked", "port"),
    [
        (EndpointSettings(https_port=443, wildcard="kvs.test"), "https://b.test", ""),
        (EndpointSettings(https_port=8443, wildcard="kvs.test"), "https://b.test:8443", ":8443"),
        (EndpointSettings(https_port=8443, wildcard="kvs.test"), "https://b.test", ""),
        (EndpointSettings(https_port=8443, wildcard="kvs.test:443"), "https://b.test:8443", ""),
        (EndpointSettings("a.test:1", "https", wildcard="kvs.test"), "http://b.test:8080", ""),
        (EndpointSettings("a.test:1", "https", wildcard="kvs.test:9"), "http://b.test:8080", ":9"),
    ],
)
def test_under_a_wildcard_name_each_role_has_a_host(settings: EndpointSettings, asked: str, port: str) -> None:
    place = f"{settings.wildcard.partition(':')[0]}{port}"
    assert told(settings, asked) == (f"wss://v-397f7338.{place}", f"https://r-397f7338.{place}")
    scheme, _, host = asked.partition("://")
    assert settings.socket_url(Role.MASTER, ARN, Asked(scheme, host)) == f"wss://m-397f7338.{place}"


def test_a_wildcard_name_on_plain_ports() -> None:
    beside_tls = EndpointSettings(https_port=8443, wildcard="kvs.test")
    assert told(beside_tls, "http://b.test:8080") == ("wss://v-397f7338.kvs.test:8443", "http://b.test:8080")
    alone = EndpointSettings(wildcard="kvs.test")
    assert told(alone, "http://b.test:8080") == ("ws://v-397f7338.kvs.test:8080", "http://r-397f7338.kvs.test:8080")


def test_each_channel_has_hosts_of_its_own() -> None:
    settings, asked = EndpointSettings("", "https", wildcard="kvs.test"), Asked("http", "b.test")
    assert settings.rest_url(ARN, asked) != settings.rest_url(OTHER, asked)


@pytest.mark.parametrize(
    ("host", "role"),
    [
        ("m-397f7338.kvs.test", Role.MASTER),
        ("v-397f7338.kvs.test", Role.VIEWER),
        ("V-397F7338.KVS.test:8443", Role.VIEWER),
        ("r-397f7338.kvs.test", None),
        ("m-397f7338.other.test", None),
        ("m-397f7338.evil.kvs.test", None),
        ("m-s0-397f7338.kvs.test", Role.MASTER),
        ("v-s9999-397f7338.kvs.test", Role.VIEWER),
        ("v-s10000-397f7338.kvs.test", None),
        ("v-s-397f7338.kvs.test", None),
        ("m-397f733.kvs.test", None),
        ("m.kvs.test", None),
        ("kvs.test", None),
        ("m-397f7338.kvs.test:x", None),
        ("[::1]:8443", None),
        ("", None),
    ],
)
def test_a_host_under_the_wildcard_name_has_its_role(host: str, role: Role | None) -> None:
    assert EndpointSettings(wildcard="Kvs.test:443").role_of_host(host) is role
    assert EndpointSettings().role_of_host(host) is None


NEXT_DOOR = Owner(3, ports={"http": 8083, "https": 8446})
ELSEWHERE = Owner(3)


@pytest.mark.parametrize(
    ("settings", "asked", "socket", "rest"),
    [
        (EndpointSettings(http_port=8080), "http://kvs.test:8080", "ws://kvs.test:8083", "http://kvs.test:8083"),
        (EndpointSettings(http_port=80), "http://kvs.test", "ws://kvs.test:8083", "http://kvs.test:8083"),
        (EndpointSettings(http_port=8080), "http://kvs.test", "ws://kvs.test", "http://kvs.test"),
        (EndpointSettings(http_port=8080), "http://[::1]:8080", "ws://[::1]:8083", "http://[::1]:8083"),
        (
            EndpointSettings(https_port=8443, http_port=8080),
            "http://kvs.test:8080",
            "wss://kvs.test:8446",
            "http://kvs.test:8083",
        ),
        (
            EndpointSettings(https_port=8443, http_port=8080),
            "https://kvs.test:8443",
            "wss://kvs.test:8446",
            "https://kvs.test:8446",
        ),
        (
            EndpointSettings(https_port=8443, http_port=8080),
            "https://kvs.test",
            "wss://kvs.test",
            "https://kvs.test",
        ),
        (
            EndpointSettings(public_scheme="https", http_port=8080),
            "http://kvs.test:8080",
            "wss://kvs.test:8080",
            "https://kvs.test:8080",
        ),
    ],
)
def test_the_owner_next_door_is_told_by_its_port_to_who_came_straight_to_ours(
    settings: EndpointSettings, asked: str, socket: str, rest: str
) -> None:
    scheme, _, host = asked.partition("://")
    place = Asked(scheme, host)
    assert settings.socket_url(Role.MASTER, ARN, place, NEXT_DOOR) == f"{socket}/master"
    assert settings.rest_url(ARN, place, NEXT_DOOR) == rest
    for owner in (None, ELSEWHERE, Owner(3, "other.test")):
        assert settings.socket_url(Role.MASTER, ARN, place, owner) == settings.socket_url(Role.MASTER, ARN, place)
        assert settings.rest_url(ARN, place, owner) == settings.rest_url(ARN, place)


@pytest.mark.parametrize(
    ("settings", "owner", "socket"),
    [
        (EndpointSettings("a.test", http_port=80), Owner(3, "b.test"), "ws://b.test/viewer"),
        (EndpointSettings("a.test", "https"), Owner(3, "b.test:8443"), "wss://b.test:8443/viewer"),
        (EndpointSettings("a.test", "https"), ELSEWHERE, "wss://a.test/viewer"),
        (EndpointSettings("a.test", "https"), None, "wss://a.test/viewer"),
        (EndpointSettings("a.test", http_port=8080), NEXT_DOOR, "ws://a.test/viewer"),
        (EndpointSettings("", "https", slot_host="k{slot}.test"), ELSEWHERE, "wss://k3.test/viewer"),
        (EndpointSettings("a.test", "https", slot_host="k{slot}.test:444"), NEXT_DOOR, "wss://k3.test:444/viewer"),
        (EndpointSettings("a.test", "https", slot_host="k{slot}.test"), None, "wss://a.test/viewer"),
        (EndpointSettings("", "https", wildcard="kvs.test"), ELSEWHERE, "wss://v-s3-397f7338.kvs.test"),
        (EndpointSettings("", "https", wildcard="kvs.test:444"), NEXT_DOOR, "wss://v-s3-397f7338.kvs.test:444"),
    ],
)
def test_an_owner_is_told_by_its_name(settings: EndpointSettings, owner: Owner | None, socket: str) -> None:
    assert settings.socket_url(Role.VIEWER, ARN, Asked("http", "c.test:8080"), owner) == socket


def test_the_slot_in_a_name_leads_back_to_the_role() -> None:
    settings = EndpointSettings("", "https", wildcard="kvs.test")
    for role in (Role.MASTER, Role.VIEWER):
        host = settings.socket_url(role, ARN, Asked("http", "b.test"), ELSEWHERE).removeprefix("wss://")
        assert settings.role_of_host(host) is role
