"""Peer rules, quotas, buckets."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.turn.address import pack, parse_range
from media.turn.policy import BUCKETS, FULL, PeerRules, Quotas, Rate, ReplyBuckets

PUBLIC = PeerRules(
    own=frozenset(map(pack, ("198.51.100.7", "127.0.0.1", "::1", "2600::7"))),
    broadcasts=frozenset((pack("198.51.100.255"),)),
    advertised=frozenset(map(pack, ("198.51.100.7", "2600::7"))),
    listener_ports=frozenset((3478,)),
)
LAN = msgspec.structs.replace(
    PUBLIC, own=frozenset((pack("192.168.1.9"),)), advertised=frozenset((pack("192.168.1.9"),))
)
LOOPBACK = PeerRules(
    own=frozenset(map(pack, ("127.0.0.1", "::1", "192.0.2.2", "fd00::2"))),
    broadcasts=frozenset(map(pack, ("192.0.2.255", "127.255.255.255"))),
    advertised=frozenset((pack("192.0.2.2"),)),
    is_loopback_only=True,
    listener_ports=frozenset((3478,)),
)


@pytest.mark.parametrize("text", ["8.8.4.1", "2600:9::77", "64:ff9b::8.8.4.1"])
def test_every_address_of_an_own_range_is_own(text: str) -> None:
    ranges = (parse_range("8.8.4.0/24"), parse_range("2600:9::/64"))
    rules = msgspec.structs.replace(PUBLIC, own_ranges=ranges)
    assert rules.refusal(pack(text)) == "own-address"
    assert [rules.refusal(pack(other)) for other in ("8.8.5.1", "2600:a::77")] == [None, None]
    assert rules.port_refusal(pack("8.8.4.1"), 53, is_live_relay=False) == "own-port"
    assert PUBLIC.refusal(pack(text)) is None


@pytest.mark.parametrize("text", ["8.8.8.8", "2606:4700::1111", "64:ff9b::8.8.8.8", "2002:808:808::1"])
def test_global_unicast_is_allowed(text: str) -> None:
    assert PUBLIC.refusal(pack(text)) is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("10.1.2.3", "private"),
        ("::ffff:10.1.2.3", "private"),
        ("::ffff:8.8.8.8", "ipv4-mapped"),
        ("::10.1.2.3", "private"),
        ("::8.8.8.8", "reserved"),
        ("::ffff:0:8.8.8.8", "ipv4-translated"),
        ("2002:a01:203::1", "private"),
        ("2002:7f00:1::1", "own-address"),
        ("64:ff9b::127.0.0.1", "own-address"),
        ("64:ff9b::127.9.9.9", "own-address"),
        ("64:ff9b::169.254.169.254", "metadata"),
        ("64:ff9b:1::8.8.8.8", "local-nat64"),
        ("2600::5efe:10.1.2.3", "private"),
        ("2001:0:808:808::f7f7:f7f7", "protocol-assignment"),
        ("2001:0:a01:203::f7f7:f7f7", "private"),
        ("64:ff9b::198.51.100.7", "own-address"),
        ("127.0.0.1", "own-address"),
        ("127.8.8.8", "own-address"),
        ("::1", "own-address"),
        ("198.51.100.255", "broadcast"),
        ("198.51.100.8", "documentation"),
        ("100.64.1.1", "shared"),
        ("169.254.169.254", "metadata"),
        ("100.100.100.200", "metadata"),
        ("fd00:ec2::254", "metadata"),
        ("fd00::1", "unique-local"),
        ("224.0.0.1", "multicast"),
        ("ff0e::1", "multicast"),
        ("255.255.255.255", "broadcast"),
        ("0.0.0.0", "this-network"),
        ("::", "unspecified"),
    ],
)
def test_peer_is_refused_with_its_reason(text: str, reason: str) -> None:
    assert PUBLIC.refusal(pack(text)) == reason


def test_advertised_address_is_a_peer_for_relay_to_relay() -> None:
    assert PUBLIC.refusal(pack("198.51.100.7")) is None
    assert PUBLIC.refusal(pack("2600::7")) is None


@pytest.mark.parametrize("text", ["10.1.2.3", "172.16.0.1", "192.168.1.20"])
def test_private_peers_are_allowed_where_the_advertised_address_is_private(text: str) -> None:
    assert LAN.refusal(pack(text)) is None
    assert PUBLIC.refusal(pack(text)) == "private"


@pytest.mark.parametrize("text", ["fd00::1", "100.64.1.1", "127.0.0.1", "169.254.1.1", "198.51.100.8", "198.18.0.1"])
def test_a_private_advertised_address_opens_nothing_else(text: str) -> None:
    assert LAN.refusal(pack(text)) is not None


def test_named_ranges_are_opened_and_only_they() -> None:
    named = msgspec.structs.replace(PUBLIC, allowed=(parse_range("10.0.0.0/8"), parse_range("fd00::/8")))
    assert named.refusal(pack("10.1.2.3")) is None
    assert named.refusal(pack("2002:a01:203::1")) is None
    assert named.refusal(pack("fd00::1")) is None
    assert named.refusal(pack("192.168.0.1")) == "private"


@pytest.mark.parametrize(
    "text",
    [
        "169.254.169.254",
        "100.100.100.200",
        "fd00:ec2::254",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "240.0.0.1",
        "127.0.0.1",
        "::1",
        "::ffff:8.8.8.8",
        "64:ff9b:1::1",
        "ff02::1",
        "198.51.100.255",
        "::",
    ],
)
def test_naming_everything_opens_nothing_that_is_never_openable(text: str) -> None:
    everything = (parse_range("0.0.0.0/0"), parse_range("::/0"))
    assert msgspec.structs.replace(PUBLIC, allowed=everything).refusal(pack(text)) is not None


@pytest.mark.parametrize("text", ["127.0.0.1", "127.0.1.1", "::1", "192.0.2.2", "fd00::2"])
def test_loopback_server_allows_own_addresses(text: str) -> None:
    assert LOOPBACK.refusal(pack(text)) is None


@pytest.mark.parametrize(
    "text",
    [
        "8.8.8.8",
        "192.0.2.3",
        "192.0.2.255",
        "127.255.255.255",
        "10.0.0.1",
        "2600::1",
        "fd00::3",
        "0.0.0.0",
        "::",
        "::ffff:127.0.0.1",
        "::ffff:192.0.2.2",
        "::127.0.0.1",
        "2002:7f00:1::1",
        "64:ff9b::127.0.0.1",
        "224.0.0.1",
        "169.254.169.254",
        "64:ff9b::192.0.2.2",
        "2001:0:7f00:1::80ff:fffe",
        "2600::5efe:127.0.0.1",
    ],
)
def test_loopback_server_allows_nothing_else(text: str) -> None:
    everything = (parse_range("0.0.0.0/0"), parse_range("::/0"))
    assert LOOPBACK.refusal(pack(text)) is not None
    assert msgspec.structs.replace(LOOPBACK, allowed=everything).refusal(pack(text)) is not None


def test_metadata_is_refused_even_as_an_own_address() -> None:
    rules = msgspec.structs.replace(LOOPBACK, own=frozenset((pack("169.254.169.254"),)))
    assert rules.refusal(pack("169.254.169.254")) == "metadata"


@pytest.mark.parametrize("rules", [PUBLIC, LOOPBACK])
def test_port_zero_and_the_listener_are_never_reached(rules: PeerRules) -> None:
    own = pack("127.0.0.1")
    assert rules.port_refusal(pack("8.8.8.8"), 0, is_live_relay=False) == "port-zero"
    assert rules.port_refusal(own, 3478, is_live_relay=False) == "own-port"
    assert rules.port_refusal(own, 49160, is_live_relay=True) is None
    assert rules.port_refusal(pack("8.8.8.8"), 3478, is_live_relay=False) is None


def test_other_own_ports_are_reached_from_a_loopback_server_only() -> None:
    assert LOOPBACK.port_refusal(pack("192.0.2.2"), 5000, is_live_relay=False) is None
    assert PUBLIC.port_refusal(pack("198.51.100.7"), 5000, is_live_relay=False) == "own-port"


ONE, TWO = pack("203.0.113.5"), pack("203.0.113.6")


def test_quota_counts_per_key() -> None:
    quotas = Quotas(per_key=2)
    assert [quotas.take(b"a", ONE) for _ in range(3)] == [None, None, "key-quota"]
    assert quotas.take(b"b", ONE, besides=1) is None
    assert quotas.take(b"c", ONE, besides=2) == "key-quota"
    quotas.give_back(b"a", ONE)
    assert quotas.take(b"a", ONE) is None
    quotas.give_back(b"b", ONE)


def test_quota_counts_per_source_and_in_all() -> None:
    quotas = Quotas(per_key=0, per_source=2, in_all=3)
    assert [quotas.take(b"%d" % count, ONE) for count in range(3)] == [None, None, "source-quota"]
    assert [quotas.take(b"a", TWO) for _ in range(2)] == [None, FULL]
    quotas.give_back(b"0", ONE)
    assert quotas.take(b"a", TWO) is None


def test_source_of_ipv6_is_a_64() -> None:
    quotas = Quotas(per_key=0, per_source=1)
    hosts = ("2600::1", "2600::2", "2600:0:0:1::1")
    assert [quotas.take(b"a", pack(host)) for host in hosts] == [None, "source-quota", None]


def test_refused_or_returned_allocation_leaves_no_count() -> None:
    quotas = Quotas(per_key=1, per_source=1, in_all=1)
    assert quotas.take(b"a", ONE) is None
    assert [quotas.take(b"a", TWO), quotas.take(b"b", ONE), quotas.take(b"b", TWO)] == [
        "key-quota",
        "source-quota",
        FULL,
    ]
    quotas.give_back(b"a", ONE)
    assert (quotas._keys, quotas._sources, quotas._count) == ({}, {}, 0)


def test_bucket_runs_dry_and_fills_again() -> None:
    buckets = ReplyBuckets(per_s=10, burst=20)
    source = pack("203.0.113.5")
    assert sum(buckets.take(source, 1, 0.0) for _ in range(100)) == 20
    assert sum(buckets.take(source, 1, 1.0) for _ in range(100)) == 10
    assert sum(buckets.take(source, 0.1, 2.0) for _ in range(200)) in (99, 100)


def test_bucket_is_shared_by_a_24_and_a_56() -> None:
    buckets = ReplyBuckets(per_s=0, burst=1)
    assert buckets.take(pack("203.0.113.5"), 1, 0.0)
    assert not buckets.take(pack("203.0.113.200"), 1, 0.0)
    assert buckets.take(pack("2600:0:0:100::1"), 1, 0.0)
    assert not buckets.take(pack("2600:0:0:1ff::2"), 1, 0.0)


def test_bucket_table_never_grows() -> None:
    buckets = ReplyBuckets(per_s=1, burst=1)
    paid = sum(buckets.take(number.to_bytes(3) + b"\1", 1, 0.0) for number in range(20_000))
    assert paid <= BUCKETS


def passed(rate: Rate, size: int, now: float) -> bool:
    is_allowed = rate.allows(size, now)
    if is_allowed:
        rate.left -= size
    return is_allowed


def test_rate_holds_half_a_second() -> None:
    rate = Rate(2 * 8 * 1024)
    assert passed(rate, 600, 10.0)
    assert not passed(rate, 600, 10.0)
    assert passed(rate, 600, 10.1)
    assert not passed(rate, 1025, 100.0)
    assert rate.passed() == 1200
    assert rate.passed() == 0


@given(st.lists(st.tuples(st.floats(0, 3), st.integers(0, 60)), max_size=60), st.integers(0, 200))
def test_rate_lets_no_more_pass_than_the_bytes_of_the_time_and_of_one_second(
    steps: list[tuple[float, int]], bytes_per_s: int
) -> None:
    rate, now, total = Rate(8 * (bytes_per_s + 2)), 5.0, 0
    for pause_s, size in steps:
        now += pause_s
        total += size * passed(rate, size, now)
        assert total <= (bytes_per_s + 2) * (now - 5.0 + 1.0) + 1
    assert rate.passed() == total


def test_rate_refuses_nobody_who_stays_below_it() -> None:
    rate = Rate(8 * 1000)
    assert all(passed(rate, 100, 1.0 + at / 10) for at in range(500))


@pytest.mark.slow
@given(st.lists(st.tuples(st.floats(0, 0.4), st.integers(0, 3), st.integers(1, 300)), min_size=20, max_size=60))
def test_rate_bounds_packets_however_small_they_are(steps: list[tuple[float, int, int]]) -> None:
    rate, now, packets, total = Rate(8 * 100 * 400), 5.0, 0, 0  # 400 packets a second
    for pause_s, size, count in steps:
        now += pause_s
        for _ in range(count):
            if passed(rate, size, now):
                rate.count(1, now)
                packets, total = packets + 1, total + size
    assert packets <= 400 * (now - 5.0 + 2.0) + 2
    assert rate.passed() == total
    assert passed(rate, 0, now + 1.0)


def test_packets_of_100_bytes_and_more_pass_as_the_bitrate_lets_them() -> None:
    rate = Rate(8 * 100 * 400)
    for at in range(4000):
        now = 1.0 + at / 400
        assert passed(rate, 100, now)
        rate.count(1, now)
    assert rate.passed() == 400_000


def test_rate_of_zero_is_no_limit() -> None:
    rate = Rate(0)
    for at in range(20_000):
        assert passed(rate, 65535, 9.0 + at // 9000)
        rate.count(1, 9.0)
    assert rate.passed() == 20_000 * 65535
