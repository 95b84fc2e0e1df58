"""Canonical form of a request and what is hashed from it (Signature Version 4). Pure: knows no clock and no caller.

Clients differ in what they call canonical: the JavaScript signer signs `host:443` and sends `host`, a proxy folds
`//`, some re-encode the query that they signed. So there is more than one form to try; the usual one comes first.
Source: AWS General Reference, "Create a signed AWS API request".
"""

import functools
import hashlib
import hmac
import re
from collections.abc import Iterator
from urllib.parse import quote, unquote_to_bytes

import msgspec

from channels.errors import InvalidArgumentException

ALGORITHM = "AWS4-HMAC-SHA256"
SERVICE = "kinesisvideo"  # of all three services of Kinesis Video Streams
TERMINATOR = "aws4_request"
EMPTY_HASH = hashlib.sha256(b"").hexdigest()
SIGNATURE_PARAMETER = "X-Amz-Signature"
TARGET_LIMIT = 8192  # characters of path and query together; a websocket's URL has 8,000
PARAMETERS_LIMIT = 100
_SHORT = 128  # characters
_SIGNATURE_BYTES = SIGNATURE_PARAMETER.encode()
_HTTPS_PORT = ":443"
_SLASHES = re.compile("//+")
_PORT = re.compile(r":[0-9]+\Z")
_BLANKS = re.compile(r"[ \t]+")

Headers = tuple[tuple[str, str], ...]


class SignedRequest(msgspec.Struct, frozen=True):
    """A request as received: `path` and `query` (without `?`) in their raw form, header names in lower case.

    Bytes of the wire stand as Latin-1 characters.
    """

    method: str
    path: str
    query: str
    headers: Headers

    def __repr__(self) -> str:
        return f"SignedRequest({self.method!r}, {self.path!r})"


def hash_of(data: bytes) -> str:
    """SHA-256 in lower-case hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def signing_key(secret: str, date: str, region: str, service: str = SERVICE) -> bytes:
    """Derive the key of one day, region and service from a secret access key; `date` is YYYYMMDD."""
    key = ("AWS4" + secret).encode("utf-8", "surrogatepass")
    for part in (date, region, service, TERMINATOR):
        key = hmac.digest(key, part.encode("utf-8", "surrogatepass"), "sha256")
    return key


def string_to_sign(amz_date: str, scope: str, canonical: str) -> str:
    """What is signed: the time, the scope (`date/region/service/aws4_request`) and the hash of the canonical form."""
    return f"{ALGORITHM}\n{amz_date}\n{scope}\n{hash_of(canonical.encode('latin-1', 'backslashreplace'))}"


def sign(key: bytes, text: str) -> str:
    """The signature of a string to sign, 64 hexadecimal digits."""
    return hmac.digest(key, text.encode("latin-1", "backslashreplace"), "sha256").hex()


def collapse(value: str) -> str:
    """A header value without blanks around it, and with one for each run of them inside."""
    if "  " in value or "\t" in value:
        value = _BLANKS.sub(" ", value)
    return value.strip(" ")


def is_sensible(path: str, query: str) -> bool:
    """Whether path and query are no longer than a client's may be: each form of them costs time, before anybody is
    known."""
    return len(path) + len(query) <= TARGET_LIMIT and query.count("&") < PARAMETERS_LIMIT


def check_size(path: str, query: str) -> None:
    """Do nothing when path and query are sensible. Raises: InvalidArgumentException."""
    if not is_sensible(path, query):
        raise InvalidArgumentException(
            f"path and query must not be over {TARGET_LIMIT} characters, nor have over {PARAMETERS_LIMIT} parameters"
        )


def encode(text: str | bytes) -> str:
    """Percent-encode by RFC 3986: all but the unreserved characters."""
    return quote(text, safe="-_.~")


def pairs(query: str) -> list[tuple[str, str]]:
    """Names and values of a raw query as they stand there."""
    return [part.partition("=")[::2] for part in query.split("&") if part]


def decode(text: str) -> str:
    """The text of a name or value of a query; what is no UTF-8 is replaced, as in every reader of queries here."""
    if "%" not in text and "+" not in text:
        return text
    return _decode_short(text) if len(text) <= _SHORT else _decode(text).decode("utf-8", "replace")


@functools.lru_cache(256)  # of a pure function: ARNs above all; what is secret and has these marks is longer
def _decode_short(text: str) -> str:
    return _decode(text).decode("utf-8", "replace")


def canonical_requests(request: SignedRequest, headers: Headers, payload_hash: str) -> Iterator[str]:
    """Give each canonical form that the client may have meant; `headers` are the signed ones, values collapsed.

    A caller that stops at the first which fits pays for one.
    """
    names = ";".join(name for name, _ in headers)
    for query in _queries(request.query):
        for path in _paths(request.path):
            for lines in _header_lines(headers):
                yield f"{request.method}\n{path}\n{query}\n{lines}\n\n{names}\n{payload_hash}"


def _header_lines(headers: Headers) -> Iterator[str]:
    """The signed headers, one a line; then with the other spelling of the host, where it has one."""
    yield "\n".join(f"{name}:{value}" for name, value in headers)
    host = next((value for name, value in headers if name == "host"), "")
    if host.endswith(_HTTPS_PORT):
        other = host.removesuffix(_HTTPS_PORT)
    elif _PORT.search(host):
        return
    else:
        other = host + _HTTPS_PORT
    yield "\n".join(f"{name}:{other if name == 'host' else value}" for name, value in headers)


def _paths(path: str) -> Iterator[str]:
    """As received, as folded, and as encoded once more, which is the rule of AWS for all services but S3."""
    raw = path or "/"
    yield raw
    folded = _SLASHES.sub("/", raw) if "//" in raw else raw
    if folded != raw:
        yield folded
    encoded = quote(folded, safe="/-_.~", encoding="latin-1", errors="backslashreplace")
    if encoded != folded:
        yield encoded


def _queries(query: str) -> Iterator[str]:
    """Sorted and without the signature: as received, and decoded as this service reads it, then encoded anew."""
    found = pairs(query)
    raw = _joined([pair for pair in found if pair[0] != SIGNATURE_PARAMETER])
    yield raw
    decoded = [(_decode(name), _decode(value)) for name, value in found]
    again = _joined([(encode(name), encode(value)) for name, value in decoded if name != _SIGNATURE_BYTES])
    if again != raw:
        yield again


def _joined(parts: list[tuple[str, str]]) -> str:
    parts.sort()
    return "&".join([f"{name}={value}" for name, value in parts])


def _decode(text: str) -> bytes:
    """A `+` is a blank, as every reader of queries here takes it; what is no UTF-8 stays what it is."""
    return unquote_to_bytes(text.replace("+", " ").encode("latin-1", "backslashreplace"))
