"""Bounds of a request's field in words a caller can act on, in place of the schema's: no regular expressions."""

import re
from typing import Any

from msgspec import inspect

_ALPHABET = re.compile(r"\^\[(.*)\][+*](?:\$|\\Z)")


def bounds(request: Any, where: str) -> str | None:
    """Return what the field at `where` (`Tags[...].Key`) of the type `request` may be; None where nothing bounds it."""
    kind: Any = inspect.type_info(request)
    for name in re.sub(r"\[[^\]]*\]", ".[]", where).split("."):
        kind = _inside(_given(kind), name)
    return _words(_given(kind))


def _inside(kind: Any, name: str) -> Any:
    if name == "[]":
        return getattr(kind, "item_type", None)
    fields = getattr(kind, "fields", ())
    return next((field.type for field in fields if field.encode_name == name), None)


def _given(kind: Any) -> Any:
    """The type of a field that may also be null or left out."""
    if isinstance(kind, inspect.UnionType):
        return next((one for one in kind.types if not isinstance(one, inspect.NoneType)), kind)
    return kind


def _words(kind: Any) -> str | None:
    if isinstance(kind, inspect.StrType):
        alphabet = _ALPHABET.fullmatch(kind.pattern or "")
        characters = f" of {' '.join(re.findall('.-.|.', alphabet[1]))}" if alphabet else ""
        return _range(kind.min_length, kind.max_length, f" characters{characters}")
    if isinstance(kind, inspect.IntType | inspect.FloatType):
        return _range(kind.ge, kind.le, "")
    if isinstance(kind, inspect.VarTupleType | inspect.ListType):
        return _range(kind.min_length, kind.max_length, " entries")
    return None


def _range(low: float | None, high: float | None, unit: str) -> str | None:
    if low is None and high is None:
        return None
    if high is None:
        return f"{low} or more{unit}"
    return f"{low or 0} to {high}{unit}"
