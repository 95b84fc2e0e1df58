"""AWS Signature Version 4: what a request claims, whether it is in time, whether the signature is right; and signing.

Two forms: an Authorization header (REST calls), or X-Amz-* parameters of the query (websockets). Pure: the caller
brings the clock, finds the key and decides. Source: AWS General Reference, "Authenticating requests".
"""

import datetime
import hmac
import re
from collections.abc import Sequence
from urllib.parse import parse_qsl, urlsplit, urlunsplit

import msgspec

from channels.auth import canonical
from channels.auth.canonical import (
    ALGORITHM,
    EMPTY_HASH,
    SERVICE,
    SIGNATURE_PARAMETER,
    TERMINATOR,
    Headers,
    SignedRequest,
)
from channels.errors import IncompleteSignatureException, InvalidArgumentException, InvalidSignatureException

SKEW_S = 300.0  # how far the clocks may differ, and how long a signature is good
EXPIRES_LIMIT_S = 604_800  # seven days: what the C SDK asks for; it is good for SKEW_S all the same
AUTHORIZATION = "authorization"
DATE_HEADER = "x-amz-date"
TOKEN_HEADER = "x-amz-security-token"  # noqa: S105  # the name of a header
CONTENT_HASH_HEADER = "x-amz-content-sha256"
_HOST = "host"
_ALGORITHM_PARAMETER = "X-Amz-Algorithm"
TOKEN_PARAMETER = "X-Amz-Security-Token"  # noqa: S105  # the name of a parameter
SIGNATURE_MARKS = frozenset(
    ("x-amz-algorithm", "x-amz-credential", "x-amz-signature")
)  # of a signed query, in lower case
_QUERY_PARTS = (
    _ALGORITHM_PARAMETER,
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-SignedHeaders",
    SIGNATURE_PARAMETER,
)
_QUERY_NAMES = frozenset((*_QUERY_PARTS, TOKEN_PARAMETER))
_AUTHORIZATION_PARTS = ("Credential", "SignedHeaders", "Signature")
_SHAPES = {
    "access key id": re.compile(r"[A-Za-z0-9_-]{1,128}", re.ASCII),
    "date": re.compile(r"[0-9]{8}", re.ASCII),
    "region": re.compile(r"[a-z0-9-]{1,64}", re.ASCII),
}
_AMZ_DATE = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})T([0-9]{2})([0-9]{2})([0-9]{2})Z", re.ASCII)
_SIGNATURE = re.compile(r"[0-9a-f]{64}", re.ASCII)
_SECONDS = re.compile(r"[0-9]{1,6}", re.ASCII)
_DEFAULT_PORTS = {"https": 443, "wss": 443, "http": 80, "ws": 80}


class Credentials(msgspec.Struct, frozen=True):
    """What a client signs with; `session_token` is empty for a long-lived key."""

    access_key_id: str
    secret_access_key: str
    session_token: str = ""

    def __repr__(self) -> str:
        return f"Credentials({self.access_key_id!r}, ***)"


class Signature(msgspec.Struct, frozen=True):
    """What a signed request claims; nothing of it is true before `matches` says so.

    `headers` are the signed ones in the client's order with their values; `instant` is X-Amz-Date in epoch seconds;
    `expires_s` is None in the header form.
    """

    access_key_id: str
    date: str
    region: str
    service: str
    headers: Headers
    amz_date: str
    instant: int
    expires_s: int | None
    session_token: str | None
    signature: str

    @property
    def scope(self) -> str:
        """The scope as it is signed."""
        return f"{self.date}/{self.region}/{self.service}/{TERMINATOR}"

    @property
    def signed_headers(self) -> str:
        """The names of the signed headers as the client listed them."""
        return ";".join(name for name, _ in self.headers)

    def __repr__(self) -> str:
        return f"Signature({self.access_key_id!r}, {self.amz_date!r}, {self.signed_headers!r}, ***)"


def parse(request: SignedRequest) -> Signature:
    """Read what a request claims.

    Raises: IncompleteSignatureException naming the part that is missing, malformed or there twice;
    InvalidArgumentException for a request that is signed in both forms.
    """
    authorizations = _authorizations(request)
    pairs = canonical.pairs(request.query)
    in_query = _has_marks(pairs)
    if len(authorizations) + in_query > 1:
        raise InvalidArgumentException("the request carries more than one credential: send one signature")
    values = _headers(request)
    if authorizations:
        parts = _authorization_parts(authorizations[0])
        amz_date, expires_s, token = _only(values, DATE_HEADER), None, None
    elif in_query:
        parameters = _query_parts(pairs)
        parts = {name: parameters[f"X-Amz-{name}"] for name in _AUTHORIZATION_PARTS}
        amz_date, expires_s = parameters["X-Amz-Date"], _seconds(parameters["X-Amz-Expires"])
        token = parameters.get(TOKEN_PARAMETER)
    else:
        raise IncompleteSignatureException("the request is not signed")
    access_key_id, date, region, service = _credential(parts["Credential"])
    if not _SIGNATURE.fullmatch(parts["Signature"]):
        raise IncompleteSignatureException("Signature must be 64 lower-case hexadecimal digits")
    return Signature(
        access_key_id,
        date,
        region,
        service,
        _signed(parts["SignedHeaders"], values),
        amz_date,
        _instant(amz_date),
        expires_s,
        _token(token, values),
        parts["Signature"],
    )


def check_scope(signature: Signature, regions: Sequence[str] = ()) -> None:
    """Do nothing when the signature is for this service, one of `regions` (none: any) and the day of its own date.

    Raises: InvalidSignatureException with the words of AWS.
    """
    if signature.service != SERVICE:
        raise InvalidSignatureException(f"Credential should be scoped to correct service: '{SERVICE}'.")
    if regions and signature.region not in regions:
        raise InvalidSignatureException(f"Credential should be scoped to a valid region: one of {', '.join(regions)}.")
    if signature.date != signature.amz_date[:8]:
        raise InvalidSignatureException(
            f"Date in Credential scope does not match X-Amz-Date: {signature.date} is not of {signature.amz_date}."
        )


def check_time(signature: Signature, now_wall: float) -> None:
    """Do nothing when the signature is good at `now_wall` (epoch seconds).

    Clocks may differ by five minutes. A query is good for what it asks, and for five minutes at most.

    Raises: InvalidSignatureException. The C SDK looks for the words, then sets its clock by the answer's Date.
    """
    if signature.instant - now_wall > SKEW_S:
        raise InvalidSignatureException(
            f"Signature not yet current: {signature.amz_date} is still later than {amz_date(now_wall + SKEW_S)} "
            f"({amz_date(now_wall)} + 5 min.)"
        )
    good_s = SKEW_S if signature.expires_s is None else min(signature.expires_s, SKEW_S)
    if now_wall - signature.instant > good_s:
        raise InvalidSignatureException(
            f"Signature expired: {signature.amz_date} is now earlier than {amz_date(now_wall - good_s)} "
            f"({amz_date(now_wall)} - {good_s:g} s)"
        )


def payload_hash(request: SignedRequest, body: bytes) -> str:
    """The hash of the body, which is what the request says of it, where it says so.

    Raises: InvalidSignatureException; also for UNSIGNED-PAYLOAD and the streaming forms.
    """
    found = canonical.hash_of(body) if body else EMPTY_HASH
    for name, value in request.headers:
        if name == CONTENT_HASH_HEADER and value.strip(" ") != found:
            _refuse_content_hash(value)
    return found


def matches(signature: Signature, request: SignedRequest, signing_key: bytes, payload_hash: str) -> bool:
    """Whether the holder of `signing_key` signed this request. Every comparison takes the same time."""
    scope = signature.scope
    for form in canonical.canonical_requests(request, signature.headers, payload_hash):
        text = canonical.string_to_sign(signature.amz_date, scope, form)
        if hmac.compare_digest(canonical.sign(signing_key, text), signature.signature):
            return True
    return False


def canonical_hashes(signature: Signature, request: SignedRequest, payload_hash: str) -> tuple[str, ...]:
    """The SHA-256 of each canonical form that was tried, for whoever looks for the difference."""
    forms = canonical.canonical_requests(request, signature.headers, payload_hash)
    return tuple(canonical.hash_of(form.encode("latin-1", "backslashreplace")) for form in forms)


def sign(request: SignedRequest, body: bytes, credentials: Credentials, region: str, now_wall: float) -> dict[str, str]:
    """Return the headers to add to a request that has a `host` header; all its headers and the new ones are signed."""
    moment = amz_date(now_wall)
    added = {DATE_HEADER: moment}
    if credentials.session_token:
        added[TOKEN_HEADER] = credentials.session_token
    headers = tuple(sorted((name, canonical.collapse(value)) for name, value in (*request.headers, *added.items())))
    form = next(canonical.canonical_requests(request, headers, canonical.hash_of(body)))
    scope, signature = _scope_and_signature(credentials, region, moment, form)
    names = ";".join(name for name, _ in headers)
    added[AUTHORIZATION] = (
        f"{ALGORITHM} Credential={credentials.access_key_id}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    return added


def presign(url: str, credentials: Credentials, region: str, now_wall: float, expires_s: int = 299) -> str:
    """Return `url`, of a websocket or for GET, with the parameters that sign it."""
    parts = urlsplit(url)
    moment = amz_date(now_wall)
    scope = f"{moment[:8]}/{region}/{SERVICE}/{TERMINATOR}"
    parameters = [
        *parse_qsl(parts.query, keep_blank_values=True),
        (_ALGORITHM_PARAMETER, ALGORITHM),
        ("X-Amz-Credential", f"{credentials.access_key_id}/{scope}"),
        ("X-Amz-Date", moment),
        ("X-Amz-Expires", str(expires_s)),
        ("X-Amz-SignedHeaders", _HOST),
    ]
    if credentials.session_token:
        parameters.append((TOKEN_PARAMETER, credentials.session_token))
    encoded = sorted((canonical.encode(name), canonical.encode(value)) for name, value in parameters)
    query = "&".join(f"{name}={value}" for name, value in encoded)
    request = SignedRequest("GET", parts.path or "/", query, ())
    form = next(canonical.canonical_requests(request, ((_HOST, host_of(url)),), EMPTY_HASH))
    _, signature = _scope_and_signature(credentials, region, moment, form)
    return urlunsplit((*parts[:2], parts.path or "/", f"{query}&{SIGNATURE_PARAMETER}={signature}", ""))


def host_of(url: str) -> str:
    """The Host header that a client sends with `url`: without the port where it is the scheme's own."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    if parts.port is None or parts.port == _DEFAULT_PORTS.get(parts.scheme):
        return host
    return f"{host}:{parts.port}"


def amz_date(now_wall: float) -> str:
    """Epoch seconds as X-Amz-Date has them."""
    return datetime.datetime.fromtimestamp(now_wall, datetime.UTC).strftime("%Y%m%dT%H%M%SZ")


def _scope_and_signature(credentials: Credentials, region: str, moment: str, form: str) -> tuple[str, str]:
    scope = f"{moment[:8]}/{region}/{SERVICE}/{TERMINATOR}"
    key = canonical.signing_key(credentials.secret_access_key, moment[:8], region)
    return scope, canonical.sign(key, canonical.string_to_sign(moment, scope, form))


def _authorizations(request: SignedRequest) -> list[str]:
    return [
        value for name, value in request.headers if name == AUTHORIZATION and value.lstrip(" ").startswith(ALGORITHM)
    ]


def _has_marks(pairs: list[tuple[str, str]]) -> bool:
    return not SIGNATURE_MARKS.isdisjoint([name.lower() for name, _ in pairs])


def _authorization_parts(value: str) -> dict[str, str]:
    algorithm, _, rest = value.strip(" ").partition(" ")
    if algorithm != ALGORITHM:
        raise IncompleteSignatureException(f"the Authorization header must begin with {ALGORITHM}")
    parts: dict[str, str] = {}
    for part in rest.split(","):
        name, equals, text = part.strip(" ").partition("=")
        if not equals or name not in _AUTHORIZATION_PARTS or name in parts:
            raise IncompleteSignatureException(
                "Authorization header requires 'Credential', 'SignedHeaders' and 'Signature', each once and no more"
            )
        parts[name] = text
    for name in _AUTHORIZATION_PARTS:
        if not parts.get(name):
            raise IncompleteSignatureException(f"Authorization header requires '{name}' parameter")
    return parts


def _query_parts(pairs: list[tuple[str, str]]) -> dict[str, str]:
    """The X-Amz-* parameters by name; one that is there twice, in whatever case, is refused."""
    found: dict[str, str] = {}
    seen: set[str] = set()
    for raw_name, value in pairs:
        name = canonical.decode(raw_name)
        lower = name.lower()
        if not lower.startswith("x-amz-"):
            continue
        if lower in seen:
            raise IncompleteSignatureException(f"the query has {name[:64]} more than once")
        seen.add(lower)
        if name in _QUERY_NAMES:
            found[name] = canonical.decode(value)
    for name in _QUERY_PARTS:
        if not found.get(name):
            raise IncompleteSignatureException(f"AWS query-string parameters must include '{name}'")
    if found[_ALGORITHM_PARAMETER] != ALGORITHM:
        raise IncompleteSignatureException(f"{_ALGORITHM_PARAMETER} must be {ALGORITHM}")
    return found


def _headers(request: SignedRequest) -> dict[str, list[str]]:
    values: dict[str, list[str]] = {}
    for name, value in request.headers:
        if name in values:
            values[name].append(value)
        else:
            values[name] = [value]
    return values


def _only(values: dict[str, list[str]], name: str) -> str:
    found = values.get(name, ())
    if len(found) != 1:
        raise IncompleteSignatureException(f"a signed request has one {name} header; this one has {len(found)}")
    return found[0].strip(" ")


def _signed(names: str, values: dict[str, list[str]]) -> Headers:
    """The signed headers; their order and spelling are the client's, since they are part of what is hashed."""
    headers = []
    for name in names.split(";"):
        found = values.get(name)
        if found is None:
            raise IncompleteSignatureException(f"SignedHeaders names '{name[:64]}', which the request does not have")
        if len(found) > 1 and (name == _HOST or name.startswith("x-amz-")):
            raise IncompleteSignatureException(f"the request has more than one {name} header")
        headers.append((name, ",".join([canonical.collapse(value) for value in found])))
    if len({name for name, _ in headers}) < len(headers):
        raise IncompleteSignatureException("SignedHeaders names a header twice")
    if all(name != _HOST for name, _ in headers):
        raise IncompleteSignatureException("SignedHeaders must include 'host'")
    return tuple(headers)


def _credential(text: str) -> tuple[str, str, str, str]:
    parts = text.split("/")
    if len(parts) != 5 or parts[4] != TERMINATOR:  # its five parts
        raise IncompleteSignatureException(f"Credential must be ACCESS_KEY_ID/YYYYMMDD/REGION/{SERVICE}/{TERMINATOR}")
    access_key_id, date, region, service, _ = parts
    for (what, shape), value in zip(_SHAPES.items(), (access_key_id, date, region), strict=True):
        if not shape.fullmatch(value):
            raise IncompleteSignatureException(f"the {what} in Credential is malformed")
    return access_key_id, date, region, service


def _instant(text: str) -> int:
    found = _AMZ_DATE.fullmatch(text)
    try:
        if found is None:
            raise ValueError
        year, month, day, hour, minute, second = map(int, found.groups())
        return int(datetime.datetime(year, month, day, hour, minute, second, tzinfo=datetime.UTC).timestamp())
    except ValueError:
        raise IncompleteSignatureException("X-Amz-Date must be in the form 20060102T150405Z") from None


def _seconds(text: str) -> int:
    seconds = int(text) if _SECONDS.fullmatch(text) else 0
    if not 1 <= seconds <= EXPIRES_LIMIT_S:
        raise IncompleteSignatureException(f"X-Amz-Expires must be a whole number from 1 to {EXPIRES_LIMIT_S}")
    return seconds


def _token(in_query: str | None, values: dict[str, list[str]]) -> str | None:
    """The session token; the C SDK sends its header without signing it, so the caller must hold it to the key."""
    found = values.get(TOKEN_HEADER, ())
    if len(found) + (in_query is not None) > 1:
        raise IncompleteSignatureException("the request carries more than one session token")
    if in_query is not None:
        return in_query
    return found[0].strip(" ") if found else None


def _refuse_content_hash(value: str) -> None:
    if value.strip(" ").upper().startswith(("UNSIGNED", "STREAMING")):
        raise InvalidSignatureException(f"{CONTENT_HASH_HEADER} must be the SHA-256 of the body: sign the body")
    raise InvalidSignatureException(f"The provided '{CONTENT_HASH_HEADER}' header does not match what was computed.")
