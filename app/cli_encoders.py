"""`heliograph encoders`: what each encoder of this machine can do, which is used, and why the others are not."""

import argparse
import json
import shutil
import sys
import textwrap

from app import logs
from app.cli_table import print_table
from app.exits import Exit
from app.settings import Loaded
from app.wiring import encoders as wiring
from media.encoders.backends import BY_NAME, TABLE, Backend
from media.encoders.finding import Finding, chosen

_COLUMNS = (
    "encoder", "codec", "compiled", "opens", "decodes back", "key frame", "live bitrate", "720p fps", "first packet",
    "verdict", "device, driver",
)  # fmt: skip
_NAME_WIDTH = 14
_WIDTH = 110


def run(arguments: argparse.Namespace, loaded: Loaded) -> Exit:
    """Probe and print; the exit code is 1 when a codec has no encoder."""
    settings = loaded.preferring(log_level="warning", log_format="text")
    logs.configure(settings.log_level, settings.log_format)

    def announce(backend: Backend) -> None:
        print(f"heliograph: trying {backend.name} ({backend.title}) ...", file=sys.stderr, flush=True)

    found = tuple(wiring.findings(settings, arguments.refresh, announce))
    best = {codec: chosen(found, codec) for codec in wiring.VIDEO}
    names = {codec: each.name if each else None for codec, each in best.items()}
    if arguments.json:
        print(
            json.dumps({"encoders": [_as_data(each, names) for each in found], "chosen": names | {"opus": "libopus"}})
        )
    else:
        _print(found, names)
    return Exit.OK if all(names.values()) else Exit.FAILURE


def _print(found: tuple[Finding, ...], names: dict[str, str | None]) -> None:
    print_table(_COLUMNS, [_row(each, names) for each in found])
    print()
    for each in found:
        if each.failure is not None:
            _note(each.name, each.words)
    print()
    for codec, name in names.items():
        _note(codec, _choice(codec, name))
    _note("opus", "libopus")


def _choice(codec: str, name: str | None) -> str:
    if name is None:
        return "nothing: viewers of this codec are refused"
    backend = BY_NAME[name]
    others = [each for each in TABLE if each.codec == codec and each.name != name]
    where = "" if not backend.is_software else ", on the CPU" + (" since no device works" if others else "")
    return f"{name} ({backend.title}){where}" + ("; `heliograph master --encoder NAME` pins another" if others else "")


def _note(name: str, words: str) -> None:
    """A line for a program, a paragraph for a person."""
    if not sys.stdout.isatty():
        print(f"{name:<{_NAME_WIDTH}}{words}")
        return
    width = min(shutil.get_terminal_size().columns, _WIDTH)
    print(textwrap.fill(words, width, initial_indent=f"{name:<{_NAME_WIDTH}}", subsequent_indent=" " * _NAME_WIDTH))


def _verdict(found: Finding, names: dict[str, str | None]) -> str:
    if found.failure is not None:
        return found.failure.value
    if found.name in names.values():
        return "chosen"
    return "works" if found.works else "not tried"


def _row(found: Finding, names: dict[str, str | None]) -> dict[str, str]:
    cells = (
        found.name,
        BY_NAME[found.name].codec,
        _claim(found.is_compiled),
        _claim(found.opens),
        _claim(found.decodes_back),
        "reopens" if found.forces_key is False else _claim(found.forces_key),
        found.bitrate.value if found.bitrate else "-",
        f"{found.fps_720p:.0f}" if found.fps_720p else "-",
        f"{found.first_packet_ms:.0f} ms" if found.first_packet_ms is not None else "-",
        _verdict(found, names),
        ", ".join(part for part in (found.device, found.driver) if part) or "-",
    )
    return dict(zip(_COLUMNS, cells, strict=True))


def _claim(value: bool | None) -> str:
    return "-" if value is None else "yes" if value else "no"


def _as_data(found: Finding, names: dict[str, str | None]) -> dict[str, object]:
    backend = BY_NAME[found.name]
    return {
        "name": found.name,
        "codec": backend.codec,
        "encoder": backend.encoder,
        "title": backend.title,
        "verdict": _verdict(found, names),
        "compiled": found.is_compiled,
        "opens": found.opens,
        "decodes_back": found.decodes_back,
        "forces_key_frame": found.forces_key,
        "live_bitrate": found.bitrate.value if found.bitrate else None,
        "fps_720p": found.fps_720p,
        "first_packet_ms": found.first_packet_ms,
        "held_pictures": found.held_pictures,
        "device": found.device,
        "driver": found.driver,
        "failure": found.failure.value if found.failure else None,
        "words": found.words,
        "log_line": found.line,
        "probed_at": found.probed_at,
    }
