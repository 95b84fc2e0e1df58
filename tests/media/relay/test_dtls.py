"""DTLS sessions with real clients, a clock by hand, and datagrams that the test carries."""

import ssl
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from OpenSSL import SSL

from media.relay.certificate import CertificatePair
from media.relay.doors import FIRST_DOOR
from media.relay.dtls import MOST_PLAINTEXT_BYTES
from media.turn.dtls_records import number, renumbered
from tests import certificates
from tests.media.relay.dtls_world import SOURCE, DtlsClient, Served, certificate_pair, with_cookie


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> CertificatePair:
    return certificate_pair(tmp_path_factory.mktemp("dtls"))


@pytest.fixture
def served(pair: CertificatePair) -> Iterator[Served]:
    served = Served(pair)
    yield served
    served.end()


def test_messages_pass_both_ways(served: Served) -> None:
    client = served.connected()
    assert served.hand(client.encrypted(b"up")) == []
    assert served.messages == [b"up"]
    served.doors.send(FIRST_DOOR, b"head", memoryview(b"down"))
    client.handed(served.wire.pop()[1])
    assert client.received == [b"headdown"]
    assert served.stats.connections == served.stats.connections_total == {"dtls": 1}
    assert client.connection.get_protocol_version_name() == "DTLSv1.2"


def test_every_message_of_a_datagram_is_taken(served: Served) -> None:
    client = served.connected()
    served.hand(client.encrypted(b"one") + client.encrypted(b"two") + client.encrypted(b"three"))
    served.hand(client.encrypted(b"four"))
    assert served.messages == [b"one", b"two", b"three", b"four"]


def test_many_messages_between_two_flushes_keep_their_bytes(served: Served) -> None:
    # what is sent lies where it is until the flush that the buffer's end asks for
    client = served.connected()
    served.views.clear()
    for count in range(300):
        served.doors.send(FIRST_DOOR, count.to_bytes(4), bytes(1200))
    assert served.flushed == 1
    kept = [data for flushed, data in served.views if flushed == 1]
    for data in kept:
        client.handed(bytes(data))
    assert [message[:4] for message in client.received] == [n.to_bytes(4) for n in range(300 - len(kept), 300)]


def test_many_messages_of_a_client_between_two_flushes_keep_their_bytes(served: Served) -> None:
    client = served.connected()
    for count in range(300):
        served.hand(client.encrypted(count.to_bytes(4) + bytes(1200)))
    assert served.flushed == 1
    assert [message[:4] for message in served.messages] == [count.to_bytes(4) for count in range(300)]


@pytest.mark.parametrize("protocol", [b"stun.turn", b"stun.nat-discovery"])
def test_protocols_of_stun_are_chosen(served: Served, protocol: bytes) -> None:
    assert served.connected(protocols=(b"other", protocol)).connection.get_alpn_proto_negotiated() == protocol


def test_unknown_protocol_is_no_reason_to_refuse(served: Served) -> None:
    assert served.connected(protocols=(b"other",)).connection.get_alpn_proto_negotiated() == b""


def test_nothing_is_kept_before_the_cookie_proves_the_address(served: Served) -> None:
    hello = DtlsClient().first()
    before = served.sessions._listening
    for count in range(2000):
        assert len(served.hand(hello, (f"192.0.{count % 8}.7", 1000 + count))) == 1
    assert served.sessions._listening is before
    assert (len(served.sessions), len(served.doors)) == (0, 0)


def test_request_for_a_cookie_is_no_longer_than_what_asks_for_it(served: Served) -> None:
    smallest = shortest_hello()
    for hello in (DtlsClient().first(), smallest):
        (reply,) = served.hand(hello)
        assert reply[13] == 3  # HelloVerifyRequest
        assert len(reply) <= len(hello)


def shortest_hello() -> bytes:
    body = b"\xfe\xfd" + bytes(32) + b"\0" + b"\0" + b"\0\x02\xc0\x2f" + b"\x01\0"
    handshake = b"\x01" + len(body).to_bytes(3) + bytes(2) + bytes(3) + len(body).to_bytes(3) + body
    return b"\x16\xfe\xff" + bytes(8) + len(handshake).to_bytes(2) + handshake


def test_cookie_of_another_address_is_worth_nothing(served: Served) -> None:
    hello = with_cookie(served, DtlsClient())
    for source in (("192.0.2.1", 4001), ("192.0.2.2", 4000)):
        (reply,) = served.hand(hello, source)
        assert reply[13] == 3
    assert len(served.sessions) == 0


def test_cookie_is_good_for_a_minute_at_least_and_two_at_most(served: Served) -> None:
    served.now = 960.0
    hello = with_cookie(served, DtlsClient())
    served.now += 120.0
    assert served.hand(hello)[0][13] == 3
    served.now -= 1.0
    assert served.hand(hello)[0][13] == 2  # ServerHello
    assert len(served.sessions) == 1


def test_hello_in_fragments_is_understood_when_the_first_holds_the_cookie(served: Served) -> None:
    client = DtlsClient(mtu=256, ciphers=b"ALL:@SECLEVEL=0")
    first, second = client.handed(b"")
    assert served.hand(second) == []
    (request,) = served.hand(first)
    assert len(request) <= len(first)
    hello = client.handed(request)
    assert len(hello) == 2
    assert served.hand(hello[1]) == served.hand(hello[0]) == []
    for datagram in served.hand(hello[1]):
        for last in client.handed(datagram):
            for reply in served.hand(last):
                client.handed(reply)
    assert client.is_open
    assert len(served.sessions) == 1


def test_hello_that_comes_again_changes_nothing(served: Served) -> None:
    # what was lost is sent again by the timer
    client = DtlsClient()
    hello = with_cookie(served, client)
    flight = served.hand(hello)
    for count in (7, 8):
        assert served.hand(hello[:10] + bytes((count,)) + hello[11:]) == []
    assert len(served.sessions) == 1
    for datagram in flight:
        for last in client.handed(datagram):
            for reply in served.hand(last):
                client.handed(reply)
    assert client.is_open


def test_first_flight_takes_up_the_number_of_a_hello_that_was_repeated(served: Served) -> None:
    client = DtlsClient()
    to_server = [with_cookie(served, client)]
    begun = 0
    while to_server:
        # as if the client had sent one hello more: all its plain records have a number more
        replies = [reply for datagram in to_server for reply in served.hand(renumbered(datagram, 1))]
        begun = begun or number(replies[0])
        to_server = [datagram for reply in replies for datagram in client.handed(reply)]
    assert begun == 2
    assert client.is_open
    served.hand(client.encrypted(b"up"))
    assert served.messages == [b"up"]


def test_hello_with_the_last_number_of_all_does_no_harm(served: Served) -> None:
    hello = with_cookie(served, DtlsClient())
    assert number(served.hand(renumbered(hello, (1 << 48) - 1 - number(hello)))[0]) == (1 << 48) - 1


def test_hello_of_a_live_session_by_another_run_of_its_client_replaces_it_once_proven(served: Served) -> None:
    client = served.connected()
    stranger = DtlsClient()
    served.hand(stranger.first())
    served.hand(client.encrypted(b"still here"))
    assert served.messages == [b"still here"]
    assert served.left == []
    anew = served.connected()
    assert served.left == [(FIRST_DOOR, SOURCE)]
    assert served.stats.connections_refused == {}
    served.hand(anew.encrypted(b"back"))
    assert served.messages == [b"still here", b"back"]
    assert len(served.doors) == 1


def test_goodbye_of_the_client_ends_its_allocation_and_is_answered(served: Served) -> None:
    client = served.connected()
    (answer,) = served.hand(client.goodbye())
    client.handed(answer)
    assert client.is_over
    assert served.left == [(FIRST_DOOR, SOURCE)]
    assert (len(served.sessions), len(served.doors), served.stats.connections_refused) == (0, 0, {})
    assert served.hand(b"\x17" + bytes(40)) == []
    assert served.stats.dropped == {"dtls-stray": 1}


def test_closing_from_inside_says_goodbye_and_is_not_reported_back(served: Served) -> None:
    client = served.connected()
    served.wire.clear()
    served.doors.get(FIRST_DOOR).close()
    client.handed(served.wire.pop()[1])
    assert client.is_over
    assert (served.left, len(served.sessions), len(served.doors)) == ([], 0, 0)


def test_message_to_a_client_that_still_shakes_hands_is_lost(served: Served) -> None:
    served.hand(with_cookie(served, DtlsClient()))
    served.doors.send(FIRST_DOOR, b"", b"early")
    assert served.stats.send_errors == 1
    session = served.doors.get(FIRST_DOOR)
    session.close()
    session.close()
    assert len(served.sessions) == 0


def test_all_clients_are_told_at_the_end(served: Served) -> None:
    clients = {("192.0.2.9", port): DtlsClient() for port in (1, 2, 3)}
    for source, client in clients.items():
        served.shake_hands(client, source)
    with_cookie(served, DtlsClient(), ("192.0.2.9", 4))
    served.wire.clear()
    served.sessions.close_all()
    for source, data in served.wire:
        clients[source].handed(data)
    assert all(client.is_over for client in clients.values())


def test_new_handshakes_see_a_certificate_that_was_loaded_meanwhile(served: Served, tmp_path: Path) -> None:
    before = served.connected()
    files = certificates.made(tmp_path)
    served.sessions.load(CertificatePair(files.pair.certificate, files.pair.key))
    after = served.connected(("192.0.2.1", 4001))
    assert serial(before) != serial(after) == serial_of(files.pair.certificate)
    served.hand(before.encrypted(b"up"))
    assert served.messages == [b"up"]


def serial(client: DtlsClient) -> int:
    return client.connection.get_peer_certificate(as_cryptography=True).serial_number


def serial_of(path: Path) -> int:
    return x509.load_pem_x509_certificate(path.read_bytes()).serial_number


def test_unusable_certificate_leaves_the_one_that_there_is(served: Served, tmp_path: Path) -> None:
    files = certificates.made(tmp_path)
    (tmp_path / "none.pem").write_text("none")
    none, missing = tmp_path / "none.pem", tmp_path / "missing.pem"
    for certificate, key in ((none, none), (files.pair.certificate, missing), (missing, files.pair.key)):
        with pytest.raises(ssl.SSLError, match="cannot be used for DTLS"):
            served.sessions.load(CertificatePair(certificate, key))
    assert serial(served.connected()) != serial_of(files.pair.certificate)


def test_key_of_another_certificate_is_refused(pair: CertificatePair, tmp_path: Path) -> None:
    files = certificates.made(tmp_path)
    with pytest.raises(ssl.SSLError):
        Served(msgspec.structs.replace(pair, key=files.pair.key))


def test_message_that_fits_no_record_is_lost(served: Served) -> None:
    client = served.connected()
    served.doors.send(FIRST_DOOR, b"", bytes(MOST_PLAINTEXT_BYTES + 1))
    assert served.stats.dropped == {"too-long": 1}
    served.wire.clear()
    served.doors.send(FIRST_DOOR, b"", bytes(MOST_PLAINTEXT_BYTES))
    client.handed(served.wire.pop()[1])
    assert client.received == [bytes(MOST_PLAINTEXT_BYTES)]


def test_renegotiation_is_refused(served: Served) -> None:
    client = served.connected()
    client.connection.renegotiate()
    with pytest.raises(SSL.Error, match="no renegotiation"):
        asked(served, client)
    assert served.stats.connections_total == {"dtls": 1}


def asked(served: Served, client: DtlsClient) -> None:
    client.is_open = False
    for reply in served.hand(b"".join(client.handed(b""))):
        client.handed(reply)


@pytest.mark.parametrize("ciphers", [b"AES256-GCM-SHA384", b"ECDHE-ECDSA-AES128-SHA256", b"ECDHE-ECDSA-AES256-CCM8"])
def test_old_ciphers_are_refused(served: Served, ciphers: bytes) -> None:
    client = DtlsClient(ciphers=ciphers + b":@SECLEVEL=0")
    with pytest.raises(SSL.Error):
        served.shake_hands(client)
    assert served.stats.handshake_failures == {"protocol": 1}
    assert len(served.sessions) == 0


def test_record_that_was_changed_is_dropped_and_the_session_goes_on(served: Served) -> None:
    client = served.connected()
    record = client.encrypted(b"up")
    for at in range(len(record)):
        changed = bytearray(record)
        changed[at] ^= 0x41
        assert served.hand(bytes(changed)) == []
    for cut in range(1, len(record)):
        served.hand(record[:cut])
    served.hand(record + bytes(20_000))
    assert served.messages == []
    served.hand(record)
    served.hand(record)
    assert served.messages == [b"up"]
    assert served.left == []


def test_stray_records_are_dropped(served: Served) -> None:
    hello = DtlsClient().first()
    long = hello[:11] + (3000).to_bytes(2) + hello[13:] + bytes(3000)
    for datagram in (b"\x14", b"\x17" + bytes(100), hello[:40], long):
        assert served.hand(datagram) == []
    assert served.stats.dropped == {"dtls-stray": 4}
    served.connected()


def test_malformed_hello_of_a_stranger_does_not_end_the_session_of_another(served: Served) -> None:
    # OpenSSL keeps one queue of errors for all: before version 4 a session with nothing to read was told of this one
    client = served.connected()
    hello = DtlsClient().first()
    for changed in (hello[:1] + b"\x01\xff" + hello[3:], hello[:11] + b"\0\1" + hello[13:]):
        assert served.hand(changed, ("192.0.2.66", 1)) == []
        assert SSL._lib.ERR_peek_error() == 0
        served.hand(b"\x17\xfe\xfd\0\1" + bytes(7) + b"\x14" + bytes(20))  # no record of the session: it reads nothing
        assert len(served.sessions) == 1
    served.hand(client.encrypted(b"up"))
    assert served.messages == [b"up"]
