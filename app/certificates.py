"""X.509 for TLS: a development CA and the server certificate it signs, made once in a folder; and a pair of given files
read and judged. It opens no socket.
"""

import contextlib
import datetime
import ipaddress
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

FOLDER = "tls"
_CA_DAYS = 3650
_SERVER_DAYS = 397  # what browsers accept
_RENEW_DAYS = 30
_EARLIER = datetime.timedelta(hours=1)  # for clients whose clock is behind
_AFFORD = datetime.timedelta(days=_RENEW_DAYS)


class CertificateError(Exception):
    """A certificate or key cannot be used; the sentence names the file. `is_key`: it is the key's fault."""

    def __init__(self, message: str, *, is_key: bool = False) -> None:
        super().__init__(message)
        self.is_key = is_key


class Pair(msgspec.Struct, frozen=True):
    """PEM files of a server: its certificate, with intermediate ones after it, and its key."""

    certificate: Path
    key: Path

    @property
    def names(self) -> tuple[str, str]:
        """The names of both files, as orders for other processes have them."""
        return str(self.certificate), str(self.key)


class DevelopmentFiles(msgspec.Struct, frozen=True):
    """What development mode serves with: `ca` is the certificate that clients trust."""

    ca: Path
    pair: Pair


def read_pair(pair: Pair, now: datetime.datetime) -> x509.Certificate:
    """Return the server certificate of `pair` once it and its key can be served at `now`.

    Raises: CertificateError.
    """
    certificate = _certificate(pair.certificate)
    if _spki(_private_key(pair.key).public_key()) != _spki(certificate.public_key()):
        raise CertificateError(f"{pair.key} is not the key of {pair.certificate}", is_key=True)
    if certificate.not_valid_after_utc <= now:
        raise CertificateError(f"{pair.certificate} ended on {certificate.not_valid_after_utc:%Y-%m-%d}")
    if certificate.not_valid_before_utc > now:
        raise CertificateError(f"{pair.certificate} is valid from {certificate.not_valid_before_utc:%Y-%m-%d} only")
    return certificate


def public_key_digest(certificate: x509.Certificate) -> bytes:
    """SHA-256 of the SubjectPublicKeyInfo, by which browsers name a key."""
    digest = hashes.Hash(hashes.SHA256())
    digest.update(_spki(certificate.public_key()))
    return digest.finalize()


def names(certificate: x509.Certificate) -> tuple[str, ...]:
    """Host names and IP addresses that a certificate is for (RFC 6125, 6.4: its common name counts no more)."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return tuple(str(name.value) for name in found if isinstance(name, x509.DNSName | x509.IPAddress))


def development_names(region: str, more: Iterable[str]) -> tuple[str, ...]:
    """Names and addresses that a development certificate is for: this machine, AWS's names of `region`, and `more`."""
    aws = f"kinesisvideo.{region}.amazonaws.com"
    names = ["localhost", "127.0.0.1", "::1", aws, f"*.{aws}", *more]
    return tuple(dict.fromkeys(name for name in names if name and not _is_unspecified(name)))


def make_development_files(data_folder: Path, names: tuple[str, ...], now: datetime.datetime) -> DevelopmentFiles:
    """Return CA and server certificate in the folder `tls` of the data folder; what is not there is made.

    The server certificate is made anew for other `names` and within 30 days of its end; the CA stays.

    Raises: CertificateError, OSError when the folder cannot be used.
    """
    folder = data_folder / FOLDER
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    files = DevelopmentFiles(folder / "ca.pem", Pair(folder / "server.pem", folder / "server.key"))
    ca_key = folder / "ca.key"
    if not files.ca.exists():  # a key without it comes from a start that was cut off
        _make_ca(files.ca, ca_key, now)
    if not _serves(files, names, now):
        _make_server(files, ca_key, names, now)
    return files


def _is_unspecified(name: str) -> bool:
    return name in ("0.0.0.0", "::")  # compared, not bound


def _certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificates(_read(path))[0]
    except ValueError:
        raise CertificateError(f"{path} holds no PEM certificate") from None


def _private_key(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(_read(path, is_key=True), None)
    except TypeError:
        raise CertificateError(f"{path} has a passphrase; it must have none", is_key=True) from None
    except (ValueError, UnsupportedAlgorithm):
        raise CertificateError(f"{path} holds no PEM private key", is_key=True) from None
    return key  # type: ignore[return-value]  # or any other kind: what is used of it, all have


def _read(path: Path, *, is_key: bool = False) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CertificateError(f"{path} cannot be read: {error.strerror}", is_key=is_key) from None


def _spki(key: object) -> bytes:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    encoded: bytes = key.public_bytes(serialization.Encoding.DER, form)  # type: ignore[attr-defined]  # every kind has
    return encoded


def _serves(files: DevelopmentFiles, names: tuple[str, ...], now: datetime.datetime) -> bool:
    """Whether the server certificate is whole, signed by the CA, for these names and good for a while."""
    try:
        certificate = read_pair(files.pair, now + _AFFORD)
        certificate.verify_directly_issued_by(_certificate(files.ca))
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (CertificateError, ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return False
    return set(found) == set(map(_general_name, names))


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _make_ca(path: Path, key_path: Path, now: datetime.datetime) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(f"Heliograph development CA {secrets.token_hex(4)}")  # told apart in a list of trusted ones
    certificate = (
        _builder(name, name, key.public_key(), now)
        .not_valid_after(now + datetime.timedelta(days=_CA_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    _write(key_path, _pem(key))
    _write(path, certificate.public_bytes(serialization.Encoding.PEM))


def _make_server(files: DevelopmentFiles, ca_key: Path, names: tuple[str, ...], now: datetime.datetime) -> None:
    issuer = read_pair(Pair(files.ca, ca_key), now)
    issuer_id = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    key = ec.generate_private_key(ec.SECP256R1())
    end = min(now + datetime.timedelta(days=_SERVER_DAYS), issuer.not_valid_after_utc)
    certificate = (
        _builder(_name("Heliograph"), issuer.subject, key.public_key(), now)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_id), critical=False)
        .add_extension(x509.SubjectAlternativeName(map(_general_name, names)), critical=False)
        .sign(_private_key(ca_key), hashes.SHA256())
    )
    _write(files.pair.key, _pem(key))  # a pair that was cut off here does not fit and is made anew
    _write(files.pair.certificate, certificate.public_bytes(serialization.Encoding.PEM))


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime.datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _EARLIER)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, data: bytes) -> None:
    """Write a file so that a crash leaves the old one or the new one."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            draft.unlink()
