"""`heliograph turn coturn-config`: print the configuration of coturn, for one that somebody else starts."""

import argparse
import asyncio
import json

import msgspec

from app.cli_turn import order_of
from app.exits import CommandError, Exit
from app.setting import HIDDEN
from app.settings import Loaded
from app.wiring.coturn import coturn_rules
from media.coturn import coturn, coturn_config
from media.coturn.coturn_config import Version
from media.relay.interfaces import read_interfaces

FOLDER = "/var/lib/turn"
_HEAD = """\
# turnserver.conf of a coturn that takes the credentials of heliograph and closes the same peers to relays.
# The closed addresses hold those of the machine that printed this: print it on the machine that runs coturn.
"""
_SECRET = "# the secret is not shown: --show-secret, or turn.secret in the data folder\n"  # noqa: S105


def run(arguments: argparse.Namespace, loaded: Loaded) -> Exit:
    """Print it; without --show-secret with a mask in the place of the secret."""
    order = order_of(loaded.settings)
    rules = coturn_rules(order, read_interfaces(), FOLDER)
    if not arguments.show_secret:
        rules = msgspec.structs.replace(rules, secrets=(HIDDEN,))
    version = asyncio.run(_version(loaded.settings.turn_coturn_program))
    try:
        text = coturn_config.render(rules, version)
    except ValueError as error:
        raise CommandError(str(error), Exit.USAGE) from None
    head = _HEAD + ("" if arguments.show_secret else _SECRET)
    print(json.dumps({"turnserver.conf": text}) if arguments.json else head + text.rstrip())
    return Exit.OK


async def _version(program: str) -> Version | None:
    try:
        return await coturn.version_of(coturn.found_program(program))
    except coturn.CoturnError:
        return None  # it runs on another machine
