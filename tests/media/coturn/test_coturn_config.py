import msgspec
import pytest

from media.coturn.coturn_config import CoturnRedisPlace, CoturnRules, parse_version, refusal, render
from media.turn.address import IPV4, IPV6, pack
from media.turn.policy import PeerRules

RULES = CoturnRules(
    listener_hosts=("10.0.0.5", "::1"),
    port=3478,
    relay_hosts={IPV4: "10.0.0.5", IPV6: "2600::7"},
    advertised={IPV4: pack("203.0.113.7"), IPV6: pack("2600::7")},
    min_port=49160,
    max_port=49559,
    realm="heliograph",
    secrets=("new", "old"),
    peers=PeerRules(own=frozenset((pack("10.0.0.5"),)), advertised=frozenset((pack("203.0.113.7"),))),
    folder="/run/coturn",
)


def lines(**changes: object) -> list[str]:
    return render(msgspec.structs.replace(RULES, **changes)).splitlines()


def test_places_and_credentials() -> None:
    found = lines(more_ports=(443,))
    for line in (
        "listening-ip=10.0.0.5",
        "listening-ip=::1",
        "listening-port=3478",
        "tls-listening-port=3478",
        "aux-server=10.0.0.5:443",
        "aux-server=[::1]:443",
        "relay-ip=10.0.0.5",
        "external-ip=203.0.113.7/10.0.0.5",
        "relay-ip=2600::7",
        "min-port=49160",
        "max-port=49559",
        "realm=heliograph",
        "use-auth-secret",
        "static-auth-secret=new",
        "static-auth-secret=old",
        "no-cli",
        "no-multicast-peers",
        "no-tcp-relay",
        "no-software-attribute",
        "log-file=stdout",
        "userdb=/run/coturn/turndb",
    ):
        assert found.count(line) == 1, line
    assert "external-ip=2600::7/2600::7" not in found


def test_a_redis_takes_the_place_of_the_database_and_hears_the_statistics() -> None:
    found = lines(redis=CoturnRedisPlace("10.0.0.9", 6380, 2, "p-1"))
    words = '"ip=10.0.0.9 port=6380 dbname=2 connect_timeout=5 password=p-1"'
    assert found[-2:] == [f"redis-userdb={words}", f"redis-statsdb={words}"]
    assert not [line for line in found if line.startswith("userdb=")]
    assert lines(redis=CoturnRedisPlace("::1", 1))[-1] == 'redis-statsdb="ip=::1 port=1 dbname=0 connect_timeout=5"'
    for password in ("a b", 'a"', "a#", "a\nb"):
        with pytest.raises(ValueError, match="no blanks"):
            lines(redis=CoturnRedisPlace("10.0.0.9", 1, 0, password))
    assert "p-1" not in repr(CoturnRedisPlace("10.0.0.9", 1, 0, "p-1"))


def test_limits_are_bytes_there_and_0_is_none() -> None:
    plain = lines()
    assert not [line for line in plain if line.startswith(("user-quota", "max-bps", "bps-capacity", "relay-threads"))]
    bounded = lines(allocations_per_user=50, bitrate_bps=5_000_000, total_bitrate_bps=80_000_000, threads=2)
    for line in ("user-quota=50", "max-bps=625000", "bps-capacity=10000000", "relay-threads=2"):
        assert line in bounded
    assert "no-tcp" in lines(has_tcp=False)
    assert "no-tcp" not in plain


def test_without_a_certificate_nothing_is_secure_and_with_one_nothing_old() -> None:
    assert {"no-tls", "no-dtls"} <= set(lines())
    rules = msgspec.structs.replace(RULES, certificate=("/c.pem", "/k.pem"))
    for version, has_option in ((None, False), ((4, 6, 1), False), ((4, 17, 0), True)):
        found = render(rules, version).splitlines()
        assert {"cert=/c.pem", "pkey=/k.pem", "no-tlsv1", "no-tlsv1_1"} <= set(found)
        assert ("dtls" in found) is has_option
        assert "no-tls" not in found


def test_peers_are_closed_but_the_relay_itself() -> None:
    denied = [line for line in lines() if line.startswith("denied-peer-ip=")]
    assert {"denied-peer-ip=10.0.0.0-10.0.0.4", "denied-peer-ip=10.0.0.6-10.255.255.255"} <= set(denied)
    assert "denied-peer-ip=0.0.0.1-0.255.255.255" in denied, "0.0.0.0 would make it a range of everything"
    assert any(line.startswith("denied-peer-ip=::1-") for line in denied)
    assert "allowed-peer-ip=203.0.113.7" in lines()
    assert [line for line in lines() if line.startswith("allowed-peer-ip=10.")] == ["allowed-peer-ip=10.0.0.5"]


@pytest.mark.parametrize("text", ["a b", "a#b", "a\nno-auth", "a\x00"])
def test_a_value_that_would_end_its_line_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^static-auth-secret: no blanks") as caught:
        lines(secrets=(text,))
    assert text not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("4.6.1\n", (4, 6, 1)),
        ("0: : \nVersion Coturn-4.5.2 'dan Eider'", (4, 5, 2)),
        ("4.17", (4, 17, 0)),
        ("no number", None),
    ],
)
def test_the_version_is_read(text: str, version: tuple[int, int, int] | None) -> None:
    assert parse_version(text) == version


def test_versions_before_4_10_are_refused_with_the_reason() -> None:
    assert refusal((4, 10, 0)) is refusal((4, 17, 1)) is refusal((5, 0, 0)) is None
    for old in ((4, 6, 1), (4, 9, 9), (3, 99, 0)):
        assert "CVE-2026-27624" in (refusal(old) or "")


def test_rules_hide_their_secrets() -> None:
    assert "new" not in repr(RULES)
