"""How our own clients prove who they are, by a token or by keys that sign, and whose certificates they trust."""

import re
import ssl
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

import msgspec

from channels.auth import sigv4
from channels.auth.canonical import SignedRequest
from channels.auth.sigv4 import Credentials
from channels.errors import UnrecognizedClientException

_TOKEN: Final = re.compile(r"[ -~]*", re.ASCII)


class CertificateFileError(Exception):
    """The file with the certificates to trust is not there or holds none; the text says which."""


class Access(msgspec.Struct, frozen=True):
    """With `credentials` each request is signed for `region`, else it bears `token` (empty: none).

    `ca_file` holds certificates in PEM form that are trusted beside those of the system (empty: none).
    """

    token: str = ""
    credentials: Credentials | None = None
    region: str = "us-west-2"
    ca_file: str = ""

    def __repr__(self) -> str:
        return f"Access({self.credentials or 'token'!r}, {self.region!r}, {self.ca_file!r})"

    def headers(self, url: str, headers: Mapping[str, str], body: bytes, now_wall: float) -> dict[str, str]:
        """Return the headers (lower-case names) of a POST of `body` to `url`: those given and those that prove.

        Raises: UnrecognizedClientException for a token that no header can carry.
        """
        if self.credentials is None:
            return {**headers, **self._bearer()}
        path = urlsplit(url).path or "/"
        named = {"host": sigv4.host_of(url), **headers}
        request = SignedRequest("POST", path, "", tuple(named.items()))
        return named | sigv4.sign(request, body, self.credentials, self.region, now_wall)

    def socket(self, url: str, now_wall: float) -> tuple[str, dict[str, str]]:
        """Return URL and headers that open the websocket `url`. Raises: as `headers`."""
        if self.credentials is None:
            return url, self._bearer()
        return sigv4.presign(url, self.credentials, self.region, now_wall), {}

    def tls(self) -> ssl.SSLContext:
        """What certificates are checked against. Raises: CertificateFileError."""
        context = ssl.create_default_context()
        if self.ca_file:
            try:
                context.load_verify_locations(self.ca_file)
            except ssl.SSLError:
                raise CertificateFileError(f"{self.ca_file} holds no certificate in PEM form") from None
            except OSError as error:
                raise CertificateFileError(f"{self.ca_file} cannot be read: {error.strerror}") from None
        return context

    def _bearer(self) -> dict[str, str]:
        if not _TOKEN.fullmatch(self.token):
            raise UnrecognizedClientException("the token holds characters that no HTTP header may carry")
        return {"authorization": f"Bearer {self.token}"} if self.token else {}
