"""Certificate files that change while clients are connected."""

import ssl
from pathlib import Path

from cryptography import x509

from app.tls import TlsContext
from media.relay.certificate import ALPN
from tests import certificates
from tests.media.relay.hallway import TlsCaller, entrance


def serial(caller: TlsCaller) -> int:
    certificate = caller.tls.getpeercert(binary_form=True)
    assert certificate is not None
    return x509.load_der_x509_certificate(certificate).serial_number


def calling_without_a_name(ca: Path) -> ssl.SSLContext:
    context = certificates.trusting(ca)
    context.check_hostname = False
    return context


async def test_new_handshakes_see_the_new_certificate_and_connections_stay(tmp_path: Path) -> None:
    files = certificates.made(tmp_path)
    tls = TlsContext(files.pair, protocols=ALPN)
    named, nameless = certificates.trusting(files.ca), calling_without_a_name(files.ca)
    for context in (named, nameless):
        context.set_alpn_protocols(["stun.turn"])
    async with entrance(tls.context) as entered:
        with TlsCaller(entered, named) as before, TlsCaller(entered, nameless, None) as before_nameless:
            for caller in (before, before_nameless):
                await caller.shake_hands()
            assert serial(before) == serial(before_nameless)
            files.pair.certificate.unlink()
            certificates.made(tmp_path)
            tls.refresh()
            tls.refresh()
            new = x509.load_pem_x509_certificate(files.pair.certificate.read_bytes()).serial_number
            with TlsCaller(entered, named) as after, TlsCaller(entered, nameless, None) as after_nameless:
                for caller in (after, after_nameless):
                    await caller.shake_hands()
                    assert serial(caller) == new != serial(before)
                    assert caller.tls.selected_alpn_protocol() == "stun.turn"
                for caller in (before, before_nameless, after, after_nameless):
                    await caller.asks()
        assert tls.handshakes.begun == 4
