import datetime
import ipaddress
import os
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from app import certificates
from app.certificates import CertificateError, DevelopmentFiles, Pair, make_development_files, read_pair

NOW = datetime.datetime(2026, 5, 4, 3, 2, 1, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)
NAMES = ("localhost", "127.0.0.1", "::1", "*.kvs.test")


@pytest.fixture
def files(tmp_path: Path) -> DevelopmentFiles:
    return make_development_files(tmp_path, NAMES, NOW)


def certificate(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def test_the_ca_signs_server_certificates_only(files: DevelopmentFiles) -> None:
    ca = certificate(files.ca)
    constraints = ca.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (constraints.critical, constraints.value) == (True, x509.BasicConstraints(ca=True, path_length=0))
    usage = ca.extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert (usage.value.key_cert_sign, usage.value.digital_signature) == (True, False)
    assert isinstance(ca.public_key(), ec.EllipticCurvePublicKey)
    assert ca.not_valid_after_utc - NOW == 3650 * DAY


def test_the_server_certificate_is_for_the_names_and_passes_a_strict_check(files: DevelopmentFiles) -> None:
    server = read_pair(files.pair, NOW)
    server.verify_directly_issued_by(certificate(files.ca))
    usage = server.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert server.not_valid_after_utc - NOW == 397 * DAY
    store = x509.verification.Store([certificate(files.ca)])
    for name in (x509.DNSName("localhost"), x509.DNSName("m-1.kvs.test"), x509.IPAddress(ipaddress.ip_address("::1"))):
        verifier = x509.verification.PolicyBuilder().store(store).time(NOW).build_server_verifier(name)
        assert verifier.verify(server, [])


def test_files_are_private(files: DevelopmentFiles) -> None:
    folder = files.ca.parent
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.name for path in folder.iterdir()} == {"ca.pem", "ca.key", "server.pem", "server.key"}
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


def all_of(files: DevelopmentFiles) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in files.ca.parent.iterdir()}


def test_what_is_there_stays(tmp_path: Path, files: DevelopmentFiles) -> None:
    before = all_of(files)
    make_development_files(tmp_path, tuple(reversed(NAMES)), NOW + 366 * DAY)
    assert all_of(files) == before


@pytest.mark.parametrize(
    ("names", "later"), [((*NAMES, "more.test"), 0 * DAY), (NAMES, 368 * DAY), (NAMES, 1000 * DAY)]
)
def test_other_names_and_a_near_end_make_another_server_certificate_and_no_other_ca(
    tmp_path: Path, files: DevelopmentFiles, names: tuple[str, ...], later: datetime.timedelta
) -> None:
    before = all_of(files)
    make_development_files(tmp_path, names, NOW + later)
    after = all_of(files)
    assert (after["ca.pem"], after["ca.key"]) == (before["ca.pem"], before["ca.key"])
    assert read_pair(files.pair, NOW + later).not_valid_after_utc - later - NOW == 397 * DAY
    assert after["server.pem"] != before["server.pem"]


@pytest.mark.parametrize("lost", ["server.pem", "server.key"])
def test_a_pair_that_was_cut_off_is_made_anew(tmp_path: Path, files: DevelopmentFiles, lost: str) -> None:
    (files.ca.parent / lost).unlink()
    make_development_files(tmp_path, NAMES, NOW)
    assert read_pair(files.pair, NOW).issuer == certificate(files.ca).subject


def test_a_ca_that_was_cut_off_is_made_anew_with_all_it_signed(tmp_path: Path, files: DevelopmentFiles) -> None:
    files.ca.unlink()
    make_development_files(tmp_path, NAMES, NOW)
    read_pair(files.pair, NOW).verify_directly_issued_by(certificate(files.ca))


def test_a_ca_without_its_key_serves_on_until_something_is_to_be_signed(
    tmp_path: Path, files: DevelopmentFiles
) -> None:
    (files.ca.parent / "ca.key").unlink()
    make_development_files(tmp_path, NAMES, NOW)
    with pytest.raises(CertificateError, match=r"ca\.key cannot be read: No such file"):
        make_development_files(tmp_path, ("other.test",), NOW)


def test_a_write_that_fails_leaves_the_old_file(
    tmp_path: Path, files: DevelopmentFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = all_of(files)

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        make_development_files(tmp_path, ("other.test",), NOW)
    assert all_of(files) == before


def test_the_names_are_those_of_this_machine_of_aws_and_of_the_settings_once_each() -> None:
    names = certificates.development_names("eu-1", ("0.0.0.0", "", "kvs.test", "localhost", "::"))
    aws = ("kinesisvideo.eu-1.amazonaws.com", "*.kinesisvideo.eu-1.amazonaws.com")
    assert names == ("localhost", "127.0.0.1", "::1", *aws, "kvs.test")


def encrypted() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )


def rsa_key() -> bytes:
    key = rsa.generate_private_key(65537, 2048)
    form = serialization.PrivateFormat.TraditionalOpenSSL
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        (rsa_key, r"server\.key is not the key of .*server\.pem"),
        (encrypted, r"server\.key has a passphrase; it must have none"),
        (lambda: b"no key", r"server\.key holds no PEM private key"),
    ],
)
def test_a_key_that_cannot_serve_is_told(files: DevelopmentFiles, key: object, sentence: str) -> None:
    files.pair.key.write_bytes(key())  # type: ignore[operator]
    with pytest.raises(CertificateError, match=sentence) as caught:
        read_pair(files.pair, NOW)
    assert caught.value.is_key


def test_a_certificate_that_cannot_serve_is_told(tmp_path: Path, files: DevelopmentFiles) -> None:
    with pytest.raises(CertificateError, match=r"server\.pem ended on 2027-06-05"):
        read_pair(files.pair, NOW + 397 * DAY)
    with pytest.raises(CertificateError, match=r"server\.pem is valid from 2026-05-04 only"):
        read_pair(files.pair, NOW - DAY)
    with pytest.raises(CertificateError, match=r"nothing\.pem cannot be read: No such file"):
        read_pair(Pair(tmp_path / "nothing.pem", files.pair.key), NOW)
    with pytest.raises(CertificateError, match=r"server\.key holds no PEM certificate") as caught:
        read_pair(Pair(files.pair.key, files.pair.key), NOW)
    assert not caught.value.is_key


def test_the_names_of_a_certificate_are_its_alternative_ones(files: DevelopmentFiles) -> None:
    assert certificates.names(certificate(files.pair.certificate)) == NAMES
    assert certificates.names(certificate(files.ca)) == ()
