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

from app import cli_emulator, descriptors
from app.data_folder import keys_folder, open_data_folder, served_alone
from app.exits import Exit
from app.listen import listen
from app.processes import Child, since_start_ms
from app.settings import Loaded, Settings

if TYPE_CHECKING:
    from app.tls import TlsListener

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
    values = loaded.settings
    descriptors.allow_many(_notice)
    folder = open_data_folder(values)
    _wait_for_redis(values)
    with (
        _alone(values, folder),
        listen(values.host, values.http_port, "http_port") as http,
        listen(values.ops_host, values.ops_port, "ops_port") as ops,
        _tls(values, folder) as tls,
    ):
        if tls is not None:
            values = msgspec.structs.replace(values, https_port=tls.port)
        turn = Child("turn")  # loads its code while we load ours
        turn.on_notice = _notice
        try:
            serve = importlib.import_module("app.wiring.serve")
            order = serve.order(values, keys_folder(values, _notice))
            serve.start(order, serve.Listeners(http, ops, tls), turn, lambda where: _announce(arguments, tls, where))
        finally:
            turn.abandon()
    return Exit.OK


def _notice(sentence: str) -> None:
    print(f"heliograph: {sentence}", file=sys.stderr, flush=True)


def _wait_for_redis(values: Settings) -> None:
    if values.redis_url or values.catalog_url:
        importlib.import_module("app.wiring.redis_start").prepare(values, _notice)


def _alone(values: Settings, folder: Path) -> contextlib.AbstractContextManager[None]:
    """Nodes that know of each other may share a folder."""
    is_alone = not (values.redis_url or values.presence_url)
    return served_alone(folder) if is_alone else contextlib.nullcontext()


def _tls(values: Settings, folder: Path) -> "contextlib.AbstractContextManager[TlsListener | None]":
    """The TLS listener; its code is loaded when it is wanted."""
    if not values.tls:
        return contextlib.nullcontext()
    listening: contextlib.AbstractContextManager[TlsListener] = importlib.import_module("app.tls").listening(
        values, folder
    )
    return listening


def _announce(arguments: argparse.Namespace, tls: "TlsListener | None", where: dict[str, object]) -> None:
    where["ready_ms"] = round(since_start_ms())
    if arguments.json:
        print(json.dumps(where | ({"ca_file": str(tls.ca)} if tls and tls.ca else {})), flush=True)
        return
    places = ", ".join(str(where[name]) for name in ("http", "https", "turn") if where[name])
    print(f"heliograph serves {places}; operations at {where['ops']}/readyz", flush=True)
    if tls and tls.ca:
        key = base64.b64encode(tls.tls.public_key_digest).decode()
        print(_TRUST.format(ca=shlex.quote(str(tls.ca)), https=where["https"], key=key), flush=True)
