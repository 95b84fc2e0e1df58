"""The TLS listener: its context, which takes up certificate files that change while it serves, and its socket."""

import datetime
import logging
import socket
import ssl
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from cryptography import x509

from app import certificates
from app.certificates import CertificateError, Pair
from app.endpoints import SLOT
from app.listen import listen
from app.settings import BY_NAME, Settings, SettingsError
from media.relay.interfaces import detect
from media.relay.placement import WILDCARDS
from media.turn.address import IPV4

log = logging.getLogger(__name__)

HANDSHAKE_S = 10.0
HANDSHAKES = 2_000  # unfinished ones at a time; each keeps about 50 KiB

Stamp = tuple[tuple[int, int, int] | None, ...]


def utc_now() -> datetime.datetime:
    """The wall clock."""
    return datetime.datetime.now(datetime.UTC)


class HandshakeStats(msgspec.Struct):
    """Handshakes that were begun, and connections closed because too many were unfinished."""

    begun: int = 0
    refused: int = 0


class ReloadStats(msgspec.Struct):
    """Changes of the certificate files by what came of them."""

    loaded: int = 0
    refused: int = 0


class _Context(ssl.SSLContext):
    """A server's context that has a bounded number of unfinished handshakes."""

    _stats: HandshakeStats
    _begun: list["weakref.ref[ssl.SSLObject]"]

    @classmethod
    def counted(cls, stats: HandshakeStats) -> "_Context":
        """Return one that counts in `stats`."""
        context = cls(ssl.PROTOCOL_TLS_SERVER)
        context._stats, context._begun = stats, []
        return context

    def wrap_bio(self, *arguments: Any, **more: Any) -> ssl.SSLObject:
        """Begin a handshake. Raises: ConnectionAbortedError, which ends the connection without a word."""
        if len(self._begun) >= HANDSHAKES:
            self._begun = [each for each in self._begun if _is_unfinished(each())]
        if len(self._begun) >= HANDSHAKES:
            self._stats.refused += 1
            raise ConnectionAbortedError("too many handshakes are unfinished")
        self._stats.begun += 1
        begun = super().wrap_bio(*arguments, **more)
        self._begun.append(weakref.ref(begun))
        return begun


def _is_unfinished(handshake: ssl.SSLObject | None) -> bool:
    return handshake is not None and handshake.version() is None


class TlsContext:
    """TLS 1.2 and later with the certificate of `pair`; `refresh` looks whether its files changed.

    `context` is the one to listen with, for good: each handshake takes the certificate that is the newest then.
    `protocols` are those of ALPN (RFC 7301).

    Raises: CertificateError when the pair cannot be served.
    """

    def __init__(
        self, pair: Pair, now: Callable[[], datetime.datetime] = utc_now, protocols: Sequence[str] = ("http/1.1",)
    ) -> None:
        self.handshakes = HandshakeStats()
        self.reloads = ReloadStats()
        self.pair = pair
        self._now = now
        self._protocols = list(protocols)
        self._stamp = self._seen = _stamp(pair)
        self.certificate, self._newest = self._load()
        self.context = self._newest
        self.context.sni_callback = self._choose

    def refresh(self) -> None:
        """Load the files anew once they are other ones and stay the same for two calls: two files change in two steps.

        A pair that cannot be served is told in the log once, and the one before goes on.
        """
        stamp = _stamp(self.pair)
        is_settled, self._seen = stamp == self._seen, stamp
        if stamp == self._stamp or not is_settled:
            return
        self._stamp = stamp
        try:
            self.certificate, self._newest = self._load()
        except CertificateError as error:
            self.reloads.refused += 1
            log.warning("the new certificate is not used", extra={"reason": str(error)})
            return
        self.reloads.loaded += 1
        end = self.certificate.not_valid_after_utc.isoformat()
        log.info("certificate loaded", extra={"serial": f"{self.certificate.serial_number:x}", "ends": end})

    @property
    def public_key_digest(self) -> bytes:
        """SHA-256 of the public key that is served, by which browsers name it."""
        return certificates.public_key_digest(self.certificate)

    def _load(self) -> tuple[x509.Certificate, ssl.SSLContext]:
        certificate = certificates.read_pair(self.pair, self._now())
        context = _Context.counted(self.handshakes)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION  # a client could have us work without end
        context.set_alpn_protocols(self._protocols)
        try:
            context.load_cert_chain(self.pair.certificate, self.pair.key, password="")  # never ask at a terminal
        except (ssl.SSLError, OSError) as error:
            raise CertificateError(f"{self.pair.certificate} is refused by OpenSSL: {error}") from None
        return certificate, context

    def _choose(self, handshake: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        """Hand the newest certificate to a handshake; called for each, with a server name or without."""
        handshake.context = self._newest


def _stamp(pair: Pair) -> Stamp:
    return tuple(_stamp_of(path) for path in (pair.certificate, pair.key))


def _stamp_of(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


class TlsListener(msgspec.Struct, frozen=True):
    """A bound socket that speaks TLS; `ca` is the development CA's certificate, None with given files."""

    socket: socket.socket
    tls: TlsContext
    ca: Path | None = None

    @property
    def port(self) -> int:
        """The TCP port."""
        return int(self.socket.getsockname()[1])


Tls = tuple[TlsContext, Path | None]
"""The context to serve with, and the certificate of the development CA if it made it."""


@contextmanager
def listening(settings: Settings, data_folder: Path) -> Iterator[TlsListener]:
    """Bind the HTTPS port with the given certificate files, or with those of the development CA in the data folder.

    Raises: SettingsError with the setting that is wrong.
    """
    tls, ca = context(settings, data_folder)
    with listen(settings.host, settings.https_port, "https_port") as listener:
        yield TlsListener(listener, tls, ca)


def context(settings: Settings, data_folder: Path) -> Tls:
    """Return the context of the given certificate files, or of those of the development CA, and its certificate.

    Raises: SettingsError with the setting that is wrong.
    """
    pair, ca = files(settings, data_folder)
    try:
        return TlsContext(pair), ca
    except CertificateError as error:
        name = "data_dir" if ca else "tls_key" if error.is_key else "tls_certificate"
        raise SettingsError(f"{BY_NAME[name].key}: {error}") from None


def files(settings: Settings, data_folder: Path) -> tuple[Pair, Path | None]:
    """Return the files to serve with, and the certificate of the development CA where it made them.

    Raises: SettingsError.
    """
    if settings.tls_certificate:
        return Pair(Path(settings.tls_certificate).expanduser(), Path(settings.tls_key).expanduser()), None
    folder = data_folder / certificates.FOLDER
    public = settings.public_host.rpartition(":")[0] if _has_port(settings.public_host) else settings.public_host
    wildcard = settings.endpoint_wildcard.partition(":")[0]
    more = (
        settings.host,
        public.strip("[]"),
        settings.turn_host,
        *settings.turn_advertised_address,
        settings.turn_host_name,
        *_found_addresses(settings),
        wildcard,
        *_names_of_slots(settings.slot_host.partition(":")[0]),
    )
    names = certificates.development_names(settings.region, (*more, *settings.tls_names))
    try:
        made = certificates.make_development_files(data_folder, names, utc_now())
    except CertificateError as error:
        raise SettingsError(f"DATA_DIR: {error}; remove the folder {folder} to have a new CA") from None
    except OSError as error:
        raise SettingsError(f"DATA_DIR: {folder} cannot be used: {error.strerror}") from None
    return made.pair, made.ca


def _names_of_slots(host: str) -> Iterator[str]:
    """The names of all processes, where one with a star has them."""
    label, _, rest = host.partition(".")
    if SLOT in label and rest:
        yield f"*.{rest}"


def _found_addresses(settings: Settings) -> Iterator[str]:
    """Addresses that TURN finds by itself and writes into `turns:` URIs, whose clients look for them here."""
    if settings.turn_advertised_address or settings.turn_host_name or settings.turn_place not in WILDCARDS:
        return
    families = (socket.AF_INET,) if WILDCARDS[settings.turn_place] == IPV4 else (socket.AF_INET, socket.AF_INET6)
    for family in families:
        found = detect(family)
        if found is not None:
            yield found


def _has_port(host: str) -> bool:
    return host.rpartition(":")[2].isdigit() and not host.endswith("]") and ":" in host
