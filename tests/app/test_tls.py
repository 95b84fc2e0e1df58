import datetime
import logging
import ssl
from pathlib import Path
from socket import AF_INET, AF_INET6, AddressFamily

import pytest
from cryptography import x509

from app.certificates import CertificateError, DevelopmentFiles
from app.settings import Settings, SettingsError
from app.tls import TlsContext, listening, utc_now
from media.relay.interfaces import detect
from tests.certificates import made, trusting

YEAR = datetime.timedelta(days=365)


@pytest.fixture
def files(tmp_path: Path) -> DevelopmentFiles:
    return made(tmp_path)


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, name: str | None = "localhost") -> ssl.SSLObject:
    """Shake hands in memory; returns the client's side."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server, server_hostname=name)
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    open_sides = [ours, theirs]
    for side in open_sides * 4:
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    assert ours.version()
    assert ours.getpeercert(binary_form=True)
    return ours


def serial(tls: TlsContext, ca: Path) -> int:
    """The serial number that a new client sees."""
    peer = handshake(tls.context, trusting(ca)).getpeercert(binary_form=True)
    assert peer is not None
    return x509.load_der_x509_certificate(peer).serial_number


def renew(files: DevelopmentFiles) -> int:
    """Make another server certificate; returns its serial number."""
    files.pair.certificate.unlink()
    made(files.ca.parent.parent)
    return x509.load_pem_x509_certificate(files.pair.certificate.read_bytes()).serial_number


def test_a_client_that_trusts_the_ca_gets_in_with_http_1(files: DevelopmentFiles) -> None:
    client = trusting(files.ca)
    client.set_alpn_protocols(["h2", "http/1.1"])
    made_up = handshake(TlsContext(files.pair).context, client)
    assert (made_up.version(), made_up.selected_alpn_protocol()) == ("TLSv1.3", "http/1.1")


def test_tls_1_2_is_spoken_and_1_1_is_not(files: DevelopmentFiles) -> None:
    tls = TlsContext(files.pair)
    client = trusting(files.ca)
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    assert handshake(tls.context, client).version() == "TLSv1.2"
    with pytest.warns(DeprecationWarning, match="TLSv1_1 is deprecated"):
        client.minimum_version = client.maximum_version = ssl.TLSVersion.TLSv1_1
    client.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError, match=r"unsupported protocol"):
        handshake(tls.context, client)


def test_another_certificate_is_taken_up_once_it_stays_the_same(files: DevelopmentFiles) -> None:
    tls = TlsContext(files.pair)
    before = serial(tls, files.ca)
    after = renew(files)
    tls.refresh()
    assert serial(tls, files.ca) == before
    tls.refresh()
    assert serial(tls, files.ca) == after != before


def test_a_client_without_a_server_name_sees_the_new_certificate_too(files: DevelopmentFiles) -> None:
    tls = TlsContext(files.pair)
    after = renew(files)
    for _ in range(2):
        tls.refresh()
    client = trusting(files.ca)
    client.check_hostname = False
    peer = handshake(tls.context, client, None).getpeercert(binary_form=True)
    assert peer is not None
    assert x509.load_der_x509_certificate(peer).serial_number == after


@pytest.mark.parametrize("harm", ["key", "gone", "garbage"])
def test_a_broken_new_pair_is_told_once_and_the_old_one_goes_on(
    files: DevelopmentFiles, harm: str, caplog: pytest.LogCaptureFixture
) -> None:
    tls = TlsContext(files.pair)
    before = serial(tls, files.ca)
    kept = files.pair.key.read_bytes()
    if harm == "key":
        files.pair.key.write_bytes((files.ca.parent / "ca.key").read_bytes())
    elif harm == "gone":
        files.pair.key.unlink()
    else:
        files.pair.key.write_bytes(b"garbage")
    for _ in range(5):
        tls.refresh()
    words = {"key": "is not the key of", "gone": "cannot be read", "garbage": "holds no PEM private key"}[harm]
    assert [(record.levelno, words in vars(record)["reason"]) for record in caplog.records] == [(logging.WARNING, True)]
    assert serial(tls, files.ca) == before
    assert (tls.reloads.loaded, tls.reloads.refused) == (0, 1)
    files.pair.key.write_bytes(kept)
    after = renew(files)
    for _ in range(2):
        tls.refresh()
    assert serial(tls, files.ca) == after


def test_a_new_certificate_that_has_ended_is_not_used(
    files: DevelopmentFiles, caplog: pytest.LogCaptureFixture
) -> None:
    now = utc_now()
    tls = TlsContext(files.pair, lambda: now)
    before = serial(tls, files.ca)
    renew(files)
    now += 2 * YEAR
    for _ in range(2):
        tls.refresh()
    assert "ended on" in vars(caplog.records[0])["reason"]
    assert serial(tls, files.ca) == before


def test_only_so_many_handshakes_are_unfinished_at_a_time(
    files: DevelopmentFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.tls.HANDSHAKES", 3)
    tls = TlsContext(files.pair)
    begun = [tls.context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=True) for _ in range(2)]
    finished = [handshake(tls.context, trusting(files.ca)) for _ in range(5)]
    begun.append(tls.context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=True))
    with pytest.raises(ConnectionAbortedError):
        handshake(tls.context, trusting(files.ca))
    assert (tls.handshakes.begun, tls.handshakes.refused) == (8, 1)
    begun.pop()
    finished.append(handshake(tls.context, trusting(files.ca)))
    assert tls.handshakes.refused == 1


def test_what_openssl_refuses_is_told(files: DevelopmentFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ssl.SSLError(1, "EE_KEY_TOO_SMALL")

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", refuse)
    with pytest.raises(CertificateError, match=r"server\.pem is refused by OpenSSL: .*EE_KEY_TOO_SMALL"):
        TlsContext(files.pair)


def names_of(folder: Path, **settings: object) -> set[str]:
    with listening(Settings(https_port=0, **settings), folder) as listener:  # type: ignore[arg-type]
        assert listener.port
        assert listener.ca == folder / "tls" / "ca.pem"
        found = listener.tls.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {str(name.value) for name in found}


def test_the_made_certificate_is_for_the_names_in_the_settings(tmp_path: Path) -> None:
    own = {"localhost", "127.0.0.1", "::1", "kinesisvideo.us-west-2.amazonaws.com"}
    own.add("*.kinesisvideo.us-west-2.amazonaws.com")
    assert names_of(tmp_path) == own
    more = names_of(
        tmp_path, public_host="kvs.test:8443", turn_advertised_address=("192.0.2.1",), tls_names=("a.test", "192.0.2.2")
    )
    assert more - own == {"kvs.test", "192.0.2.1", "192.0.2.2", "a.test"}
    assert names_of(tmp_path, endpoint_wildcard="*.kvs.test:443") - own == {"*.kvs.test"}
    assert names_of(tmp_path, public_host="[2001:db8::1]:443") - own == {"2001:db8::1"}
    assert names_of(tmp_path, public_host="[2001:db8::1]") - own == {"2001:db8::1"}


@pytest.mark.parametrize(("host", "families"), [("0.0.0.0", (AF_INET,)), ("::", (AF_INET, AF_INET6))])
def test_the_made_certificate_is_for_the_address_that_turn_finds(
    tmp_path: Path, host: str, families: tuple[AddressFamily, ...]
) -> None:
    found = {address for address in map(detect, families) if address is not None}
    plain = names_of(tmp_path)
    assert names_of(tmp_path, turn_host=host) - plain == found
    assert names_of(tmp_path, turn_host=host, turn_advertised_address=("192.0.2.9",)) - plain == {"192.0.2.9"}
    assert names_of(tmp_path, turn_host=host, turn_host_name="turn.test") - plain == {"turn.test"}


def test_given_files_are_served_without_a_ca(tmp_path: Path, files: DevelopmentFiles) -> None:
    settings = Settings(https_port=0, tls_certificate=str(files.pair.certificate), tls_key=str(files.pair.key))
    with listening(settings, tmp_path / "nowhere") as listener:
        assert listener.ca is None
        assert serial(listener.tls, files.ca)
    assert not (tmp_path / "nowhere").exists()


def test_given_files_that_cannot_serve_name_their_setting(tmp_path: Path, files: DevelopmentFiles) -> None:
    good, ca_key = files.pair, str(files.ca.parent / "ca.key")
    for certificate, key, sentence in (
        ("/nowhere.pem", str(good.key), "TLS_CERTIFICATE: /nowhere.pem cannot be read"),
        (str(good.certificate), ca_key, f"TLS_KEY: {ca_key} is not the key of"),
    ):
        settings = Settings(https_port=0, tls_certificate=certificate, tls_key=key)
        with pytest.raises(SettingsError, match=sentence), listening(settings, tmp_path):
            pass


def test_a_ca_that_cannot_sign_is_told_with_the_remedy(tmp_path: Path, files: DevelopmentFiles) -> None:
    (files.ca.parent / "ca.key").unlink()
    settings = Settings(https_port=0)
    with pytest.raises(SettingsError, match=r"DATA_DIR: .*ca\.key cannot be read.*; remove the folder .*tls to have"):
        listening(settings, tmp_path).__enter__()


def test_a_folder_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "tls").write_text("a file")
    with pytest.raises(SettingsError, match=r"DATA_DIR: .*tls cannot be used: File exists"):
        listening(Settings(https_port=0), tmp_path).__enter__()
