"""`heliograph token`: sign a token with the keys of the data folder."""

import argparse
import json
import time
from pathlib import Path

from app.data_folder import keys_folder
from app.exits import CommandError, Exit
from app.settings import Loaded, Settings, SettingsError
from channels.auth import keys, token
from channels.errors import ServiceError
from channels.names import parse_client_id

READ = ("DescribeSignalingChannel", "GetSignalingChannelEndpoint", "GetIceServerConfig")
ACTIONS = {
    "viewer": ("ConnectAsViewer", *READ),
    "master": ("ConnectAsMaster", *READ),
    "recording": ("GetRecording", "DescribeSignalingChannel"),
    "admin": ("*",),
}


def run(arguments: argparse.Namespace, loaded: Loaded) -> Exit:
    """Print the token, or with --json the token and when it ends."""
    settings = loaded.settings
    if arguments.client_id and arguments.role != "viewer":
        raise CommandError("--client-id binds viewers only: leave it out or use --role viewer", Exit.USAGE)
    try:
        client_id = parse_client_id(arguments.client_id) if arguments.client_id else None
        now = time.time()
        text = token.mint(
            load_keys(keys_folder(settings))[-1],
            token_settings(settings),
            subject=f"heliograph-{arguments.role}",
            actions=ACTIONS[arguments.role],
            channels=[arguments.channel],
            client_id=client_id,
            now_wall=now,
            lifetime_s=arguments.ttl,
        )
    except ServiceError as error:
        raise CommandError(error.message, Exit.USAGE) from None
    print(json.dumps({"token": text, "expires_at": int(now + arguments.ttl)}) if arguments.json else text)
    return Exit.OK


def load_keys(folder: Path, kind: keys.Kind = keys.TOKENS) -> tuple[token.TokenKey, ...]:
    """Return the keys of this kind in the data folder, the signing one last; it is made at first start.

    Raises: SettingsError.
    """
    what = "token keys" if kind is keys.TOKENS else kind.folder.replace("-", " ")
    try:
        return keys.load_or_create(folder, kind)
    except (token.TokenKeyError, OSError) as error:
        raise SettingsError(f"DATA_DIR: the {what} cannot be used: {error}") from None


def token_settings(settings: Settings) -> token.TokenSettings:
    """Return what tokens of this service say of their issuer."""
    return token.TokenSettings(account=settings.account)
