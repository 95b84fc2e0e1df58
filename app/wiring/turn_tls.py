"""The certificate of TURN: one for TLS and DTLS, read again when its files change."""

import logging
import ssl
from pathlib import Path

from app.certificates import CertificateError, Pair, names
from app.processes import flatten
from app.settings import SettingsError
from app.tls import TlsContext
from media.relay.certificate import ALPN, CertificatePair
from media.turn_check.verdict import is_named

log = logging.getLogger(__name__)


class TurnTls:
    """What TLS is served with. Raises: SettingsError when the files are of no use."""

    def __init__(self, certificate: str, key: str) -> None:
        self.pair = CertificatePair(Path(certificate), Path(key))
        try:
            self._tls = TlsContext(Pair(self.pair.certificate, self.pair.key), protocols=ALPN)
        except CertificateError as error:
            raise SettingsError(f"TURN_TLS_CERTIFICATE: {error}") from None

    @property
    def context(self) -> ssl.SSLContext:
        """What streams are served with, for good: each handshake takes the newest certificate."""
        return self._tls.context

    def counters(self) -> dict[str, float]:
        """Return the changes of the files by what came of them."""
        return flatten(self._tls.reloads, "certificates")

    def refresh(self) -> bool:
        """Look whether the files changed; True when there is another certificate now."""
        before = self._tls.reloads.loaded
        self._tls.refresh()
        return self._tls.reloads.loaded != before

    def is_for(self, host: str, name: str) -> bool:
        """Tell whether clients that ask for `name`, or without one for `host`, will take the certificate.

        Raises: SettingsError when it is not for the name that was set.
        """
        found = names(self._tls.certificate)
        if is_named(found, name or host):
            return True
        shown = ", ".join(found[:5]) or "nobody"
        if name:
            raise SettingsError(f"TURN_HOST_NAME: {self.pair.certificate} is not for {name}, but for {shown}")
        hint = "set turn_host_name to a name of the certificate that leads here"
        log.warning("turns: is not told to clients", extra={"address": host, "certificate": shown, "hint": hint})
        return False
