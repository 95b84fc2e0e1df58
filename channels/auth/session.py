"""Sessions: triples of access key id, secret and session token that stock AWS clients sign with; nothing is stored.

The session token is a token of this service. The secret is derived from its `jti`, which is the access key id, with a
key that only the service holds (`skid`): so whoever verifies the token can make the secret again.
"""

import base64
import hmac
from collections.abc import Sequence

import msgspec

from channels.auth import claims as claims_of
from channels.auth import token
from channels.auth.grant import ACTION_PREFIX, Grant
from channels.auth.key_ring import SESSION_LIMIT_S, SESSION_PREFIX, new_id
from channels.auth.token import TokenKey, TokenSettings
from channels.errors import InvalidArgumentException
from channels.names import parse_client_id

TOKEN_LIMIT = 2048  # characters; limit of a common device SDK
_CONTEXT = b"sts"


class SessionRequest(msgspec.Struct, frozen=True):
    """What a session shall be: whose, which actions on which channels (both as in a token), how long.

    `key_id` is the access key whose statements bound it, `parents` the ids of the tokens that it was made from;
    `client_id` is the only viewer client id it may use.
    """

    subject: str
    account: str
    actions: tuple[str, ...]
    channels: tuple[str, ...]
    lifetime_s: float
    client_id: str | None = None
    key_id: str | None = None
    parents: tuple[str, ...] = ()


class SessionCredentials(msgspec.Struct, frozen=True):
    """The triple, and when it ends in epoch seconds."""

    access_key_id: str
    secret_access_key: str
    session_token: str
    expires_at: int

    def __repr__(self) -> str:
        return f"SessionCredentials({self.access_key_id!r}, ***)"


class SessionStats(msgspec.Struct):
    """Plain counters: sessions made, those refused as too long, secrets derived, and secrets of a key that is gone."""

    minted: int = 0
    refused: int = 0
    derived: int = 0
    unknown_key: int = 0


class Sessions:
    """Makes sessions and their secrets. Of `secrets`, shared secrets by kid, the last makes new ones.

    `signing` signs the session tokens; a `TokenVerifier` that knows it verifies them.
    """

    def __init__(self, secrets: Sequence[TokenKey], signing: TokenKey, settings: TokenSettings) -> None:
        self.stats = SessionStats()
        self._settings = settings
        self.replace_keys(secrets, signing)

    def replace_keys(self, secrets: Sequence[TokenKey], signing: TokenKey) -> None:
        """Take these from now on; sessions whose shared secret is not among them end."""
        self._secrets = {key.kid: key.private or b"" for key in secrets}
        self._newest = secrets[-1].kid
        self._signing = signing

    def mint(self, request: SessionRequest, now_wall: float) -> SessionCredentials:
        """Make a session from `now_wall` (epoch seconds) on.

        Raises: InvalidArgumentException for a bad channel or client id, a life over 12 h, or a session token over 2,048
        characters, naming the claim that is too long.
        """
        if not 0 < request.lifetime_s <= SESSION_LIMIT_S:
            raise InvalidArgumentException(f"a session lives {SESSION_LIMIT_S} s at most")
        access_key_id = new_id(SESSION_PREFIX)
        claims = self._claims(request, access_key_id, now_wall)
        text = token.sign(self._signing, claims)
        if len(text) > TOKEN_LIMIT:
            self.stats.refused += 1
            raise InvalidArgumentException(_too_long(claims, len(text)))
        self.stats.minted += 1
        return SessionCredentials(access_key_id, self._derive(self._newest, access_key_id), text, claims.exp)

    def secret_of(self, grant: Grant) -> str | None:
        """The secret of the session whose verified token gave `grant`; None when that is no session of ours."""
        if grant.session_key_id is None or grant.token_id is None:
            return None
        if grant.session_key_id not in self._secrets:
            self.stats.unknown_key += 1
            return None
        self.stats.derived += 1
        return self._derive(grant.session_key_id, grant.token_id)

    def _claims(self, request: SessionRequest, access_key_id: str, now_wall: float) -> claims_of.Claims:
        return claims_of.Claims(
            iss=self._settings.issuer,
            sub=request.subject,
            aud=self._settings.audience,
            exp=int(now_wall + request.lifetime_s),
            iat=int(now_wall),
            jti=access_key_id,
            scope=claims_of.scope(
                [action.replace(ACTION_PREFIX, claims_of.SCOPE_PREFIX, 1) for action in request.actions]
            ),
            channels=tuple(claims_of.channel_pattern(text, request.account) for text in request.channels),
            cid=None if request.client_id is None else parse_client_id(request.client_id),
            account=request.account,
            key=request.key_id,
            parents=request.parents,
            skid=self._newest,
        )

    def _derive(self, kid: str, access_key_id: str) -> str:
        return base64.b64encode(hmac.digest(self._secrets[kid], _CONTEXT + access_key_id.encode(), "sha256")).decode()


def _too_long(claims: claims_of.Claims, length: int) -> str:
    lengths = {
        name: len(msgspec.json.encode(getattr(claims, name))) for name in ("sub", "scope", "channels", "parents", "cid")
    }
    longest = max(lengths, key=lambda name: lengths[name])
    return (
        f"the session token would be {length} characters, over {TOKEN_LIMIT}: the claim {longest} is too long "
        f"({lengths[longest]} characters)"
    )
