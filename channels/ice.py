"""Time-limited TURN credentials bound to a channel: mint them, and derive their keys again. Pure; no clock.

The scheme is the TURN REST API's: the user name carries the expiry, the password is an HMAC of the user name, so the
relay needs the secret and no table. KVS shape: `<expiry>:<base64("v1:" + channel ARN [+ ":" + client id])>`.
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
_USERNAME = re.compile(r"([0-9]{1,12}):([A-Za-z0-9+/]+)(={0,2})", re.ASCII)
_ARN_PARTS = 6  # an ARN has five colons


class IceServer(msgspec.Struct, frozen=True):
    """One entry of the ICE answer; `ttl_s` is how long the credential opens new allocations."""

    uris: tuple[str, ...]
    username: str
    password: str
    ttl_s: int

    def __repr__(self) -> str:
        return f"IceServer(uris={self.uris!r}, ttl_s={self.ttl_s})"


class TurnKeys(msgspec.Struct, frozen=True):
    """What a user name proves: the passwords that fit it, the SHA-256 of its channel's ARN, its expiry (epoch s)."""

    passwords: tuple[str, ...]
    channel: bytes
    expires_at: float

    def __repr__(self) -> str:
        return f"TurnKeys(channel={self.channel.hex()}, expires_at={self.expires_at})"


def mint(
    secret: bytes, arn: ChannelArn, client_id: str | None, now_wall: float, ttl_s: int = DEFAULT_TTL_S
) -> tuple[str, str]:
    """Return user name and password, good for new allocations from `now_wall` (epoch seconds) for `ttl_s` seconds.

    The user name has at most 256 characters: the client id, then the ARN itself, give way to make it fit; a long
    channel name is told by its digest (`v2:`).
    """
    expiry = int(now_wall) + ttl_s
    texts = [f"v1:{arn}", f"v2:{base64.urlsafe_b64encode(channel_digest(arn)).decode()}"]
    if client_id is not None:
        texts.insert(0, f"v1:{arn}:{client_id}")
    names = [f"{expiry}:{base64.b64encode(text.encode()).decode()}" for text in texts]
    username = next(name for name in names if len(name) <= USERNAME_LIMIT)
    return username, _password(secret, username, "sha256")


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
    channel = _channel_of(padded)
    if channel is None:
        return None
    names = dict.fromkeys((username, f"{expiry}:{padded}"))
    passwords = tuple(
        _password(secret, name, digest) for name in names for secret in secrets for digest in ("sha256", "sha1")
    )
    return TurnKeys(passwords=passwords, channel=channel, expires_at=float(expiry))


def _password(secret: bytes, username: str, digest: str) -> str:
    return base64.b64encode(hmac.digest(secret, username.encode(), digest)).decode()


def _channel_of(body: str) -> bytes | None:
    try:
        version, _, rest = base64.b64decode(body, validate=True).decode("ascii").partition(":")
        if version == "v1":
            parts = rest.split(":")
            if len(parts) > _ARN_PARTS:
                parse_client_id(":".join(parts[_ARN_PARTS:]))
            return channel_digest(ChannelArn.parse(":".join(parts[:_ARN_PARTS])))
        digest = base64.b64decode(rest, altchars=b"-_", validate=True) if version == "v2" else b""
    except (binascii.Error, UnicodeDecodeError, InvalidArgumentException):
        return None
    return digest if len(digest) == hashlib.sha256().digest_size else None
