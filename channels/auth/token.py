"""JSON Web Tokens: mint and verify, claims to Grant. The one home of the JWT library; knows no files and no HTTP.

Every key has exactly one algorithm, and the token's header never chooses it (RFC 8725, 3.1).
"""

import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jwt
import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt import algorithms as jwk

from channels.auth import claims as claims_of
from channels.auth import jws
from channels.auth.grant import Grant
from channels.errors import (
    ExpiredTokenException,
    InvalidArgumentException,
    ServiceError,
    UnrecognizedClientException,
)
from channels.names import parse_client_id

TOKEN_LIMIT = 8 * 1024  # bytes; the library itself takes tokens of any size
HMAC_KEY_BYTES = 32  # RFC 7518, 3.2: a key as long as the hash
RSA_KEY_BITS = 2048
CACHE_ENTRIES = 10_000

Admit = Callable[[Grant], Grant]
"""Returns a grant as it is now. Raises: UnrecognizedClientException when it is no longer good."""

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey


class TokenKeyError(Exception):
    """A key that tokens must not be signed or verified with; the text says which and what to do."""


class TokenKey(msgspec.Struct, frozen=True):
    """One key: its id, its only algorithm, and its material.

    For HS256 `private` is the secret (32 bytes at least) and `public` is empty; else both are PEM, and `private` is
    None where the key only verifies.
    """

    kid: str
    algorithm: str
    private: bytes | None
    public: bytes

    def __repr__(self) -> str:
        return f"TokenKey({self.kid!r}, {self.algorithm!r}, ***)"


class TokenSettings(msgspec.Struct, frozen=True):
    """Who issues the tokens, for whom, the clock difference taken, and the account of a token that names none."""

    issuer: str = "heliograph"
    audience: str = "heliograph"
    leeway_s: float = 30.0
    account: str = "000000000000"


class _Prepared(msgspec.Struct, frozen=True):
    key: TokenKey
    material: Any  # bytes or a public key object: what the library takes without parsing it again
    codec: jwt.PyJWS


class VerifierStats(msgspec.Struct):
    """Plain counters: tokens verified anew, known from before, refused, and forgotten for want of room."""

    verified: int = 0
    cached: int = 0
    refused: int = 0
    evicted: int = 0


def new_es256_key() -> TokenKey:
    """Make a key for ES256 (P-256); its kid is the start of the public key's digest."""
    private = ec.generate_private_key(ec.SECP256R1())
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private_key(_digest(private.public_key()), pem)


def new_secret_key() -> TokenKey:
    """Make a shared secret of 64 hexadecimal digits; its kid is chance."""
    return secret_key(secrets.token_hex(8), secrets.token_hex(HMAC_KEY_BYTES).encode())


def private_key(kid: str, pem: bytes) -> TokenKey:
    """Read a private key that signs; its type decides the algorithm. Raises: TokenKeyError."""
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise TokenKeyError(f"key {kid}: this is no unencrypted private key in PEM form") from None
    if not isinstance(key, PrivateKey):
        raise TokenKeyError(f"key {kid}: use P-256, Ed25519 or RSA")
    public = key.public_key()
    return TokenKey(kid, _algorithm(kid, public), pem, _public_pem(public))


def public_key(kid: str, pem: bytes) -> TokenKey:
    """Read a public key that only verifies; its type decides the algorithm. Raises: TokenKeyError."""
    return TokenKey(kid, _algorithm(kid, _load_public(kid, pem)), None, pem)


def secret_key(kid: str, secret: bytes) -> TokenKey:
    """Take a shared secret for HS256. Raises: TokenKeyError when it is shorter than 32 bytes."""
    if len(secret) < HMAC_KEY_BYTES:
        raise TokenKeyError(f"key {kid}: an HS256 secret has {HMAC_KEY_BYTES} bytes at least, this one {len(secret)}")
    return TokenKey(kid, "HS256", secret, b"")


def mint(  # noqa: PLR0913  # a token has this many independent parts; all but two by keyword
    key: TokenKey,
    settings: TokenSettings,
    *,
    subject: str,
    actions: Iterable[str],
    channels: Iterable[str],
    client_id: str | None = None,
    now_wall: float,
    lifetime_s: float,
) -> str:
    """Sign a token for `actions` (names with or without prefix, `*` wild) on `channels` (ARN patterns or names).

    `client_id` is the only viewer client id the token may use, None for any. `now_wall` is in epoch seconds.

    Raises: InvalidArgumentException for a bad channel or client id, or a token over 8 kB; TokenKeyError when the key
    only verifies.
    """
    claims = claims_of.Claims(
        iss=settings.issuer,
        sub=subject,
        aud=settings.audience,
        exp=int(now_wall + lifetime_s),
        iat=int(now_wall),
        jti=secrets.token_hex(12),
        scope=claims_of.scope(list(actions)),
        channels=tuple(claims_of.channel_pattern(text, settings.account) for text in channels),
        cid=None if client_id is None else parse_client_id(client_id),
        account=settings.account,
    )
    token = sign(key, claims)
    if len(token) > TOKEN_LIMIT:
        raise InvalidArgumentException(
            f"the token would be {len(token)} bytes, over {TOKEN_LIMIT}: name fewer channels"
        )
    return token


def sign(key: TokenKey, claims: claims_of.Claims) -> str:
    """Return the token of these claims, however long. Raises: TokenKeyError when the key only verifies."""
    if key.private is None:
        raise TokenKeyError(f"key {key.kid} only verifies: it cannot sign")
    codec = jwt.PyJWS(algorithms=[key.algorithm])
    return codec.encode(claims_of.encode(claims), key.private, key.algorithm, headers={"kid": key.kid})


class TokenVerifier:
    """Verifies tokens against a set of keys and remembers those that passed, until they expire.

    Remembered are the claims as they were signed: a third of what a grant takes, which counts for a camera each. What
    depends on the time is decided anew, and failures are never remembered. At `cache_entries` the token used longest
    ago is forgotten (`stats.evicted`). `admit` sees every grant before it is given, remembered or not, and refuses what
    was revoked since.

    Raises: TokenKeyError for no key, two of one kid, a weak key, or one that does not fit its algorithm.
    """

    def __init__(
        self,
        keys: Sequence[TokenKey],
        settings: TokenSettings,
        cache_entries: int = CACHE_ENTRIES,
        admit: Admit = lambda grant: grant,
    ) -> None:
        self.stats = VerifierStats()
        self._settings = settings
        self._admit = admit
        self._cache_entries = cache_entries
        self._cache: OrderedDict[bytes, bytes] = OrderedDict()
        self._keys: dict[str, _Prepared] = {}
        self.replace_keys(keys)

    def __len__(self) -> int:
        return len(self._cache)

    def replace_keys(self, keys: Sequence[TokenKey]) -> None:
        """Verify with `keys` from now on and forget every token seen. Raises: TokenKeyError, changing nothing."""
        prepared = {key.kid: _prepare(key) for key in keys}
        if not prepared:
            raise TokenKeyError("there is no key to verify tokens with")
        if len(prepared) < len(keys):
            raise TokenKeyError("two keys have the same kid: rename one")
        self._keys = prepared
        self._cache.clear()

    def verify(self, token: str, now_wall: float, unless_known: Callable[[], None] | None = None) -> Grant:
        """Return what the token allows at `now_wall` (epoch seconds).

        `unless_known` is called before a token that has not passed before is looked at, and may refuse it unheard.

        Raises: ExpiredTokenException (get a new one), UnrecognizedClientException (it was never good here).
        """
        is_too_long = len(token) > TOKEN_LIMIT
        name = b"" if is_too_long else _cache_key(token)
        grant = self._recall(name, now_wall)
        if grant is not None:
            self.stats.cached += 1
            return grant
        if unless_known is not None:
            unless_known()
        if is_too_long:
            self.stats.refused += 1
            raise UnrecognizedClientException(f"the token is over {TOKEN_LIMIT} bytes")
        try:
            payload = self._verify(token)
            grant = self._admit(self._judge(payload, now_wall))
        except ServiceError:
            self.stats.refused += 1
            raise
        self.stats.verified += 1
        self._remember(name, payload)
        return grant

    def jwks(self) -> dict[str, list[dict[str, Any]]]:
        """The public keys as a JSON Web Key Set (RFC 7517); secrets have no place in it."""
        return {"keys": [_public_jwk(prepared) for prepared in self._keys.values() if prepared.key.public]}

    def _recall(self, name: bytes, now_wall: float) -> Grant | None:
        payload = self._cache.get(name)
        if payload is None:
            return None
        try:
            grant = self._admit(self._judge(payload, now_wall))
        except (ExpiredTokenException, UnrecognizedClientException):
            del self._cache[name]  # whoever verifies it anew is told why
            return None
        self._cache.move_to_end(name)
        return grant

    def _remember(self, name: bytes, payload: bytes) -> None:
        self._cache[name] = payload
        if len(self._cache) > self._cache_entries:
            self._cache.popitem(last=False)
            self.stats.evicted += 1

    def _verify(self, token: str) -> bytes:
        """The claims that were signed."""
        prepared = self._choose(token)
        try:
            payload: bytes = prepared.codec.decode(token, prepared.material, [prepared.key.algorithm])
        except jwt.InvalidAlgorithmError:
            raise UnrecognizedClientException("the token's algorithm is not the one of its key") from None
        except jwt.InvalidSignatureError:
            raise UnrecognizedClientException("the token's signature is wrong: another key signed it") from None
        except jwt.PyJWTError:
            raise UnrecognizedClientException(
                "the token is malformed, or its header asks for what is not done"
            ) from None
        return payload

    def _choose(self, token: str) -> _Prepared:
        """The key is named by kid; without a kid it is the only key there is."""
        try:
            kid = jws.key_id(token)
        except jwt.DecodeError:
            raise UnrecognizedClientException("the token is not a JSON Web Token") from None
        if kid is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        if kid is None:
            raise UnrecognizedClientException("the token's header names no key (kid)")
        prepared = self._keys.get(kid)
        if prepared is None:
            raise UnrecognizedClientException("the token's key (kid) is not one of this service")
        return prepared

    def _judge(self, payload: bytes, now_wall: float) -> Grant:
        claims, settings = claims_of.decode(payload), self._settings
        audiences = (claims.aud,) if isinstance(claims.aud, str) else claims.aud
        if settings.audience not in audiences:
            raise UnrecognizedClientException("the token is not for this service (aud)")
        if claims.iss != settings.issuer:
            raise UnrecognizedClientException("the token's issuer is not one of this service (iss)")
        not_before = max(claims.nbf or 0, claims.iat or 0) - settings.leeway_s
        if now_wall < not_before:
            raise UnrecognizedClientException("the token is not valid yet (nbf, iat): check the clocks")
        if now_wall >= claims.exp + settings.leeway_s:
            raise ExpiredTokenException("the token has expired: get a new one")
        return claims_of.grant(claims, settings.account)


def _cache_key(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def _prepare(key: TokenKey) -> _Prepared:
    if key.algorithm == jws.HS256:
        secret = secret_key(key.kid, key.private or b"").private
        try:
            return _Prepared(key, secret, jws.codec(key.algorithm, secret))
        except jwt.InvalidKeyError:
            raise TokenKeyError(f"key {key.kid}: an HS256 secret must not be the text of another kind of key") from None
    material = _load_public(key.kid, key.public)
    if _algorithm(key.kid, material) != key.algorithm:
        raise TokenKeyError(f"key {key.kid}: its type does not fit {key.algorithm}")
    return _Prepared(key, material, jws.codec(key.algorithm))


def _load_public(kid: str, pem: bytes) -> PublicKey:
    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise TokenKeyError(f"key {kid}: this is no public key in PEM form") from None
    if not isinstance(key, PublicKey):
        raise TokenKeyError(f"key {kid}: use P-256, Ed25519 or RSA")
    return key


def _algorithm(kid: str, key: PublicKey) -> str:
    if isinstance(key, ed25519.Ed25519PublicKey):
        return "EdDSA"
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size < RSA_KEY_BITS:
            raise TokenKeyError(f"key {kid}: an RSA key has {RSA_KEY_BITS} bits at least, this one {key.key_size}")
        return "RS256"
    if not isinstance(key.curve, ec.SECP256R1):
        raise TokenKeyError(f"key {kid}: of elliptic curves only P-256 (ES256) is taken, not {key.curve.name}")
    return "ES256"


def _public_pem(key: PublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def _digest(key: PublicKey) -> str:
    return hashlib.sha256(_public_pem(key)).hexdigest()[:16]


def _public_jwk(prepared: _Prepared) -> dict[str, Any]:
    material = prepared.material
    if isinstance(material, ed25519.Ed25519PublicKey):
        public = jwk.OKPAlgorithm.to_jwk(material, as_dict=True)
    elif isinstance(material, rsa.RSAPublicKey):
        public = jwk.RSAAlgorithm.to_jwk(material, as_dict=True)
    else:
        public = jwk.ECAlgorithm.to_jwk(material, as_dict=True)
    return {**public, "kid": prepared.key.kid, "alg": prepared.key.algorithm, "use": "sig"}
