"""Time-limited TURN credentials bound to a channel: mint them, and derive their keys again. Pure; no clock.

The scheme is the TURN REST API's: the user name carries the expiry, the password is an HMAC of the user name, so the
relay needs the secret and no table. KVS shape: `<expiry>:<base64("v1:" + channel ARN [+ ":" + client id])>`. Who got
it with something that can be revoked finds a tag of each such id behind a client id, which may then be empty: so a
revocation finds what hangs on it, without a table as well.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Sequence

import msgspec

from channels.errors import InvalidArgumentException
from channels.names import ChannelArn, parse_client_id

DEFAULT_TTL_S = 300
USERNAME_LIMIT = 256  # KVS API: IceServer, Username
HOLDER_BYTES = 9  # 12 characters without padding; nobody makes ids of his choice, so 72 bits collide by chance alone
MOST_HOLDERS = 8
_USERNAME = re.compile(r"([0-9]{1,12}):([A-Za-z0-9+/]+)(={0,2})", re.ASCII)
_ARN_PARTS = 6  # an ARN has five colons
_TAG_LENGTH = HOLDER_BYTES // 3 * 4
_TAGS = re.compile(rf"(?:[A-Za-z0-9_-]{{{_TAG_LENGTH}}}){{1,{MOST_HOLDERS}}}", re.ASCII)


class IceServer(msgspec.Struct, frozen=True):
    """One entry of the ICE answer; `ttl_s` is how long the credential opens new allocations."""

    uris: tuple[str, ...]
    username: str
    password: str
    ttl_s: int

    def __repr__(self) -> str:
        return f"IceServer(uris={self.uris!r}, ttl_s={self.ttl_s})"


class TurnKeys(msgspec.Struct, frozen=True):
    """What a user name proves: the passwords that fit it, the SHA-256 of its channel's ARN, its expiry (epoch s), and
    the tags of the credentials that it was fetched with.
    """

    passwords: tuple[str, ...]
    channel: bytes
    expires_at: float
    holders: tuple[bytes, ...] = ()

    def __repr__(self) -> str:
        return f"TurnKeys(channel={self.channel.hex()}, expires_at={self.expires_at})"


def mint(
    secret: bytes,
    arn: ChannelArn,
    client_id: str | None,
    now_wall: float,
    ttl_s: int = DEFAULT_TTL_S,
    credential_ids: Sequence[str] = (),
) -> tuple[str, str]:
    """Return user name and password, good for new allocations from `now_wall` (epoch seconds) for `ttl_s` seconds.

    `credential_ids` is what the caller can lose, its own first (`Grant.credential_ids`); of more than 8 the first and
    the last 7 are told. The user name has at most 256 characters: the client id, then the ARN itself, give way to make
    it fit, never the tags; a long channel name is told by its digest (`v2:`).
    """
    expiry = int(now_wall) + ttl_s
    tags = "".join(base64.urlsafe_b64encode(holder_tag(each)).decode() for each in _told(credential_ids))
    digest = base64.urlsafe_b64encode(channel_digest(arn)).decode()
    texts = [f"v1:{arn}::{tags}", f"v2:{digest}:{tags}"] if tags else [f"v1:{arn}", f"v2:{digest}"]
    if client_id is not None:
        texts.insert(0, f"v1:{arn}:{client_id}" + (f":{tags}" if tags else ""))
    names = [f"{expiry}:{base64.b64encode(text.encode()).decode()}" for text in texts]
    username = next(name for name in names if len(name) <= USERNAME_LIMIT)
    return username, _password(secret, username, "sha256")


def _told(credential_ids: Sequence[str]) -> Sequence[str]:
    if len(credential_ids) <= MOST_HOLDERS:
        return credential_ids
    return (credential_ids[0], *credential_ids[1 - MOST_HOLDERS :])


def holder_tag(credential_id: str) -> bytes:
    """The 9 bytes by which a user name and a revocation know an access key, a session or a token."""
    return hashlib.sha256(credential_id.encode()).digest()[:HOLDER_BYTES]


def channel_digest(arn: ChannelArn) -> bytes:
    """The 32 bytes by which quotas and revocation know a channel, whichever form its user names have."""
    return hashlib.sha256(str(arn).encode()).digest()


def turn_keys(username: str, secrets: Sequence[bytes]) -> TurnKeys | None:
    """Every password a holder of `username` may have been given, newest secret first; None for a name of another shape.

    Per secret one password of the KVS shape (HMAC-SHA-256) and one of coturn's (HMAC-SHA-1). A name that lost its
    base64 padding on the way keeps the password it was minted with. The expiry is told, not judged.
    """
    match = _USERNAME.fullmatch(username) if len(username) <= USERNAME_LIMIT else None
    if match is None:
        return None
    expiry, body, _ = match.groups()
    padded = body + "=" * (-len(body) % 4)
    found = _read(padded)
    if found is None:
        return None
    channel, holders = found
    names = dict.fromkeys((username, f"{expiry}:{padded}"))
    passwords = tuple(
        _password(secret, name, digest) for name in names for secret in secrets for digest in ("sha256", "sha1")
    )
    return TurnKeys(passwords, channel, float(expiry), holders)


def coturn_password(secret: bytes, username: str) -> str:
    """Return the password that coturn derives from the same secret (`static-auth-secret`): HMAC-SHA-1."""
    return _password(secret, username, "sha1")


def _password(secret: bytes, username: str, digest: str) -> str:
    return base64.b64encode(hmac.digest(secret, username.encode(), digest)).decode()


def _read(body: str) -> tuple[bytes, tuple[bytes, ...]] | None:
    """The digest of the channel and the tags of the holders; None for a text of another shape."""
    try:
        version, _, rest = base64.b64decode(body, validate=True).decode("ascii").partition(":")
        if version == "v1":
            parts = rest.split(":")
            channel = channel_digest(ChannelArn.parse(":".join(parts[:_ARN_PARTS])))
            holders = _holders_behind(parts[_ARN_PARTS:])
            return None if holders is None else (channel, holders)
        text, colon, tags = rest.partition(":")
        channel = base64.b64decode(text, altchars=b"-_", validate=True) if version == "v2" else b""
        holders = _holders(tags) if colon else ()
    except (binascii.Error, UnicodeDecodeError, InvalidArgumentException):
        return None
    return (channel, holders) if len(channel) == hashlib.sha256().digest_size else None


def _holders_behind(parts: Sequence[str]) -> tuple[bytes, ...] | None:
    """What stands behind the ARN: nothing, a client id, or tags with or without one before them."""
    match parts:
        case []:
            return ()
        case [client_id]:
            parse_client_id(client_id)
            return ()
        case [client_id, tags]:
            if client_id:
                parse_client_id(client_id)
            return _holders(tags)
    return None


def _holders(tags: str) -> tuple[bytes, ...]:
    """Raises: InvalidArgumentException."""
    if not _TAGS.fullmatch(tags):
        raise InvalidArgumentException("no tags")
    raw = base64.urlsafe_b64decode(tags)
    return tuple(raw[start : start + HOLDER_BYTES] for start in range(0, len(raw), HOLDER_BYTES))
