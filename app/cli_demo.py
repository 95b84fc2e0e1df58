"""`heliograph demo`: start relay and master, then the service, and say how to look at the picture."""

import argparse
import importlib
import json
import sys
from pathlib import Path

import msgspec

from app.exits import Exit
from app.listen import listen
from app.processes import Child, since_start_ms
from app.settings import Loaded, Origin, Settings, SettingsError
from app.wiring.orders import RecordOrder
from media.sources.uri import shown

_LOOPBACK = "127.0.0.1"
_DRAIN_S = 0.2
_PAGE = """\
heliograph demo is ready after {ready_ms} ms; Ctrl-C ends it and nothing stays behind.

  HTTP and signaling  {http}
  STUN/TURN           {turn}
  operations          {ops}/readyz and {ops}/metrics
  master              sends {source} into the channel {channel_name}

Open this in a browser, and the picture moves:
  {viewer_url}

Relay only, every packet through our TURN:
  {relay_url}

Your camera as the master of the channel camera; watch it at the first address with channel=camera:
  {camera_url}
{recorded}
With curl, and without a browser:
  export HELIOGRAPH_ENDPOINT={http} HELIOGRAPH_TOKEN={token}
  curl -s $HELIOGRAPH_ENDPOINT/describeSignalingChannel -H "Authorization: Bearer $HELIOGRAPH_TOKEN" \\
    -d '{{"ChannelName":"{channel_name}"}}'
  {program} viewer --channel {channel_name} --frames 90 --relay
"""
_RECORDED = """
What was recorded, from two seconds ago backwards:
  {http}/recording#channel={channel_name}&token={token}
"""


def run(arguments: argparse.Namespace, loaded: Loaded) -> Exit:
    """Show until SIGINT or SIGTERM; with --json one line tells where, once all is ready."""
    values = _settings(arguments, loaded)
    with (
        listen(_LOOPBACK, values.http_port, "http_port", may_move=_may_move(loaded, "http_port")) as http,
        listen(values.ops_host, values.ops_port, "ops_port", may_move=_may_move(loaded, "ops_port")) as ops,
    ):
        _tell_moves(values, http.getsockname()[1], ops.getsockname()[1])
        children = (Child("turn"), Child("master"))  # they load their code while we load ours
        try:
            demo = importlib.import_module("app.wiring.demo")
            demo.start(
                demo.DemoOrder(values, arguments.source, _may_move(loaded, "turn_port"), _record(arguments, values)),
                demo.DemoParts(demo.Listeners(http, ops), *children),
                lambda where: _announce(arguments, where, values.recordings),
                _notice,
            )
        finally:
            for child in children:
                child.abandon()
    return Exit.OK


def _settings(arguments: argparse.Namespace, loaded: Loaded) -> Settings:
    values = loaded.preferring(log_level="warning", log_format="text", drain_s=_DRAIN_S)
    profile = "relaxed" if arguments.relaxed else values.limits_profile
    own = {"host": _LOOPBACK, "public_host": "", "public_scheme": "auto", "endpoint_wildcard": "", "tls": False}
    return msgspec.structs.replace(values, limits_profile=profile, **own)


def _record(arguments: argparse.Namespace, values: Settings) -> RecordOrder | None:
    """What the demo's own master records; its folder is made, for the service looks at it before there is anything."""
    order = RecordOrder.of(values.recordings, arguments.record_max_age_s, arguments.record_max_bytes)
    if order is not None:
        try:
            Path(order.folder).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            words = "is a file" if isinstance(error, FileExistsError) else f"cannot be made: {error.strerror}"
            raise SettingsError(f"RECORDINGS: the folder {order.folder} {words}") from None
    return order


def _may_move(loaded: Loaded, port: str) -> bool:
    """Only a port that nobody asked for gives way to another one."""
    return loaded.origins[port] is Origin.DEFAULT


def _tell_moves(values: Settings, http_port: int, ops_port: int) -> None:
    for key, wanted, got in (("HTTP_PORT", values.http_port, http_port), ("OPS_PORT", values.ops_port, ops_port)):
        if wanted not in (0, got):
            _notice(f"{key}: {wanted} is taken, using {got}")


def _notice(sentence: str) -> None:
    print(f"heliograph: {sentence}", file=sys.stderr, flush=True)


def _announce(arguments: argparse.Namespace, where: dict[str, object], recordings: str) -> None:
    where["ready_ms"] = round(since_start_ms())
    if arguments.json:
        line = {name: where[name] for name in where if name != "ops"}
        print(json.dumps(line), flush=True)
        return
    http, token = where["http"], where["token"]
    print(
        _PAGE.format(
            **where,
            source=shown(arguments.source),
            relay_url=f"{http}/viewer#channel={where['channel_name']}&relay=1&token={token}",
            camera_url=f"{http}/master#channel=camera&token={token}",
            recorded=_RECORDED.format(**where) if recordings else "",
            program=sys.argv[0] if sys.argv[0].endswith("heliograph") else "heliograph",
        ),
        flush=True,
    )
