"""The server's end of TLS, without sockets."""

import contextlib
import ssl

import pytest

from media.relay.certificate import CertificatePair
from media.relay.tls import TlsError, TlsPipe
from tests import certificates


class Ends:
    """A pipe and a client at its other end."""

    def __init__(self, files: certificates.DevelopmentFiles) -> None:
        self.pipe = TlsPipe(certificates.tls_context(CertificatePair(files.pair.certificate, files.pair.key)))
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.client = certificates.trusting(files.ca).wrap_bio(
            self.incoming, self.outgoing, server_hostname="localhost"
        )

    def shake_hands(self) -> None:
        while not self.pipe.is_open:
            with contextlib.suppress(ssl.SSLWantReadError):
                self.client.do_handshake()
            self.pipe.take(memoryview(self.outgoing.read()))
            self.pipe.shake_hands()
            self.incoming.write(self.pipe.outgoing())


@pytest.fixture
def ends(tmp_path_factory: pytest.TempPathFactory) -> Ends:
    return Ends(certificates.made(tmp_path_factory.mktemp("tls")))


def test_bytes_pass_both_ways_in_as_many_records_as_they_need(ends: Ends) -> None:
    ends.shake_hands()
    data, room = bytes(range(250)) * 200, bytearray(100_000)
    ends.client.write(data[:100])
    ends.client.write(data[100:200])
    wire = memoryview(ends.outgoing.read())
    for piece, expected in ((wire[:7], b""), (wire[7:130], data[:100]), (wire[130:], data[100:200])):
        ends.pipe.take(piece)
        assert room[: ends.pipe.read_into(memoryview(room))] == expected
    ends.pipe.write(data)
    ends.incoming.write(ends.pipe.outgoing())
    read = b""
    while len(read) < len(data):
        read += ends.client.read(65536)
    assert read == data


def test_goodbye_is_the_end_of_what_comes(ends: Ends) -> None:
    ends.shake_hands()
    ends.client.write(b"last")
    with contextlib.suppress(ssl.SSLWantReadError):
        ends.client.unwrap()
    ends.pipe.take(memoryview(ends.outgoing.read()))
    room = memoryview(bytearray(65536))
    assert (ends.pipe.read_into(room), ends.pipe.is_ended) == (4, True)
    ends.pipe.end()
    ends.incoming.write(ends.pipe.outgoing())
    ends.client.unwrap()


def test_nothing_can_be_written_before_hands_are_shaken(ends: Ends) -> None:
    ends.pipe.take(memoryview(b"\x16\x03\x01\x00\x05hello"))
    with pytest.raises(TlsError, match="protocol"):
        ends.pipe.shake_hands()
    with pytest.raises(TlsError):
        ends.pipe.write(b"data")


def test_noise_is_told(ends: Ends) -> None:
    ends.shake_hands()
    ends.pipe.take(memoryview(b"\x17\x03\x03\x00\x20" + bytes(32)))
    with pytest.raises(TlsError, match="protocol"):
        ends.pipe.read_into(memoryview(bytearray(65536)))
