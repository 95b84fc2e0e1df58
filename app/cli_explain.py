"""`heliograph explain-access`: which statement decides what a key, a token or a policy may do, and why not."""

import argparse
import json
import re
import time
from collections.abc import Iterator

import msgspec

from app.cli_key import opened, read_policy, require_key
from app.cli_token import load_keys, token_settings
from app.data_folder import keys_folder
from app.exits import CommandError, Exit
from app.settings import Loaded, Settings
from channels.auth import actions
from channels.auth.grant import ACTION_PREFIX, Grant, Match, decide, deciding
from channels.auth.token import TokenVerifier
from channels.errors import ServiceError

_ANY = "*"
_OF_TOKEN = "the token"  # noqa: S105  # words
_SERVICES = (ACTION_PREFIX.rstrip(":"), "kvs")
_LISTING = "ListSignalingChannels"
_NO_TIME = re.compile(r"arn:[^:]*:kinesisvideo:[^:]*:[^:]*:channel/[^/]+/?")
_ACCOUNT = re.compile(r"arn:[^:]*:kinesisvideo:[^:]*:([0-9]{12}):")


class _Asked(msgspec.Struct, frozen=True):
    """Whose rights are asked about, in words, and what is asked."""

    whose: str
    grant: Grant
    action: str
    resource: str

    def decider(self) -> tuple[str, Match | None]:
        """Whose statement decides, and which; a session's own are asked first, then those of its access key."""
        match = deciding(self.grant.statements, self.action, self.resource)
        boundary = self.grant.boundary
        if boundary is None or match is None or not match.statement.is_allowed:
            return self.whose, match
        bound = deciding(boundary, self.action, self.resource)
        if bound is None or not bound.statement.is_allowed:
            return f"access key {self.grant.key_id}", bound
        return self.whose, match


def run(arguments: argparse.Namespace, loaded: Loaded) -> Exit:
    """Print which statement decides, and hints; the exit code says whether it is allowed."""
    if arguments.arn != _ANY and not arguments.arn.startswith("arn:"):
        raise CommandError(
            f"--arn {arguments.arn} is neither an ARN nor *; `heliograph channel describe` shows a channel's",
            Exit.USAGE,
        )
    action = _action(arguments.action)
    whose, grant = _grant(arguments, loaded.settings)
    asked = _Asked(whose, grant, action, arguments.arn)
    decision = decide(grant, asked.action, asked.resource)
    if arguments.json:
        print(json.dumps(_shown(asked, decision.is_allowed)))
    else:
        effect = "allowed" if decision.is_allowed else "refused"
        print(f"{effect}: {ACTION_PREFIX}{asked.action} on {asked.resource}")
        print(_told(*asked.decider()))
        for hint in _hints(asked, decision.is_allowed):
            print(f"hint: {hint}")
    return Exit.OK if decision.is_allowed else Exit.REFUSED


def _action(text: str) -> str:
    """The name of the action, without prefix. Raises: CommandError for a name of nothing, with the nearest."""
    service = text.rpartition(":")[0]
    if service and service.lower() not in _SERVICES:
        raise CommandError(f"--action: {text} is of another service than {_SERVICES[0]}", Exit.USAGE)
    name = actions.nearest(text)
    if name.lower() == text.rpartition(":")[2].lower():
        return name
    wanted = ACTION_PREFIX + text.rpartition(":")[2]
    advice = actions.advice(wanted) or f"{wanted} is a pattern: ask about one action"
    raise CommandError(f"--action: {advice}", Exit.USAGE)


def _grant(arguments: argparse.Namespace, settings: Settings) -> tuple[str, Grant]:
    if arguments.policy:
        return "the policy", Grant("policy", settings.account, read_policy(arguments.policy).statements, 0.0)
    with opened(settings) as access:
        if arguments.key:
            return f"access key {arguments.key}", require_key(access, arguments.key).grant()
        keys = load_keys(keys_folder(settings))
        verifier = TokenVerifier(keys, token_settings(settings), admit=access.ring.admit)
        try:
            return _OF_TOKEN, verifier.verify(arguments.jwt, time.time())
        except ServiceError as error:
            raise CommandError(f"--token: {error.message} [{error.code}]", Exit.REFUSED) from None


def _shown(asked: _Asked, is_allowed: bool) -> dict[str, object]:
    whose, match = asked.decider()
    statement = None
    if match is not None:
        statement = {
            "sid": match.statement.sid,
            "effect": "Allow" if match.statement.is_allowed else "Deny",
            "action": match.action,
            "resource": match.resource,
        }
    return {
        "allowed": is_allowed,
        "action": ACTION_PREFIX + asked.action,
        "arn": asked.resource,
        "subject": asked.grant.subject,
        "decided_by": whose,
        "statement": statement,
        "hints": list(_hints(asked, is_allowed)),
    }


def _told(whose: str, match: Match | None) -> str:
    if match is None:
        return f"no statement of {whose} covers it"
    effect = "allows" if match.statement.is_allowed else "denies"
    statement = "the scope" if whose == _OF_TOKEN else match.statement.sid
    return f"{statement} of {whose} {effect} it: action {match.action}, resource {match.resource}"


def _hints(asked: _Asked, is_allowed: bool) -> Iterator[str]:
    """What may be another than meant."""
    resource, grant = asked.resource, asked.grant
    if asked.action == _LISTING and resource != _ANY:
        yield f"the service asks for {_LISTING} on *"
    if _NO_TIME.fullmatch(resource):
        yield "this ARN lacks the creation time: a channel's is .../channel/NAME/DIGITS"
    account = _ACCOUNT.match(resource)
    if account is not None and account[1] != grant.account:
        yield f"the ARN is of account {account[1]}, but {asked.whose} of {grant.account}: it sees its own channels only"
    if asked.decider()[1] is None:
        yield from _short_patterns(asked)
    if is_allowed and grant.client_id is not None and asked.action == "ConnectAsViewer":
        yield f"only under the client id {grant.client_id}"


def _short_patterns(asked: _Asked) -> Iterator[str]:
    """Patterns that would cover the ARN if they went on to its end, or did not name another time at it."""
    for statement in (*asked.grant.statements, *(asked.grant.boundary or ())):
        for pattern in statement.resources:
            channel, _, time_of_creation = pattern.rstrip("/").rpartition("/")
            has_time = time_of_creation.isdecimal()
            wider = f"{channel if has_time else pattern.rstrip('/')}/*"
            widened = msgspec.structs.replace(statement, resources=(wider,))
            if statement.is_allowed and deciding((widened,), asked.action, asked.resource):
                fault = "is of another creation time" if has_time else "lacks the creation time"
                yield f"{statement.sid} names {pattern}, which {fault}: write {wider}"
