"""Claims of a token: what they look like and the Grant they make. Pure; knows no signatures and no clock."""

import functools
from typing import Annotated

import msgspec
from msgspec import Meta

from channels.auth.grant import ACTION_PREFIX, Grant, Statement
from channels.errors import InvalidArgumentException, UnrecognizedClientException
from channels.names import parse_channel_name, parse_client_id

SCOPE_PREFIX = "kvs:"

_Instant = Annotated[int, Meta(ge=0, le=2**53)]  # NumericDate of RFC 7519, 2; whole seconds here
_Account = Annotated[str, Meta(pattern="^[0-9]{12}$")]


class Claims(msgspec.Struct, frozen=True, omit_defaults=True):
    """Claims as they stand in a token: those of RFC 7519, 4.1, and those of this service.

    `scope` holds actions (`kvs:ConnectAsViewer kinesisvideo:Get*`), `channels` ARN patterns, `cid` the only viewer
    client id that the token may use, `account` 12 digits. In the token of a session, `key` is the access key and
    `parents` are the tokens that it was made from, and `skid` is the key that its secret is derived with.
    """

    iss: str
    sub: Annotated[str, Meta(min_length=1)]
    aud: str | list[str]
    exp: _Instant
    nbf: _Instant | None = None
    iat: _Instant | None = None
    jti: str | None = None
    scope: str = ""
    channels: tuple[str, ...] = ()
    cid: str | None = None
    account: _Account | None = None
    key: str | None = None
    parents: tuple[str, ...] = ()
    skid: str | None = None


encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Claims).decode


def decode(payload: bytes) -> Claims:
    """Read claims; those that this service does not know are ignored.

    Raises: UnrecognizedClientException naming the claim that is missing or malformed.
    """
    try:
        claims = _decode(payload)
        if claims.cid is not None:
            parse_client_id(claims.cid)
    except msgspec.ValidationError as error:
        raise UnrecognizedClientException(f"a claim of the token is missing or malformed: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise UnrecognizedClientException("the token's claims are not JSON") from None
    except InvalidArgumentException:
        raise UnrecognizedClientException("a claim of the token is malformed: cid is no client id") from None
    if claims.jti is None and (claims.key or claims.parents or claims.skid):
        raise UnrecognizedClientException("a claim of the token is missing: a session has a jti")
    return claims


def grant(claims: Claims, default_account: str) -> Grant:
    """Turn claims into what they allow: each action of `scope` on each pattern of `channels`, nothing by default."""
    actions = _full_actions(claims.scope)
    statements = (Statement(actions, claims.channels, sid="token"),) if actions and claims.channels else ()
    return Grant(
        subject=claims.sub,
        account=claims.account or default_account,
        statements=statements,
        expires_at=float(claims.exp),
        client_id=claims.cid,
        token_id=claims.jti,
        key_id=claims.key,
        session_key_id=claims.skid,
        credential_ids=tuple(text for text in (claims.jti, *claims.parents, claims.key) if text is not None),
    )


@functools.lru_cache(256)  # of a pure function: those who issue tokens write the same few scopes
def _full_actions(scope: str) -> tuple[str, ...]:
    return tuple(action for text in scope.split() if (action := full_action(text)))


def scope(actions: list[str]) -> str:
    """Join actions, with or without prefix, to a `scope` claim.

    Raises: InvalidArgumentException for one with a blank in it, which would be two when read again.
    """
    for action in actions:
        if action.split() != [action]:
            raise InvalidArgumentException(f"scope: {action!r} is no action: it holds a blank, or nothing")
    return " ".join(action if ":" in action else SCOPE_PREFIX + action for action in actions)


def channel_pattern(text: str, account: str) -> str:
    """Return the ARN pattern meant by `text`: itself, or any incarnation of the channel of this bare name.

    Raises: InvalidArgumentException when it is neither a pattern nor a channel name.
    """
    if text.startswith("arn:") or "*" in text or "?" in text:
        return text
    return f"arn:*:kinesisvideo:*:{account}:channel/{parse_channel_name(text)}/*"


def full_action(text: str) -> str:
    """Give an action its full prefix; empty for what is not of this service (`openid`) and allows nothing here."""
    for prefix in (SCOPE_PREFIX, ACTION_PREFIX):
        if text.lower().startswith(prefix):
            return ACTION_PREFIX + text[len(prefix) :]
    return ""
