import ssl
from pathlib import Path

import pytest

from media.relay.certificate import CertificatePair
from media.turn.stun import BINDING
from media.turn_check.client import TurnClient
from media.turn_check.dtls_client import DtlsLink
from media.turn_check.link import UdpLink
from media.turn_check.verdict import LinkError, Trouble
from tests.certificates import made
from tests.media.relay.loopback import serving
from tests.media.turn_check.scripted import over_udp
from tests.ports import free_port


class Lossy(UdpLink):
    """A socket that loses the first datagrams it sends."""

    lost = 1

    def send(self, message: bytes) -> None:
        if self.lost:
            self.lost -= 1
        else:
            super().send(message)


@pytest.mark.slow
async def test_a_session_carries_messages_and_survives_a_lost_flight(tmp_path: Path) -> None:
    files = made(tmp_path)
    async with serving(certificate=CertificatePair(files.pair.certificate, files.pair.key)) as running:
        below = Lossy("127.0.0.1", running.address.port)
        session = DtlsLink(below, "localhost", str(files.ca))
        await session.shake_hands()
        assert session.verify_code == 0
        assert session.protocol == "DTLSv1.2"
        assert session.certificate == ssl.PEM_cert_to_DER_cert(
            files.pair.certificate.read_text().partition("-----END")[0] + "-----END CERTIFICATE-----\n"
        )
        client = TurnClient(None, lambda: bytes(12))
        request = client.request(BINDING)
        session.send(request.data)
        assert client.answer(request, await session.receive()) is not None
        session.close()
        assert below.socket.fileno() == -1


async def test_a_certificate_of_nobody_is_told_after_the_handshake(tmp_path: Path) -> None:
    files = made(tmp_path / "one")
    async with serving(certificate=CertificatePair(files.pair.certificate, files.pair.key)) as running:
        below = UdpLink("127.0.0.1", running.address.port)
        session = DtlsLink(below, "127.0.0.1", str(made(tmp_path / "other").ca))
        await session.shake_hands()
        assert session.verify_code == 20
        session.close()


async def test_what_is_no_dtls_ends_the_handshake() -> None:
    alert = bytes.fromhex("15fefd00000000000000000002") + bytes((2, 40))
    async with over_udp(lambda _: alert) as port:
        session = DtlsLink(UdpLink("127.0.0.1", port), "localhost")
        with pytest.raises(LinkError) as caught:
            await session.shake_hands()
        assert caught.value.trouble is Trouble.TLS
        assert "handshake failure" in str(caught.value)
        session.close()


async def test_a_port_without_a_listener_is_refused() -> None:
    session = DtlsLink(UdpLink("127.0.0.1", free_port()), "localhost")
    with pytest.raises(LinkError) as caught:
        await session.shake_hands()
    assert caught.value.trouble is Trouble.REFUSED
    session.close()
