"""The parser of the command line: errors in two lines, help with an example, settings as flags. It knows no command."""

import argparse
import difflib
import shlex
import shutil
from collections.abc import Sequence
from typing import NoReturn, TypedDict

from app import setting, settings
from app.exits import Exit

_FACTORS = {"k": 1000, "M": 1_000_000}


class Parser(argparse.ArgumentParser):
    """argparse with errors in two lines, told by the command that they belong to."""

    def parse_known_args(  # type: ignore[no-untyped-def]  # argparse's own signature is an overload
        self, args=None, namespace=None
    ):
        """Parse; what is not known is an error of this command, not of the one above."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            near = difflib.get_close_matches(unknown[0].partition("=")[0], self._option_string_actions, n=1)
            self.error(f"unknown: {' '.join(unknown)}" + "".join(f"; did you mean {flag}?" for flag in near))
        return found, unknown

    def error(self, message: str) -> NoReturn:
        """Leave with what is wrong and the short usage."""
        needed = [action for action in self._actions if action.required]
        words = [
            self.prog,
            *(f"{' '.join(action.option_strings[:1])} {action.metavar or action.dest}".strip() for action in needed),
        ]
        usage = f"usage: {' '.join(words)} [flags]; try {self.prog} --help"
        self.exit(Exit.USAGE, f"{self.prog}: {message}\n{usage}\n")


class Texts(TypedDict):
    """What argparse takes for one command or verb."""

    help: str
    description: str
    epilog: str
    formatter_class: type[argparse.HelpFormatter]
    allow_abbrev: bool


def texts(words: str, example: str) -> Texts:
    """Return help, an example to copy, and where the exit codes stand."""
    return {
        "help": words,
        "description": words[0].upper() + words[1:] + ".",
        "epilog": f"example: {example}\nexit codes: heliograph --help",
        "formatter_class": argparse.RawDescriptionHelpFormatter,
        "allow_abbrev": False,
    }


def json_flag(parser: argparse.ArgumentParser) -> None:
    """Add `--json`."""
    parser.add_argument("--json", action="store_true", help="print data as JSON, one line")


def trial_flags(parser: argparse.ArgumentParser) -> None:
    """Add `--json` and `--dry-run`."""
    json_flag(parser)
    parser.add_argument("--dry-run", action="store_true", help="change nothing, say what would be done")


def positive(text: str) -> int:
    """Read a positive whole number."""
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text} is not a positive whole number")
    return int(text)


def names(text: str) -> tuple[str, ...]:
    """Read names with commas between them, one at least."""
    found = tuple(name for name in text.split(",") if name)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} names nothing")
    return found


def bitrate(text: str) -> int:
    """Read bits per second: `800k`, `2M`, `2500000`; 50 kbit/s to 100 Mbit/s."""
    digits, factor = text, 1
    if text[-1:] in _FACTORS:
        digits, factor = text[:-1], _FACTORS[text[-1]]
    try:
        value = float(digits) * factor
    except ValueError:
        value = 0
    if not 50_000 <= value <= 100_000_000:  # also refuses NaN
        raise argparse.ArgumentTypeError(f"{text} is no bitrate from 50k to 100M bit/s; example: 2M")
    return round(value)


def size(text: str) -> int:
    """Read a number of bytes: digits, with K, M, G or T for powers of 1024."""
    digits, unit = (text[:-1], text[-1].upper()) if text[-1:].upper() in (*"KMGT",) else (text, "")
    if not digits.isascii() or not digits.isdigit() or len(digits) > 15:
        raise argparse.ArgumentTypeError(f"{text} is not a number of bytes, such as 500M or 10G")
    return int(digits) << 10 * " KMGT".index(unit or " ")


def seconds(text: str) -> float:
    """Read a number of seconds."""
    try:
        value = float(text)
    except ValueError:
        value = 0
    if not 0 < value < 1e9:  # also refuses NaN
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds")
    return value


def program(text: str) -> tuple[str, ...]:
    """Read a program with its arguments, quoted as in a shell, which is not used."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text} is not a program with arguments: {error}") from None
    if not words or shutil.which(words[0]) is None:
        raise argparse.ArgumentTypeError(f"there is no program {words[0] if words else text!r}")
    return tuple(words)


def add_settings(parser: argparse.ArgumentParser, names: Sequence[str]) -> None:
    """Add a flag for each setting of these names, and `--config`."""
    group = parser.add_argument_group("settings", "also as HELIOGRAPH_* variables, or in a TOML file")
    group.add_argument("--config", metavar="FILE", help="TOML file with settings")
    for name in names:
        field = settings.BY_NAME[name]
        default = setting.text_of(field.default)
        words = f"{field.help} (default: {default})" if default != "" else field.help
        nargs, const = ("?", "true") if field.type is bool else (None, None)
        # SUPPRESS: what the command line did not give is not there, so variable and file can speak
        group.add_argument(
            *field.flags,
            dest=name,
            default=argparse.SUPPRESS,
            metavar=_metavar(field),
            help=words,
            nargs=nargs,
            const=const,
        )


def _metavar(field: setting.Field) -> str:
    return {"integer": "N", "seconds": "S", "text": "TEXT", "list": "A,B"}.get(field.kind, field.kind)
