"""What a real coturn published, as it was recorded, and what it may not be fooled or filled up by."""

import pytest

from media.coturn import coturn_statistics
from media.coturn.coturn_statistics import CoturnStatistics

PLACE = "turn/realm/heliograph/user/1795767876:dmE6YXJuL3g=/allocation/"
LIFE = "lifetime=777, type=UDP, local=127.0.0.1:3478, remote=127.0.0.1:53239, ssl=NONE, cipher=NONE"


class World:
    def __init__(self) -> None:
        self.names: list[str] = []
        self.statistics = CoturnStatistics(self._key)

    def _key(self, name: str) -> bytes | None:
        self.names.append(name)
        return b"channel" if ":" in name else None

    def hear(self, number: int, text: str, kind: str = "status", now: float = 0.0, place: str = PLACE) -> None:
        self.statistics.take(f"{place}{number:018}/{kind}", text, now)

    def usage(self) -> list[tuple[int, int, int]]:
        return [(u.allocations, u.bytes_to_peers, u.bytes_to_clients) for u in self.statistics.usage().values()]


@pytest.fixture
def world() -> World:
    return World()


def test_an_allocation_is_counted_from_new_to_deleted_with_what_it_relayed(world: World) -> None:
    world.hear(1, f"new {LIFE}")
    world.hear(1, f"refreshed {LIFE}")
    world.hear(2, f"new {LIFE.replace('UDP', 'TCP').replace('ssl=NONE', 'ssl=TLSv1.3')}")
    assert world.statistics.counters(0.0) == {"allocations_total": 2, "transports.udp": 1, "transports.tls": 1}
    world.hear(1, "rcvp=2, rcvb=300, sentp=20, sentb=3440", "traffic/peer")
    world.hear(1, "rcvp=28, rcvb=4528, sentp=8, sentb=708", "traffic")  # with all that is STUN
    assert world.usage() == [(2, 3440, 300)]
    for number in (1, 2, 2):
        world.hear(number, "deleted")
    assert world.statistics.counters(0.0) == {
        "allocations_total": 2,
        "packets_to_peers": 20,
        "bytes_to_peers": 3440,
        "packets_to_clients": 2,
        "bytes_to_clients": 300,
    }
    assert world.usage() == [(0, 3440, 300)]
    assert world.names == ["1795767876:dmE6YXJuL3g="] * 2


def test_one_whose_end_was_not_heard_ends_with_its_lifetime(world: World) -> None:
    world.hear(1, f"new {LIFE}", now=0.0)
    world.hear(1, f"refreshed {LIFE}", now=700.0)
    assert "transports.udp" in world.statistics.counters(700.0 + 777 + 60)
    assert "transports.udp" not in world.statistics.counters(700.0 + 777 + 61)
    assert world.usage() == [(0, 0, 0)]


def test_one_that_was_there_before_us_is_counted_with_its_refresh(world: World) -> None:
    world.hear(1, "rcvp=1, rcvb=10, sentp=1, sentb=20", "traffic/peer")
    world.hear(1, f"refreshed {LIFE}")
    assert world.statistics.counters(0.0)["transports.udp"] == 1
    assert world.statistics.counters(0.0)["bytes_to_peers"] == 20
    assert world.usage() == [(1, 0, 0)]


def test_a_name_of_somebody_else_is_counted_without_a_channel(world: World) -> None:
    world.hear(1, f"new {LIFE}", place="turn/realm/r/user/a/b/allocation/")
    world.hear(1, "rcvp=1, rcvb=1, sentp=1, sentb=1", "traffic/peer", place="turn/realm/r/user/a/b/allocation/")
    world.hear(1, "deleted", place="turn/realm/r/user/a/b/allocation/")
    assert world.usage() == []
    assert world.statistics.counters(0.0)["allocations_total"] == 1


@pytest.mark.parametrize(
    ("topic", "text"),
    [
        ("", ""),
        ("turn/realm/r/user/n/allocation/x/status", f"new {LIFE}"),
        (f"{PLACE}1/status", "new"),
        (f"{PLACE}1/status", "new lifetime=-1, type=UDP, ssl=NONE"),
        (f"{PLACE}1/traffic/peer", "rcvp=x"),
        (f"{PLACE}1/traffic/peer", "rcvp=1, rcvb=1, sentp=1, sentb=" + "9" * 99),
        (f"{PLACE}1/total_traffic/peer", "rcvp=1, rcvb=1, sentp=1, sentb=1"),
    ],
)
def test_what_is_no_message_of_coturn_is_ignored(world: World, topic: str, text: str) -> None:
    world.statistics.take(topic, text, 0.0)
    assert world.statistics.counters(0.0) == {}


def test_no_more_are_known_than_fit(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coturn_statistics, "ALLOCATIONS", 2)
    for number in range(5):
        world.hear(number, f"new {LIFE}")
    assert world.statistics.counters(0.0) == {"allocations_total": 5, "transports.udp": 2}
    assert world.usage() == [(2, 0, 0)]
