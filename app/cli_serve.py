"""`heliograph serve`: start the relay's process, then the service, and say where it answers."""

import argparse
import base64
import contextlib
import importlib
import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from app import cli_emulator, descriptors, slot_memory, turn_places
from app.data_folder import keys_folder, open_data_folder, served_alone
from app.exits import Exit
from app.listen import listen
from app.parent import ParentLink
from app.processes import Child, since_start_ms
from app.settings import Loaded, Settings

if TYPE_CHECKING:
    from app.tls import Tls, TlsListener

_FLEET_DRAIN_S = 20.0
_TRUST = """\

Its certificate is signed by a CA of its own, which clients must be told to trust:
  aws cli      export AWS_CA_BUNDLE={ca} AWS_ENDPOINT_URL_KINESIS_VIDEO={https}
  boto3        export AWS_CA_BUNDLE={ca}    # or verify={ca}
  Python       export SSL_CERT_FILE={ca}    # websockets, and heliograph itself
  node         export NODE_EXTRA_CA_CERTS={ca}
  C SDK        export AWS_KVS_CACERT_PATH={ca}
  curl         curl --cacert {ca} {https}/
  browser      import {ca} as an authority; or, for a profile that is thrown away:
               chromium --user-data-dir=/tmp/heliograph --ignore-certificate-errors-spki-list={key}
"""


def run(arguments: argparse.Namespace, loaded: Loaded) -> Exit:
    """Serve, or emulate, until SIGINT or SIGTERM; with --json the ready line is JSON."""
    if arguments.emulator:
        return cli_emulator.run(arguments, loaded)
    if arguments.inherited_fd is not None:
        code: Exit = importlib.import_module("app.cli_worker").run(ParentLink(arguments.inherited_fd))
        return code
    values = loaded.settings
    if _has_others(values):  # to which clients go, not all of them at once
        values = loaded.preferring(drain_s=_FLEET_DRAIN_S)
    descriptors.allow_many(_notice)
    folder = open_data_folder(values)
    _wait_for_redis(values)
    if turn_places.workers(values.workers) > 1:
        workers = importlib.import_module("app.cli_workers")
        workers.run(values, lambda where, tls: _announce(arguments, tls, where), _notice)
    else:
        _serve_alone(arguments, values, folder)
    return Exit.OK


def _serve_alone(arguments: argparse.Namespace, values: Settings, folder: Path) -> None:
    """Serve by one process, beside that of the relay."""
    with (
        _alone(values, folder),
        slot_memory.opened(folder, values.http_port) if _has_others(values) else contextlib.nullcontext() as memory,
        listen(values.host, values.http_port, "http_port") as http,
        listen(values.ops_host, values.ops_port, "ops_port") as ops,
        _tls(values, folder) as tls,
    ):
        values = msgspec.structs.replace(values, http_port=http.getsockname()[1])
        if tls is not None:
            values = msgspec.structs.replace(values, https_port=tls.port)
        turn = Child("turn")  # loads its code while we load ours
        turn.on_notice = _notice
        try:
            serve = importlib.import_module("app.wiring.serve")
            order = serve.order(values, keys_folder(values, _notice), memory)
            made = None if tls is None else (tls.tls, tls.ca)
            serve.start(order, serve.Listeners(http, ops, tls), turn, lambda where: _announce(arguments, made, where))
        finally:
            turn.abandon()


def _notice(sentence: str) -> None:
    print(f"heliograph: {sentence}", file=sys.stderr, flush=True)


def _wait_for_redis(values: Settings) -> None:
    if values.redis_url or values.catalog_url:
        importlib.import_module("app.wiring.redis_start").prepare(values, _notice)


def _has_others(values: Settings) -> bool:
    return bool(values.redis_url or values.presence_url)


def _alone(values: Settings, folder: Path) -> contextlib.AbstractContextManager[None]:
    """Nodes that know of each other may share a folder."""
    return contextlib.nullcontext() if _has_others(values) else served_alone(folder)


def _tls(values: Settings, folder: Path) -> "contextlib.AbstractContextManager[TlsListener | None]":
    """The TLS listener; its code is loaded when it is wanted."""
    if not values.tls:
        return contextlib.nullcontext()
    listening: contextlib.AbstractContextManager[TlsListener] = importlib.import_module("app.tls").listening(
        values, folder
    )
    return listening


def _announce(arguments: argparse.Namespace, tls: "Tls | None", where: dict[str, object]) -> None:
    where["ready_ms"] = round(since_start_ms())
    context, ca = tls or (None, None)
    if arguments.json:
        print(json.dumps(where | ({"ca_file": str(ca)} if ca else {})), flush=True)
        return
    for each in where.get("workers", [where]):  # type: ignore[attr-defined]  # dicts, as `where` itself
        places = ", ".join(str(each[name]) for name in ("http", "https", "turn") if each.get(name))
        slot = f" (slot {each['slot']})" if each.get("slot") is not None else ""
        print(f"heliograph serves {places}; operations at {each['ops']}/readyz{slot}", flush=True)
    if context and ca:
        key = base64.b64encode(context.public_key_digest).decode()
        print(_TRUST.format(ca=shlex.quote(str(ca)), https=where["https"], key=key), flush=True)
