"""`heliograph serve --emulator`: refuse what is not loopback, start, and say how to reach it."""

import argparse
import contextlib
import importlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from app.exits import Exit
from app.listen import listen
from app.loopback import is_loopback
from app.parent import ParentLink
from app.processes import Child, since_start_ms
from app.settings import BY_NAME, Loaded, Origin, Settings, SettingsError

if TYPE_CHECKING:
    from app.tls import TlsListener

_DRAIN_S = 0.2
_PLACES = ("host", "public_host", "endpoint_wildcard", "turn_host", "turn_advertised_address")
_PAGE = """\
The emulator of Kinesis Video Streams is ready after {ready_ms} ms; Ctrl-C ends it and nothing stays behind.
Its keys are public, so it answers this machine only: {places}

export AWS_ENDPOINT_URL_KINESIS_VIDEO={endpoint} AWS_DEFAULT_REGION={region}
export AWS_ACCESS_KEY_ID={access_key_id} AWS_SECRET_ACCESS_KEY={secret_access_key}
{trust}\
aws kinesisvideo create-signaling-channel --channel-name front-door
python -c "import boto3; print(boto3.client('kinesisvideo').list_signaling_channels()['ChannelInfoList'])"
curl -d '{{}}' {http}/_emulator/reset
curl -d '{{"advanceSeconds":3600}}' {http}/_emulator/clock
"""


def run(arguments: argparse.Namespace, loaded: Loaded) -> Exit:
    """Emulate until SIGINT or SIGTERM, or until the parent is gone; with --json the ready line is JSON."""
    values = settings(loaded)
    parent = None if arguments.inherited_fd is None else ParentLink(arguments.inherited_fd)
    with listen(values.host, values.http_port, "http_port") as http:
        turn = Child("turn")  # loads its code while we load ours
        try:
            with _tls(values) as tls:
                emulator = importlib.import_module("app.wiring.emulator")
                parts = emulator.EmulatorParts(http, turn, tls, parent)
                emulator.start(values, parts, lambda where: _announce(arguments, where))
        finally:
            turn.abandon()
    return Exit.OK


@contextlib.contextmanager
def _tls(values: Settings) -> Iterator["TlsListener | None"]:
    """The TLS listener, with a CA of its own whose certificate is in a folder that goes with it."""
    if not values.tls:
        yield None
        return
    with (
        tempfile.TemporaryDirectory(prefix="heliograph-emulator-") as folder,
        importlib.import_module("app.tls").listening(values, Path(folder)) as tls,
    ):
        yield tls


def settings(loaded: Loaded) -> Settings:
    """Return the settings of an emulator: any free port where none was asked for, TLS, quick to end, quiet.

    Raises: SettingsError for a place that others can reach, and for a data folder.
    """
    for name in _PLACES:
        value = getattr(loaded.settings, name)
        for place in value if isinstance(value, tuple) else (value,):
            if place and not is_loopback(place.removeprefix("*.")):
                raise SettingsError(
                    f"{BY_NAME[name].key}: {place} is not this machine alone, and the emulator's keys are public: "
                    "use 127.0.0.1, or `heliograph serve` without --emulator"
                )
    for name in ("data_dir", "redis_url", "catalog_url", "presence_url"):
        if loaded.origins[name] is Origin.FLAG:
            field = BY_NAME[name]
            raise SettingsError(f"{field.key}: the emulator keeps everything in memory; leave {field.flag} out")
    return loaded.preferring(
        http_port=0, tls=True, https_port=0, turn_port=0, drain_s=_DRAIN_S, log_level="warning", log_format="text"
    )


def _announce(arguments: argparse.Namespace, where: dict[str, object]) -> None:
    where["ready_ms"] = round(since_start_ms())
    if arguments.json:
        print(json.dumps(where), flush=True)
        return
    ca = where["ca_file"]
    trust = f"export AWS_CA_BUNDLE={ca} NODE_EXTRA_CA_CERTS={ca}\n" if ca else ""
    places = ", ".join(str(where[name]) for name in ("http", "https", "turn") if where[name])
    endpoint = where["https"] or where["http"]
    print(_PAGE.format(places=places, endpoint=endpoint, trust=trust, **where), flush=True)
