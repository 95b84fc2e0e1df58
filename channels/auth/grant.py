"""What a caller may do: statements, and the one function that decides. Pure; knows no token format."""

import re
from functools import lru_cache

import msgspec

ACTION_PREFIX = "kinesisvideo:"


class Statement(msgspec.Struct, frozen=True):
    """One IAM-shaped statement: actions (case-insensitive) and resource ARNs (case-sensitive), `*` and `?` wild."""

    actions: tuple[str, ...]
    resources: tuple[str, ...]
    is_allowed: bool = True
    sid: str = ""


class Grant(msgspec.Struct, frozen=True):
    """Who a request comes from and what it may do, until when.

    `client_id` is the only viewer client id that this grant may use, None for any. `expires_at` is in epoch
    seconds. `token_id` is the `jti` of the token, when it has one. `key_id` is the access key that this grant is of, or
    that its session was made from; then `boundary` holds that key's statements as they are now, and both the grant's
    own and these must allow. `session_key_id` names the key that a session's secret is derived with. Whoever revokes
    one of `credential_ids` ends this grant.
    """

    subject: str
    account: str
    statements: tuple[Statement, ...]
    expires_at: float
    client_id: str | None = None
    token_id: str | None = None
    key_id: str | None = None
    boundary: tuple[Statement, ...] | None = None
    session_key_id: str | None = None
    credential_ids: tuple[str, ...] = ()

    @property
    def root(self) -> str:
        """Whom to count as one: the subject; of sessions, which may be made from each other under ever new subjects,
        the token that the first was made from, or the first that was made from an access key."""
        if self.session_key_id is None:
            return self.subject
        return [text for text in self.credential_ids if text != self.key_id][-1]


class Decision(msgspec.Struct, frozen=True):
    """Outcome of a decision and the reason in words; `sid` names the statement that decided, if any did."""

    is_allowed: bool
    reason: str
    sid: str = ""


@lru_cache(maxsize=4096)
def _pattern(text: str, is_case_sensitive: bool, any_letter: str = ".") -> re.Pattern[str]:
    """What a token holds may be any text: each `*` but the last takes the first fit and never another (`?>`).

    `any_letter` is what a `?` stands for.
    """
    first, *others = ("".join(any_letter if c == "?" else re.escape(c) for c in part) for part in text.split("*"))
    middle = "".join(f"(?>.*?{part})" for part in others[:-1] if part)
    last = f".*{others[-1]}" if others else ""
    return re.compile(first + middle + last, re.DOTALL if is_case_sensitive else re.DOTALL | re.IGNORECASE)


def _covering_action(patterns: tuple[str, ...], full: str) -> str | None:
    return next((pattern for pattern in patterns if _pattern(pattern, False).fullmatch(full)), None)


def _covering_resource(patterns: tuple[str, ...], resource: str) -> str | None:
    return next((pattern for pattern in patterns if _is_resource_of(pattern, resource)), None)


def _is_resource_of(pattern: str, resource: str) -> bool:
    """As `_pattern` has it, without an expression to compile: each camera of a fleet has a token for a channel of its
    own, and compiling costs as much as all else that a connect does.
    """
    if "?" in pattern:
        return _pattern(pattern, True).fullmatch(resource) is not None
    first, *others = pattern.split("*")
    if not others:
        return resource == pattern
    if not resource.startswith(first):
        return False
    last, at = others.pop(), len(first)
    for part in others:
        found = resource.find(part, at)
        if found < 0:
            return False
        at = found + len(part)
    return len(resource) - len(last) >= at and resource.endswith(last)


def covers_action(pattern: str, action: str) -> bool:
    """Whether an action pattern, with prefix, covers `action`, without one."""
    return _pattern(pattern, False).fullmatch(ACTION_PREFIX + action) is not None


class Match(msgspec.Struct, frozen=True):
    """A statement that covers what was asked, and which of its patterns do."""

    statement: Statement
    action: str
    resource: str


def uncovered(
    statements: tuple[Statement, ...], actions: tuple[str, ...], resources: tuple[str, ...]
) -> tuple[str, str] | None:
    """The first of these action patterns, with prefix, and of these resource patterns that together can stand for
    something which no single allow statement covers; None when there are none.

    May name some where a cleverer comparison would not, never the other way round.
    """
    allowing = [statement for statement in statements if statement.is_allowed]
    by_action = {
        action: {number for number, own in enumerate(allowing) if _contains(own.actions, action, False)}
        for action in actions
    }
    by_resource = {
        resource: {number for number, own in enumerate(allowing) if _contains(own.resources, resource, True)}
        for resource in resources
    }
    for action in actions:
        for resource in resources:
            if by_action[action].isdisjoint(by_resource[resource]):
                return action, resource
    return None


def _contains(patterns: tuple[str, ...], inner: str, is_case_sensitive: bool) -> bool:
    """The text of `inner` taken letter by letter: a `*` in it fits only a `*`, a `?` fits a `?` or a `*`."""
    return any(_pattern(outer, is_case_sensitive, "[^*]").fullmatch(inner) for outer in patterns)


def deciding(statements: tuple[Statement, ...], action: str, resource: str) -> Match | None:
    """The statement that decides on `action`, without prefix, on `resource`: a deny, else the first allow.

    None when no statement covers it, which denies it.
    """
    full = ACTION_PREFIX + action
    allowing: Match | None = None
    for statement in statements:
        by_action = _covering_action(statement.actions, full)
        if by_action is None:
            continue
        by_resource = _covering_resource(statement.resources, resource)
        if by_resource is None:
            continue
        if not statement.is_allowed:
            return Match(statement, by_action, by_resource)
        allowing = allowing or Match(statement, by_action, by_resource)
    return allowing


def decide(grant: Grant, action: str, resource: str) -> Decision:
    """Default deny; an explicit deny wins; else any allow. With a boundary, that must allow as well.

    `action` is the operation's name without prefix (`ConnectAsViewer`), `resource` a full ARN or `*`.
    Source: IAM policy evaluation logic.
    """
    decision = _judge(grant.subject, deciding(grant.statements, action, resource), action, resource, "")
    if not decision.is_allowed or grant.boundary is None:
        return decision
    match = deciding(grant.boundary, action, resource)
    bound = _judge(grant.subject, match, action, resource, f" of access key {grant.key_id}")
    return decision if bound.is_allowed else bound


def _judge(subject: str, match: Match | None, action: str, resource: str, whose: str) -> Decision:
    full = ACTION_PREFIX + action
    if match is None:
        return Decision(False, f"{subject} may not {full} on {resource}: no statement{whose} allows it")
    if not match.statement.is_allowed:
        return Decision(False, f"a deny statement{whose} covers {full} on {resource}", match.statement.sid)
    return Decision(True, "allowed", match.statement.sid)
