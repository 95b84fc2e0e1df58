"""How many DTLS sessions there may be, and how long without an allocation."""

from collections.abc import Iterator

import pytest

from media.relay.certificate import CertificatePair
from media.relay.doors import FIRST_DOOR
from tests.media.relay.dtls_world import SOURCE, DtlsClient, Served, certificate_pair, with_cookie

BINDING = bytes((0, 1)) + bytes(18)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> CertificatePair:
    return certificate_pair(tmp_path_factory.mktemp("dtls"))


@pytest.fixture
def served(pair: CertificatePair) -> Iterator[Served]:
    served = Served(pair)
    yield served
    served.end()


def test_handshake_ends_after_ten_seconds(served: Served) -> None:
    client = DtlsClient()
    served.hand(with_cookie(served, client))
    served.pass_time(9.9)
    assert len(served.sessions) == 1
    served.pass_time(0.1)
    assert (len(served.sessions), served.wire) == (0, [])
    assert served.stats.handshake_failures == {"timeout": 1}


def test_session_without_an_allocation_ends_after_thirty_seconds_whatever_it_sends(served: Served) -> None:
    client = served.connected()
    served.pass_time(29.9)
    served.hand(client.encrypted(BINDING))
    assert len(served.sessions) == 1
    served.pass_time(0.1)
    client.handed(served.wire.pop()[1])
    assert client.is_over
    assert served.left == [(FIRST_DOOR, SOURCE)]
    assert served.stats.connections_refused == {"no-allocation": 1}


def test_session_with_an_allocation_may_be_silent_until_that_ends(served: Served) -> None:
    client = served.connected()
    served.proven.add(SOURCE)
    served.hand(client.encrypted(BINDING))
    served.pass_time(3600.0)
    served.proven.clear()
    served.pass_time(1.0)
    served.pass_time(29.9)
    assert len(served.sessions) == 1
    served.pass_time(0.1)
    assert len(served.sessions) == 0


def test_source_has_so_many_sessions_without_an_allocation(pair: CertificatePair) -> None:
    served = Served(pair, unauthenticated_per_source=3)
    ports = [("192.0.2.1", port) for port in range(5)]
    clients = [served.connected(source) for source in ports[:3]]
    served.shake_hands(DtlsClient(), ports[3])
    assert (len(served.sessions), served.stats.connections_refused) == (3, {"per-source": 1})
    served.proven.add(ports[0])
    served.hand(clients[0].encrypted(BINDING), ports[0])
    served.connected(ports[3])
    assert len(served.sessions) == 4


def test_half_open_sessions_count_as_sessions_without_an_allocation(pair: CertificatePair) -> None:
    served = Served(pair, unauthenticated_per_source=2)
    for port in range(4):
        served.hand(with_cookie(served, DtlsClient(), ("192.0.2.1", port)), ("192.0.2.1", port))
    assert (len(served.sessions), served.stats.connections_refused) == (2, {"per-source": 2})


def test_one_stranger_too_many_ends_the_oldest(pair: CertificatePair) -> None:
    served = Served(pair, unauthenticated=3)
    sources = [(f"192.0.2.{count}", 1) for count in range(4)]
    clients = [served.connected(source) for source in sources]
    assert (len(served.sessions), served.stats.connections_refused) == (3, {"crowded": 1})
    for client, source in zip(clients[1:], sources[1:], strict=True):
        served.hand(client.encrypted(b"up"), source)
    assert len(served.messages) == 3


def test_there_are_so_many_sessions_in_all(pair: CertificatePair) -> None:
    served = Served(pair, most_sessions=2)
    for port in range(3):
        served.shake_hands(DtlsClient(), ("192.0.2.1", port))
    assert (len(served.sessions), served.stats.connections_refused) == (2, {"full": 1})


def test_hellos_of_a_network_are_answered_as_often_as_may_be_and_then_cost_nothing(pair: CertificatePair) -> None:
    # the source of a first hello may be forged: it is somebody else who gets the answers
    served = Served(pair, arrivals_per_s=1.0, arrivals_burst=3)
    for port in range(3):
        assert served.hand(DtlsClient().first(), ("192.0.2.9", port))
    assert served.hand(DtlsClient().first(), ("192.0.2.200", 1)) == []
    assert served.stats.dropped == {"silenced": 1}
    assert served.hand(DtlsClient().first(), ("192.0.3.9", 1))
    served.now += 2.0
    client = served.connected(("192.0.2.9", 7))
    served.hand(client.encrypted(b"up"), ("192.0.2.9", 7))
    assert served.messages == [b"up"]
    served.end()
