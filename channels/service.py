"""Client of the service's REST operations: one POST, one JSON answer, every failure as a typed error."""

import asyncio
import http.client
import re
import socket
import ssl
import time
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from channels import errors
from channels.access import Access, CertificateFileError
from channels.errors import Limit, ServiceError

_TIMEOUT_S: Final = 10.0
_ANSWER_LIMIT: Final = 4 * 1024 * 1024  # a list of 10,000 channels
_SCHEMES: Final = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
_URL: Final = re.compile(r"[!-~]+", re.ASCII)
# Most special first: the first two are OSErrors, RemoteDisconnected is a ConnectionResetError.
_REASONS: Final[tuple[tuple[type[Exception], str], ...]] = (
    (socket.gaierror, "no such host"),
    (TimeoutError, "no answer in time"),
    (ConnectionRefusedError, "connection refused"),
    (ConnectionResetError, "it hung up: is another program listening there? On the HTTPS port write https://"),
    (http.client.HTTPException, "the answer is not HTTP: is another program listening there?"),
    (UnicodeError, "no host can be called so"),
)
_OTHER_NAME: Final = "call the service by a name that its certificate has, or serve it with this one in --tls-names"
_OTHER_TIME: Final = "check the clock of this machine, and the dates of the certificate"
# By OpenSSL's number of the reason (X509_V_ERR_*): a date not reached yet, a date that is over, a host, an address.
_CERTIFICATE_ADVICE: Final = {9: _OTHER_TIME, 10: _OTHER_TIME, 62: _OTHER_NAME, 64: _OTHER_NAME}
_json = msgspec.json.Decoder(dict[str, Any])
_encoder = msgspec.json.Encoder()


class EndpointUnreachableError(Exception):
    """Nothing that speaks this service's protocol answers at the endpoint; the text says what to check."""


class _WireLimit(msgspec.Struct, rename="camel"):
    name: str
    value: float
    retry_after_seconds: float | None = None


def service_error(status: int, code: str, body: dict[str, Any]) -> ServiceError:
    """The error class that an error answer names; an unknown code becomes a ServiceError with the code in its text."""
    message = str(body.get("Message") or body.get("message") or f"the service answered HTTP {status} without a message")
    code = (code or str(body.get("__type") or body.get("code") or "")).split(":")[0].rpartition("#")[2]
    limit: Limit | None = None
    if "limit" in body:
        try:
            wire = msgspec.convert(body["limit"], _WireLimit)
            limit = Limit(wire.name, wire.value, wire.retry_after_seconds)
        except msgspec.ValidationError:
            limit = None
    kind = getattr(errors, code, None)
    if isinstance(kind, type) and issubclass(kind, ServiceError):
        return kind(message, limit)
    return ServiceError(f"{code or 'HTTP ' + str(status)}: {message}", limit)


def _parse(endpoint: str) -> tuple[str, str, int | None, str]:
    """Scheme, host, port and path of an endpoint."""
    try:
        parts = urlsplit(endpoint)
        if parts.hostname and _URL.fullmatch(endpoint):
            return _SCHEMES[parts.scheme], parts.hostname, parts.port, parts.path.rstrip("/")
    except (ValueError, KeyError):
        pass
    missing = ": http:// is missing" if "://" not in endpoint else ""
    raise EndpointUnreachableError(f"the endpoint {endpoint!r} must be a URL like http://127.0.0.1:8080{missing}")


def in_words(error: Exception) -> str:
    """Why nothing came of a connection to an endpoint."""
    if isinstance(error, ssl.SSLError):
        return "TLS does not work there: is it the HTTPS port? If not, write http:// instead of https://"
    for kind, words in _REASONS:
        if isinstance(error, kind):
            return words
    return (error.strerror or "").lower() if isinstance(error, OSError) and error.strerror else "the connection failed"


def untrusted(endpoint: str, error: ssl.SSLCertVerificationError) -> EndpointUnreachableError:
    """What to say of an endpoint whose certificate is not trusted."""
    advice = _CERTIFICATE_ADVICE.get(error.verify_code, "name its CA with --ca-file or HELIOGRAPH_CA_FILE")
    return EndpointUnreachableError(f"the certificate of {endpoint} is not trusted ({error.verify_message}): {advice}")


def tls(access: Access) -> ssl.SSLContext:
    """What certificates are checked against. Raises: EndpointUnreachableError when the CA's file is of no use."""
    try:
        return access.tls()
    except CertificateFileError as error:
        raise EndpointUnreachableError(f"CA_FILE: {error}") from None


class ServiceClient:
    """Calls operations at one endpoint with one access, of which a text is the token; holds no connection open."""

    def __init__(self, endpoint: str, access: Access | str) -> None:
        self._endpoint = endpoint
        self._access = Access(access) if isinstance(access, str) else access
        self._scheme, self._host, self._port, self._prefix = _parse(endpoint)

    def __repr__(self) -> str:
        return f"ServiceClient({self._endpoint!r})"

    async def call(self, path: str, body: msgspec.Struct | dict[str, Any]) -> dict[str, Any]:
        """POST `body` as JSON to `path` and return the answer.

        Raises: the ServiceError subclass that the answer names; EndpointUnreachableError.
        """
        return await asyncio.to_thread(self._call, path, _encoder.encode(body))

    def _call(self, path: str, body: bytes) -> dict[str, Any]:
        status, headers, answer = self._exchange(path, body)
        try:
            decoded = _json.decode(answer) if answer else {}
        except (msgspec.DecodeError, UnicodeError):
            raise EndpointUnreachableError(
                f"{self._endpoint} answered HTTP {status} without JSON: is another program listening there?"
            ) from None
        if status == http.client.OK:
            return decoded
        code = headers.get("x-amzn-ErrorType", "")
        if not (code or decoded.get("__type") or decoded.get("code")):
            raise EndpointUnreachableError(
                f"{self._endpoint} answered HTTP {status} without an error code: is another program listening there?"
            )
        raise service_error(status, code, decoded)

    def _exchange(self, path: str, body: bytes) -> tuple[int, http.client.HTTPMessage, bytes]:
        given = {"content-type": "application/json", "connection": "close"}
        path = self._prefix + path
        headers = self._access.headers(f"{self._scheme}://{self._place}{path}", given, body, time.time())
        connection = self._connection()
        try:
            connection.request("POST", path, body, headers)
            response = connection.getresponse()
            return response.status, response.headers, response.read(_ANSWER_LIMIT)
        except ssl.SSLCertVerificationError as error:
            raise untrusted(self._endpoint, error) from None
        except (OSError, http.client.HTTPException, UnicodeError) as error:  # UnicodeError: no host may be called so
            raise EndpointUnreachableError(
                f"no service answers at {self._endpoint} ({in_words(error)}): check that it runs, host and port"
            ) from None
        finally:
            connection.close()

    @property
    def _place(self) -> str:
        host = f"[{self._host}]" if ":" in self._host else self._host
        return host if self._port is None else f"{host}:{self._port}"

    def _connection(self) -> http.client.HTTPConnection:
        if self._scheme != "https":
            return http.client.HTTPConnection(self._host, self._port, timeout=_TIMEOUT_S)
        return http.client.HTTPSConnection(self._host, self._port, timeout=_TIMEOUT_S, context=tls(self._access))
