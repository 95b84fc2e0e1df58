"""`heliograph serve --emulator`: refuse what is not loopback, start, and say how to reach it."""

import argparse
import importlib
import json

import msgspec

from app.exits import Exit
from app.listen import listen
from app.loopback import is_loopback
from app.processes import Child, ParentLink, since_start_ms
from app.settings import BY_NAME, Loaded, Origin, Settings, SettingsError

_DRAIN_S = 0.2
_PLACES = ("host", "public_host", "turn_advertised_address")
_PAGE = """\
heliograph emulates Kinesis Video Streams after {ready_ms} ms; Ctrl-C ends it and nothing stays behind.
Its keys are public, so it answers this machine only. STUN/TURN: {turn}

export AWS_ENDPOINT_URL_KINESIS_VIDEO={http} AWS_DEFAULT_REGION={region}
export AWS_ACCESS_KEY_ID={access_key_id} AWS_SECRET_ACCESS_KEY={secret_access_key}
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
            emulator = importlib.import_module("app.wiring.emulator")
            parts = emulator.EmulatorParts(http, turn, parent)
            emulator.start(values, parts, lambda where: _announce(arguments, where))
        finally:
            turn.abandon()
    return Exit.OK


def settings(loaded: Loaded) -> Settings:
    """Return the settings of an emulator: any free port where none was asked for, quick to end, quiet.

    Raises: SettingsError for a place that others can reach, and for a data folder.
    """
    for name in _PLACES:
        value = getattr(loaded.settings, name)
        if value and not is_loopback(value):
            raise SettingsError(
                f"{BY_NAME[name].key}: {value} is not this machine alone, and the emulator's keys are public: "
                "use 127.0.0.1, or `heliograph serve` without --emulator"
            )
    if loaded.origins["data_dir"] is Origin.FLAG:
        raise SettingsError("DATA_DIR: the emulator keeps everything in memory; leave --data-dir out")
    own = loaded.preferring(
        http_port=0, https_port=0, turn_port=0, drain_s=_DRAIN_S, log_level="warning", log_format="text"
    )
    return msgspec.structs.replace(own, data_dir="")


def _announce(arguments: argparse.Namespace, where: dict[str, object]) -> None:
    where["ready_ms"] = round(since_start_ms())
    print(json.dumps(where) if arguments.json else _PAGE.format(**where), flush=True)
