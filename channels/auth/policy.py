"""IAM policy documents, JSON as AWS takes it, to statements. Pure; decides nothing.

What cannot be evaluated here (`Condition`, `NotAction`, `NotResource`, principals, policy variables) never widens
rights: an Allow statement with it is left out, a Deny statement is kept without it and so denies more; both with a
warning. A document that IAM would refuse is refused, with the place.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

import msgspec

from channels.auth import actions
from channels.auth.claims import SCOPE_PREFIX
from channels.auth.grant import ACTION_PREFIX, Statement

SIZE_LIMIT = 64 * 1024  # bytes
STATEMENT_LIMIT = 200
VERSIONS = ("2012-10-17", "2008-10-17")
_SID_LIMIT = 128
_NOT_EVALUATED = ("Condition", "NotAction", "NotResource", "Principal", "NotPrincipal")
_ELEMENTS = ("Sid", "Effect", "Action", "Resource", *_NOT_EVALUATED)
_DOCUMENT = ("Version", "Id", "Statement")
_VARIABLE = re.compile(r"\$\{.*\}|\$\{.*", re.DOTALL)  # greedy: a default value in it may hold a brace
_WILD = re.compile(r"[*?]")


class PolicyError(Exception):
    """A document is no policy; the sentence says where and why."""


class Policy(msgspec.Struct, frozen=True):
    """The statements of a document that mean something here, and sentences about what does not."""

    statements: tuple[Statement, ...]
    warnings: tuple[str, ...] = ()


def parse(document: bytes) -> Policy:
    """Read a policy document: at most 64 KiB and 200 statements. Raises: PolicyError."""
    if len(document) > SIZE_LIMIT:
        raise PolicyError(f"the policy has {len(document)} bytes, over {SIZE_LIMIT}")
    content = _object(_load(document), "the policy", _DOCUMENT)
    version = content.get("Version", VERSIONS[1])
    if version not in VERSIONS:
        raise PolicyError(f"Version is {json.dumps(version)}, not {' or '.join(VERSIONS)}")
    if "Statement" not in content:
        raise PolicyError("the policy has no Statement")
    found = content["Statement"]
    entries = found if isinstance(found, list) else [found]
    if len(entries) > STATEMENT_LIMIT:
        raise PolicyError(f"the policy has {len(entries)} statements, over {STATEMENT_LIMIT}")
    reader = _Reader(has_variables=version == VERSIONS[0])
    statements = tuple(reader.read(entries))
    if not any(statement.is_allowed for statement in statements):
        reader.warnings.append("no statement allows anything here")
    return Policy(statements, tuple(reader.warnings))


def _load(document: bytes) -> object:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) < len(pairs):
            names = [name for name, _ in pairs]
            raise PolicyError(f"{next(name for name in names if names.count(name) > 1)} is given twice in one place")
        return made

    try:
        return json.loads(document.decode("utf-8-sig"), object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        raise PolicyError(f"the policy is not JSON: {error}") from None
    except (ValueError, RecursionError):
        raise PolicyError("the policy is not JSON that IAM would take") from None


def _object(value: object, where: str, known: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise PolicyError(f"{where} is no JSON object")
    for name in value:
        if name not in known:
            raise PolicyError(f"{where} has an element {name}, but there are only {', '.join(known)}")
    return value


def _texts(value: object, where: str) -> dict[str, str]:
    """One text or a list of them, by place."""
    found = (
        {f"{where}[{number}]": one for number, one in enumerate(value)} if isinstance(value, list) else {where: value}
    )
    if not found:
        raise PolicyError(f"{where} is empty")
    texts = {place: text for place, text in found.items() if isinstance(text, str) and text}
    for place in found:
        if place not in texts:
            raise PolicyError(f"{place} is no text")
    return texts


class _Reader:
    """Reads statements one by one and gathers warnings."""

    def __init__(self, has_variables: bool) -> None:
        self.warnings: list[str] = []
        self._has_variables = has_variables
        self._sids: set[str] = set()

    def read(self, entries: list[Any]) -> Iterator[Statement]:
        for number, entry in enumerate(entries):
            statement = self._statement(entry, f"Statement[{number}]")
            if statement is not None:
                yield statement

    def _statement(self, entry: object, where: str) -> Statement | None:
        element = _object(entry, where, _ELEMENTS)
        effect = element.get("Effect")
        if effect not in ("Allow", "Deny"):
            raise PolicyError(f"{where}.Effect must be Allow or Deny")
        is_allowed = effect == "Allow"
        sid = self._sid(element, where)
        wanted = self._actions(_either(element, "Action", where))
        resources = self._resources(_either(element, "Resource", where), is_allowed)
        told = f"{where} ({sid})" if sid != where else where
        unused = [name for name in _NOT_EVALUATED if element.get(name, {}) != {}]
        if not wanted:
            self.warnings.append(f"{told} is left out: it is about other services")
            return None
        if unused and is_allowed:
            self.warnings.append(f"{told} is left out: {' and '.join(unused)} cannot be evaluated here")
            return None
        if unused:
            self.warnings.append(f"{told} denies more than it says: {' and '.join(unused)} cannot be evaluated here")
        return Statement(wanted, resources, is_allowed, sid) if resources else None

    def _sid(self, element: dict[str, Any], where: str) -> str:
        sid = element.get("Sid", "")
        if not isinstance(sid, str) or len(sid) > _SID_LIMIT:
            raise PolicyError(f"{where}.Sid is no text of at most {_SID_LIMIT} characters")
        if sid in self._sids:
            raise PolicyError(f"{where}.Sid {sid} is the Sid of another statement, too")
        if sid:
            self._sids.add(sid)
        return sid or where

    def _actions(self, texts: dict[str, str] | None) -> tuple[str, ...]:
        """Those of this service; without Action (there is NotAction) all."""
        if texts is None:
            return ("*",)
        found: list[str] = []
        for place, text in texts.items():
            action = _action(text, place)
            if action is None:
                continue
            found.append(action)
            advice = actions.advice(action)
            if advice:
                self.warnings.append(f"{place}: {advice}")
        return tuple(dict.fromkeys(found))

    def _resources(self, texts: dict[str, str] | None, is_allowed: bool) -> tuple[str, ...]:
        """Without Resource (there is NotResource) all. A policy variable stands for anything: it allows nothing."""
        if texts is None:
            return ("*",)
        found: list[str] = []
        for place, text in texts.items():
            if not text.startswith(("arn:", "*")):
                raise PolicyError(f"{place} {text} is neither an ARN nor *")
            if self._has_variables and "${" in text:
                words = "is left out" if is_allowed else "denies more than it says"
                self.warnings.append(f"{place} {words}: policy variables cannot be evaluated here")
                if is_allowed:
                    continue
                text = _VARIABLE.sub("*", text)  # what is denied instead
            found.append(text)
        return tuple(dict.fromkeys(found))


def _either(element: dict[str, Any], name: str, where: str) -> dict[str, str] | None:
    """The texts under `name` by place; None when there is only its opposite."""
    opposite = "Not" + name
    if (name in element) == (opposite in element):
        raise PolicyError(f"{where} must have either {name} or {opposite}")
    if name in element:
        return _texts(element[name], f"{where}.{name}")
    _texts(element[opposite], f"{where}.{opposite}")
    return None


def _action(text: str, place: str) -> str | None:
    """With the full prefix; None when it is of another service."""
    if text == "*":
        return text
    service, colon, name = text.partition(":")
    if not colon or not service or not name:
        near = actions.nearest(text)
        raise PolicyError(f"{place} {text} names no service: write {ACTION_PREFIX}{near or text}")
    if service.lower() + ":" in (ACTION_PREFIX, SCOPE_PREFIX):
        return ACTION_PREFIX + name
    return text if _WILD.search(service) else None
