"""Signed request -> Grant: whose access key or session a signature names, and whether it is good. Knows no HTTP server.

An access key is found in the key ring; a session brings its token along, from which its secret is derived. An unknown
key and a wrong signature cost the same, so that nobody learns from the time which keys there are.
"""

import re
from collections import OrderedDict
from collections.abc import Callable, Sequence

import msgspec

from channels.auth import canonical, sigv4
from channels.auth.canonical import SignedRequest
from channels.auth.grant import Grant
from channels.auth.key_ring import SESSION_PREFIX, KeyFinder
from channels.auth.session import Sessions
from channels.auth.sigv4 import Signature
from channels.auth.token import TokenVerifier
from channels.errors import InvalidSignatureException, ServiceError, UnrecognizedClientException

CACHE_ENTRIES = 4096  # of about 200 bytes
_NOBODY = ""  # the id of no key
_NO_SECRET = "this is the secret of no key at all!"  # noqa: S105  # as long as a secret is
_SHOWN = 128  # characters of a path or host
_ID = re.compile(r"[A-Z0-9]{1,128}", re.ASCII)


class SignatureStats(msgspec.Struct):
    """Plain counters: good signatures, of sessions among them, unknown ids, wrong signatures, requests refused for
    another reason, keys derived, and keys forgotten for want of room."""

    verified: int = 0
    sessions: int = 0
    unknown: int = 0
    wrong: int = 0
    refused: int = 0
    derived: int = 0
    evicted: int = 0


class _Claimant(msgspec.Struct, frozen=True):
    """Who a signature says that it is of; without a grant it is nobody."""

    id: str
    secret: str
    grant: Grant | None


class SignatureVerifier:
    """Verifies signed requests. `regions` are those that a scope may name, any when empty.

    Signing keys are remembered by key id, day and region, the one used longest ago forgotten first.
    """

    def __init__(
        self,
        keys: KeyFinder,
        sessions: Sessions,
        tokens: TokenVerifier,
        regions: Sequence[str] = (),
        cache_entries: int = CACHE_ENTRIES,
    ) -> None:
        self.stats = SignatureStats()
        self._keys = keys
        self._sessions = sessions
        self._tokens = tokens
        self._regions = tuple(regions)
        self._cache_entries = cache_entries
        self._signing_keys: OrderedDict[tuple[str, str, str], bytes] = OrderedDict()
        keys.on_removed.append(self.forget)

    def __len__(self) -> int:
        return len(self._signing_keys)

    def verify(
        self, request: SignedRequest, body: bytes, now_wall: float, unless_known: Callable[[], None] | None = None
    ) -> Grant:
        """Return what the signer may do at `now_wall` (epoch seconds).

        `unless_known` is called before a session token that has not passed before is looked at, and may refuse it.

        Raises: IncompleteSignatureException, InvalidArgumentException (two signatures, or more in path and query
        than clients send), InvalidSignatureException (scope, time, body, or the signature itself: then with the hashes
        of what was verified),
        UnrecognizedClientException (no such key, or a session token that is not of it), ExpiredTokenException.
        """
        try:
            canonical.check_size(request.path, request.query)
            signature = sigv4.parse(request)
            sigv4.check_scope(signature, self._regions)
            sigv4.check_time(signature, now_wall)
            payload_hash = sigv4.payload_hash(request, body)
            claimant = self._claimant(signature, now_wall, unless_known)
        except ServiceError:
            self.stats.refused += 1
            raise
        key = self._signing_key(claimant, signature)
        is_good = sigv4.matches(signature, request, key, payload_hash)
        if is_good and claimant.grant is not None:
            self.stats.verified += 1
            self.stats.sessions += signature.session_token is not None
            return claimant.grant
        error = _mismatch(signature, request, payload_hash)
        if claimant.grant is None:
            self.stats.unknown += 1
            raise UnrecognizedClientException(_unknown(signature))
        if signature.session_token is None:
            self._keys.find(_NOBODY)  # for an id that is not there the ring looks into its store: here as well
        self.stats.wrong += 1
        raise error

    def forget(self, access_key_id: str) -> None:
        """Drop the signing keys of a key that was removed."""
        for entry in [entry for entry in self._signing_keys if entry[0] == access_key_id]:
            del self._signing_keys[entry]

    def _claimant(self, signature: Signature, now_wall: float, unless_known: Callable[[], None] | None) -> _Claimant:
        if signature.session_token is not None:
            grant = self._tokens.verify(signature.session_token, now_wall, unless_known)
            return self._session(signature, grant)
        key = self._keys.find(signature.access_key_id)
        if key is None:
            return _Claimant(_NOBODY, _NO_SECRET, None)
        return _Claimant(signature.access_key_id, key.secret, key.grant())

    def _session(self, signature: Signature, grant: Grant) -> _Claimant:
        """The token may come unsigned, so it must be the one of this very access key id."""
        secret = self._sessions.secret_of(grant) if grant.token_id == signature.access_key_id else None
        if secret is None:
            raise UnrecognizedClientException(
                "the session token does not belong to the access key id: take all three parts of one triple"
            )
        return _Claimant(signature.access_key_id, secret, grant)

    def _signing_key(self, claimant: _Claimant, signature: Signature) -> bytes:
        name = (claimant.id, signature.date, signature.region)
        found = self._signing_keys.get(name)
        if found is not None:
            self._signing_keys.move_to_end(name)
            return found
        key = canonical.signing_key(claimant.secret, signature.date, signature.region)
        self.stats.derived += 1
        self._signing_keys[name] = key
        if len(self._signing_keys) > self._cache_entries:
            self._signing_keys.popitem(last=False)
            self.stats.evicted += 1
        return key


def _unknown(signature: Signature) -> str:
    """Shows what looks like an id: some put the secret in its place."""
    shown = f" {signature.access_key_id}" if _ID.fullmatch(signature.access_key_id) else ""
    hint = ": a session needs its session token too" if signature.access_key_id.startswith(SESSION_PREFIX) else ""
    return f"the access key id{shown} is not known here, or was revoked{hint}"


def _mismatch(signature: Signature, request: SignedRequest, payload_hash: str) -> InvalidSignatureException:
    """Says what was verified, by which the caller finds what differs; the hashes give nothing away."""
    hashes = sigv4.canonical_hashes(signature, request, payload_hash)
    form = next(canonical.canonical_requests(request, signature.headers, payload_hash))
    text = canonical.string_to_sign(signature.amz_date, signature.scope, form)
    host = next(value for name, value in signature.headers if name == "host")
    return InvalidSignatureException(
        "The request signature we calculated does not match the signature you provided. Check the secret access key, "
        "and that nothing on the way changed path, query, host, signed headers or body. Verified here: "
        f"{request.method} {request.path[:_SHOWN]}, host {host[:_SHOWN]}, "
        f"signed headers {signature.signed_headers[:256]}, SHA-256 of the canonical request {hashes[0]}, "
        f"of the string to sign {canonical.hash_of(text.encode('latin-1', 'backslashreplace'))}.",
        canonical_hashes=hashes,
    )
