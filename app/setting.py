"""One setting as a row of a table, and how a text becomes its value. Knows no setting by name but `endpoint`."""

import difflib
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import msgspec
from msgspec import Meta

from app.exits import CommandError, Exit

PREFIX = "HELIOGRAPH_"
HIDDEN = "********"
_TYPO_LIKENESS = 0.85
_TRUTHS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


class SettingsError(CommandError):
    """A setting is wrong; the sentence names its key and what it may be."""

    def __init__(self, message: str) -> None:
        super().__init__(message, Exit.USAGE)


class Field(msgspec.Struct, frozen=True):
    """One setting as a table row: `kind` is the type in words, `constraints` its bounds and help."""

    name: str
    type: Any
    default: object
    constraints: tuple[Meta, ...]

    @property
    def key(self) -> str:
        """The name as the specifications and error sentences write it."""
        return self.name.upper()

    @property
    def variable(self) -> str:
        """The environment variable of the setting."""
        return PREFIX + self.key

    @property
    def flag(self) -> str:
        """The command line flag of the setting."""
        return "--" + self.name.replace("_", "-")

    @property
    def flags(self) -> tuple[str, ...]:
        """The flags that set it: its own, and a short one where it has one."""
        return (self.flag, *(meta.extra["alias"] for meta in self.constraints if meta.extra and "alias" in meta.extra))

    @property
    def help(self) -> str:
        """One line of help, without the default."""
        return next(meta.description for meta in self.constraints if meta.description)

    @property
    def kind(self) -> str:
        """The type in words."""
        if get_origin(self.type) is Literal:
            return "|".join(get_args(self.type))
        return {bool: "true|false", int: "integer", float: "seconds", str: "text"}.get(self.type, "list")

    def shown(self, value: object) -> object:
        """Return `value` fit for eyes: secrets are masked, of a URL all that may be one."""
        if self._is("is_secret") and value:
            return HIDDEN
        return shown_url(value) if self._is("is_url") and isinstance(value, str) else value

    def _is(self, kind: str) -> bool:
        return any(meta.extra and meta.extra.get(kind) for meta in self.constraints)

    def parse(self, value: object) -> object:
        """Turn a value of a flag, a variable or a file into the setting's type.

        Raises: SettingsError.
        """
        if get_origin(self.type) is tuple:
            return _list(self.key, value)
        if get_origin(self.type) is Literal:
            choices = get_args(self.type)
            if value not in choices:
                raise SettingsError(f"{self.key}: {value} is none of {', '.join(choices)}")
            return value
        if self.type is str:
            return _text(self, value)
        if self.type is bool:
            return _truth(self, value)
        return _number(self, value)


def shown_url(url: str) -> str:
    """Return a URL without user, password and parameters."""
    return re.sub(
        r"\?.*", "?***", re.sub(r"^(\w[\w+]*://)?.*@", r"\1***@", url)
    )  # also when it is none for lack of ://


def text_of(value: object) -> str:
    """Return the value of a setting as a flag takes it: lists with commas, a switch as `true` or `false`."""
    if isinstance(value, tuple):
        return ",".join(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def whole_path(key: str, text: str) -> Path:
    """Return the path that a setting names, absolute, with `~` replaced. Raises: SettingsError (who has no home)."""
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError:
        words = f"there is no home for {text}; choose another place with --{key.lower().replace('_', '-')}"
        raise SettingsError(f"{key}: {words} or {PREFIX}{key}") from None


def hint(name: str, known: Iterable[str]) -> str:
    """The end of a sentence about a name that is not known: which one it may have been."""
    near = difflib.get_close_matches(name, tuple(known), n=1)
    return f"; did you mean {near[0]}?" if near else "; `heliograph settings` lists them"


def misspelled(variables: Iterable[str], known: Sequence[str], short: Mapping[str, str]) -> Iterator[str]:
    """Give a warning for each variable that is nearly one of the keys, or has the name of a short flag.

    `short` leads from those to their keys. All else passes: orchestrators set HELIOGRAPH_* names, too.
    """
    for variable in variables:
        name = variable.removeprefix(PREFIX)
        if variable.startswith(PREFIX) and name not in known:
            near = (
                [short[name]] if name in short else difflib.get_close_matches(name, known, n=1, cutoff=_TYPO_LIKENESS)
            )
            yield from (f"{variable} is no setting; did you mean {PREFIX}{guess}?" for guess in near)


def _list(key: str, value: object) -> tuple[str, ...]:
    parts = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
    if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
        raise SettingsError(f"{key}: {value!r} is not a list of texts")
    return tuple(part for part in parts if part)


def _text(field: Field, value: object) -> str:
    if not isinstance(value, str):
        raise SettingsError(f"{field.key}: {field.shown(value)!r} is not a text; put it into quotes")
    try:
        msgspec.convert(value, Annotated[(str, *field.constraints)])
    except msgspec.ValidationError:
        shown = field.shown(value)
        words = f"it is the {field.help}"
        if field.name == "endpoint" and "://" not in value:
            words = f"http:// is missing: http://{value}"
        raise SettingsError(f"{field.key}: {shown!r} is not allowed; {words}") from None
    return value


def _truth(field: Field, value: object) -> bool:
    known = value if isinstance(value, bool) else _TRUTHS.get(value.lower()) if isinstance(value, str) else None
    if known is None:
        raise SettingsError(f"{field.key}: {value} is neither true nor false")
    return known


def _number(field: Field, value: object) -> float:
    unit = "an integer" if field.type is int else "a number"
    try:
        number = field.type(value) if isinstance(value, str) else value
    except ValueError:
        raise SettingsError(f"{field.key}: {value} is not {unit}") from None
    allowed = (int,) if field.type is int else (int, float)
    if isinstance(number, bool) or not isinstance(number, allowed) or not math.isfinite(number):
        raise SettingsError(f"{field.key}: {value} is not {unit}")
    for meta in field.constraints:
        if meta.ge is not None and number < meta.ge:
            raise SettingsError(f"{field.key}: {value} is under {meta.ge}")
        if meta.le is not None and number > meta.le:
            raise SettingsError(f"{field.key}: {value} is over {meta.le}")
    return field.type(number)  # type: ignore[no-any-return]  # int or float, seen above
