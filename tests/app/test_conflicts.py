"""Settings that contradict each other are told by name at the start."""

import pytest

from app.settings import SettingsError, load


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"turn_port": "8080"}, "TURN_PORT: 8080 is HTTP_PORT too; choose another, take UDP alone, or give TURN"),
        ({"turn_more_ports": "9090/tcp"}, "TURN_MORE_PORTS: 9090 is OPS_PORT too"),
        ({"turn_more_ports": "8443", "tls": "1"}, "TURN_MORE_PORTS: 8443 is HTTPS_PORT too"),
        ({"turn_more_ports": "3478/udp"}, "TURN_MORE_PORTS: 3478 over UDP is there twice"),
        ({"turn_more_ports": "49200/udp"}, "TURN_MORE_PORTS: 49200 lies inside the relay ports 49160-49559"),
        ({"turn_more_ports": "x"}, "TURN_MORE_PORTS: x is no port"),
        ({"turn_host": "turn.test"}, "TURN_HOST: turn.test is not an IP address"),
        ({"turn_advertised_address": "203.0.113.7,203.0.113.8"}, "TURN_ADVERTISED_ADDRESS: give one IPv4 and one IPv6"),
        ({"turn_advertised_address": "turn.test"}, "TURN_ADVERTISED_ADDRESS: turn.test is not an IP address"),
        ({"turn_tls_key": "k.pem"}, "TURN_TLS_KEY: give TURN_TLS_CERTIFICATE and TURN_TLS_KEY, or neither"),
        ({"turn_host_name": "turn.test"}, "TURN_HOST_NAME: without TLS it has no use; add --tls, or"),
        ({"turn_alternate_server": "here"}, "TURN_ALTERNATE_SERVER: here is no address with a port"),
        ({"turn_alternate_server": "192.0.2.1:1"}, "TURN_ALTERNATE_SERVER: without TURN_DRAIN_S a stop sends nobody"),
        ({"turn_mobility": "1", "turn_workers": "2"}, "TURN_MOBILITY: it needs TURN_WORKERS 1"),
        ({"turn_tcp_relays": "1", "turn_workers": "2"}, "TURN_TCP_RELAYS: they need TURN_WORKERS 1"),
        ({"turn_mobility": "1", "turn_engine": "coturn"}, "TURN_MOBILITY: TURN_ENGINE coturn does not have it"),
        ({"turn_tcp_relays": "1", "turn_engine": "coturn"}, "TURN_TCP_RELAYS: TURN_ENGINE coturn"),
        ({"turn_drain_s": "5", "turn_engine": "coturn"}, "TURN_DRAIN_S: TURN_ENGINE coturn"),
        (
            {"allow_peer_cidrs": "10.0.0.1/8"},
            "ALLOW_PEER_CIDRS: 10.0.0.1/8 is no network; the one around it is 10.0.0.",
        ),
        ({"presence_url": "redis://a"}, "PRESENCE_URL: nodes that meet there need the same channels; give REDIS_URL"),
        ({"node_lease_s": "20"}, "CONNECTION_LEASE_S: 15 is under NODE_LEASE_S (20) and would end first; give"),
        ({"degraded_local": "1"}, "DEGRADED_LOCAL: without REDIS_URL it has no use"),
        ({"degraded_local": "1", "catalog_url": "redis://a"}, "DEGRADED_LOCAL: without REDIS_URL it has no use"),
        ({"redis_url": "http://a"}, "REDIS_URL: 'http://a' is not allowed; it is the Redis that all nodes"),
        ({"redis_secret": "short"}, "REDIS_SECRET: '********' is not allowed"),
        ({"turn_coturn_redis": "redis://name:6379"}, "TURN_COTURN_REDIS: 'redis://name:6379' is not allowed"),
        ({"turn_coturn_redis": "rediss://10.0.0.1"}, "TURN_COTURN_REDIS: 'rediss://10.0.0.1' is not allowed"),
        ({"workers": "2"}, "WORKERS: 2 processes meet in Redis; give --redis or HELIOGRAPH_REDIS_URL, or take one"),
        ({"workers": "2", "catalog_url": "redis://a"}, "WORKERS: 2 processes meet in Redis"),
        ({"workers": "0"}, "WORKERS: '0' is not allowed"),
        ({"slot": "1"}, "SLOT: without REDIS_URL it has no use"),
        ({"slot": "-1"}, "SLOT: '-1' is not allowed"),
        ({"slot_host": "k{slot}.test"}, "SLOT_HOST: without REDIS_URL it has no use"),
        ({"slot_host": "k.test"}, "SLOT_HOST: 'k.test' is not allowed"),
        (
            {"redis_url": "redis://a", "slot_host": "k{slot}.test", "endpoint_wildcard": "*.k.test"},
            "SLOT_HOST: ENDPOINT_WILDCARD has a name for each process already",
        ),
        (
            {"redis_url": "redis://a", "workers": "4", "ops_port": "8083"},
            "OPS_PORT: 4 processes need 8083-8086, but HTTP_PORT takes 8083; choose others",
        ),
        (
            {"redis_url": "redis://a", "workers": "4", "turn_port": "9093"},
            "TURN_PORT: 9093 is OPS_PORT (9090-9093 for 4 processes) too; choose another, take UDP alone, or give TURN",
        ),
        (
            {"redis_url": "redis://a", "workers": "3", "tls": "1", "turn_more_ports": "8445/tcp"},
            "TURN_MORE_PORTS: 8445 is HTTPS_PORT (8443-8445 for 3 processes) too",
        ),
        (
            {"redis_url": "redis://a", "workers": "2", "http_port": "65535"},
            "HTTP_PORT: 2 processes need 65535-65536, but there is none over 65535; choose others",
        ),
        (
            {"redis_url": "redis://a", "workers": "3", "slot": "9998"},
            "SLOT: 3 processes from 9998 on, but the last number is 9999",
        ),
        ({"redis_prefix": "a{b}"}, "REDIS_PREFIX: 'a{b}' is not allowed"),
        ({"allow_peer_cidrs": "ten"}, "ALLOW_PEER_CIDRS: 'ten' does not appear to be"),
        ({"turn_workers": "many"}, "TURN_WORKERS: 'many' is not allowed"),
        ({"turn_workers": "0"}, "TURN_WORKERS: '0' is not allowed"),
        (
            {"turn_workers": "3", "turn_min_port": "50000", "turn_max_port": "50004"},
            "TURN_WORKERS: 3 cannot share 5 relay ports; widen TURN_MAX_PORT",
        ),
    ],
)
def test_settings_of_turn_that_do_not_fit_are_told(given: dict[str, str], sentence: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(given, {})
    assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize(
    "given",
    [
        {"turn_port": "8080", "turn_tcp": "false"},
        {"turn_port": "8080", "turn_host": "127.0.0.2"},
        {"turn_more_ports": "8080/udp,443/udp,443/tcp"},
        {"turn_port": "0", "turn_more_ports": "5349"},
        {"redis_url": "redis://a", "workers": "4", "turn_port": "9094", "turn_more_ports": "8083/udp"},
        {"turn_advertised_address": "203.0.113.7,2001:db8::7"},
        {"turn_host_name": "turn.test", "turn_tls_certificate": "c.pem", "turn_tls_key": "k.pem"},
        {"turn_alternate_server": "192.0.2.1:3478", "turn_drain_s": "60"},
        {"turn_workers": "auto"},
        {"redis_url": "redis://a", "workers": "3", "slot": "0", "slot_host": "k{slot}.test:8443"},
        {"redis_url": "redis://a", "workers": "2", "slot": "9998"},
        {"redis_url": "redis://a", "workers": "99", "http_port": "0", "ops_port": "0"},
        {"redis_url": "redis://a", "workers": "2", "https_port": "8081"},
    ],
)
def test_what_only_looks_like_a_conflict_is_taken(given: dict[str, str]) -> None:
    load(given, {})
