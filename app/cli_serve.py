"""`heliograph serve`: start the relay's process, then the service, and say where it answers."""

import argparse
import importlib
import json

from app.data_folder import load_or_create_turn_secret, open_data_folder, served_alone
from app.exits import Exit
from app.listen import listen
from app.processes import Child, since_start_ms
from app.settings import Loaded


def run(arguments: argparse.Namespace, loaded: Loaded) -> Exit:
    """Serve until SIGINT or SIGTERM; with --json the ready line is JSON."""
    values = loaded.settings
    folder = open_data_folder(values)
    with (
        served_alone(folder),
        listen(values.host, values.http_port, "http_port") as http,
        listen(values.ops_host, values.ops_port, "ops_port") as ops,
    ):
        secret = load_or_create_turn_secret(folder)
        turn = Child("turn")  # loads its code while we load ours
        try:
            serve = importlib.import_module("app.wiring.serve")
            order = serve.order(values, folder, secret)
            serve.start(order, serve.Listeners(http, ops), turn, lambda where: _announce(arguments, where))
        finally:
            turn.abandon()
    return Exit.OK


def _announce(arguments: argparse.Namespace, where: dict[str, object]) -> None:
    where["ready_ms"] = round(since_start_ms())
    if arguments.json:
        print(json.dumps(where), flush=True)
        return
    print(f"heliograph serves {where['http']}, {where['turn']}; operations at {where['ops']}/readyz", flush=True)
