"""CreateCredentials: a key or a token becomes a session with the same rights or fewer, which AWS clients sign with.

For a key the bound is what that key may do when the session is used, so nothing has to be compared here. For a token
each action on each channel that is asked for must lie within what the token says itself.
"""

import re
import time
from collections.abc import Callable
from typing import Annotated, Protocol

import msgspec
from msgspec import Meta

from app.issued import CreateCredentialsOutput, issued
from app.wire import Caller, Operation
from channels.auth.claims import channel_pattern, full_action
from channels.auth.grant import ACTION_PREFIX, Grant, uncovered
from channels.auth.session import TOKEN_LIMIT, SessionRequest, Sessions
from channels.errors import AccessDeniedException, ExpiredTokenException, InvalidArgumentException
from channels.names import parse_client_id

OPERATION = "CreateCredentials"
_EVERYTHING = ("*",)
_NAME = re.compile(r"[A-Za-z0-9_+=,.@-]{1,64}", re.ASCII)  # as names of role sessions at AWS

_Text = Annotated[str, Meta(min_length=1, max_length=1024)]
_Texts = Annotated[tuple[_Text, ...], Meta(min_length=1, max_length=100)]


class CreateCredentialsInput(msgspec.Struct, frozen=True, rename="camel"):
    """What the session shall be; what is left out is as the caller has it. `subject` is put behind the caller's."""

    duration_seconds: Annotated[int, Meta(ge=900, le=43_200)] = 3600
    scope: _Texts | None = None
    channels: _Texts | None = None
    client_id: Annotated[str, Meta(min_length=1, max_length=256)] | None = None
    subject: Annotated[str, Meta(min_length=1, max_length=64)] | None = None


class Meter(Protocol):
    """Who counts calls: the control plane."""

    def meter(self, operation: str, account: str, *, caller: str) -> None:
        """Count a call. Raises: ClientLimitExceededException."""


class CredentialsApi:
    """The one operation on credentials; `wall` gives epoch seconds."""

    def __init__(self, sessions: Sessions, meter: Meter, wall: Callable[[], float] = time.time) -> None:
        self._sessions = sessions
        self._meter = meter
        self._wall = wall

    @property
    def operations(self) -> tuple[Operation, ...]:
        """CreateCredentials."""
        return (Operation(OPERATION, "/v1/credentials", CreateCredentialsInput, self._create, "heliograph"),)

    async def _create(self, caller: Caller, body: CreateCredentialsInput) -> CreateCredentialsOutput:
        grant = caller.grant
        self._meter.meter(OPERATION, grant.account, caller=grant.root)
        now = self._wall()
        actions, channels = _rights(grant, body)
        made = self._sessions.mint(
            SessionRequest(
                subject=grant.subject if body.subject is None else f"{grant.subject}/{_name(body.subject)}",
                account=grant.account,
                actions=actions,
                channels=channels,
                lifetime_s=_lifetime_s(grant, body.duration_seconds, now),
                client_id=_client_id(grant, body.client_id),
                key_id=grant.key_id,
                parents=tuple(text for text in grant.credential_ids if text != grant.key_id),
            ),
            now,
        )
        caller.event["issued"] = made.access_key_id
        return issued(made)


def _rights(grant: Grant, body: CreateCredentialsInput) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Actions and patterns of ARNs. Raises: AccessDeniedException for more than the caller has."""
    is_key = grant.key_id is not None and grant.token_id is None
    own_actions = _EVERYTHING if is_key else tuple(text for own in grant.statements for text in own.actions)
    own_channels = _EVERYTHING if is_key else tuple(text for own in grant.statements for text in own.resources)
    actions = own_actions if body.scope is None else tuple(map(_action, body.scope))
    # A bare name in a token means no channel, and one that is asked for means its channel: compared as it will stand.
    named = own_channels if body.channels is None else body.channels
    channels = tuple(channel_pattern(text, grant.account) for text in named)
    if not is_key:
        _require_within(grant, actions, channels)
    return actions, channels


def _action(text: str) -> str:
    action = full_action(text if ":" in text else f"kvs:{text}")
    if not action:
        raise InvalidArgumentException(f"scope: {text} is no action of this service")
    return action


def _require_within(grant: Grant, actions: tuple[str, ...], channels: tuple[str, ...]) -> None:
    if not actions or not channels:
        raise AccessDeniedException(f"{grant.subject} may do nothing that it could hand on")
    length = sum(len(text.removeprefix(ACTION_PREFIX)) for text in actions) + sum(map(len, channels))
    if length > TOKEN_LIMIT:  # before they are compared, which takes time for each letter
        raise InvalidArgumentException(
            f"scope and channels have {length} characters, over {TOKEN_LIMIT}: no session token holds them"
        )
    beyond = uncovered(grant.statements, actions, channels)
    if beyond is not None:
        action, channel = beyond
        raise AccessDeniedException(
            f"{grant.subject} may not hand on {action} on {channel}: no statement of its own covers all of it"
        )


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise InvalidArgumentException("subject must be 1 to 64 characters of a-z A-Z 0-9 _ + = , . @ -")
    return text


def _client_id(grant: Grant, wanted: str | None) -> str | None:
    if wanted is None:
        return grant.client_id
    if grant.client_id not in (None, wanted):
        raise AccessDeniedException(f"{grant.subject} may hand on only the client id of its token (cid)")
    return parse_client_id(wanted)


def _lifetime_s(grant: Grant, wanted_s: float, now_wall: float) -> float:
    """No session outlives the token that it was made from."""
    lifetime_s = min(wanted_s, grant.expires_at - now_wall)
    if lifetime_s < 1.0:
        raise ExpiredTokenException("the token has expired: get a new one")
    return lifetime_s
