"""`heliograph key`: make, show and revoke access keys of the data folder or of Redis, and make sessions of them.

A service that runs on the same folder sees each change at once, one on the same Redis within half a second.
"""

import argparse
import contextlib
import getpass
import importlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from app.cli_table import print_table
from app.cli_token import ACTIONS, load_keys, token_settings
from app.data_folder import keys_folder, open_data_folder
from app.exits import CommandError, Exit
from app.issued import iso, issued
from app.settings import Loaded, Settings
from app.wiring.access import AccessKeys, AccessOrder
from channels.auth import key_ring, policy
from channels.auth.claims import channel_pattern
from channels.auth.grant import ACTION_PREFIX, Statement
from channels.auth.key_ring import AccessKey, AccessKeyError
from channels.auth.session import SessionRequest
from channels.auth.token import TokenVerifier
from channels.errors import ServiceError
from channels.key_store import KeyExistsError, SealedKey
from channels.names import parse_client_id
from channels.store import StoreUnavailableError

_COLUMNS = ("AccessKeyId", "Account", "Created", "Revoked", "Description")
_WAIT_S = 2.0
_DESCRIPTION_LIMIT = 256


def run(arguments: argparse.Namespace, loaded: Loaded) -> Exit:
    """Do the verb where the access keys are and print what came of it."""
    if arguments.verb == "share":
        return _share(arguments, loaded.settings)
    with opened(loaded.settings) as access:
        try:
            _VERBS[arguments.verb](access, arguments, loaded.settings)
        except StoreUnavailableError as error:
            raise CommandError(str(error)) from None
        except (AccessKeyError, KeyExistsError) as error:
            raise CommandError(str(error), Exit.USAGE) from None
        except ServiceError as error:
            raise CommandError(error.message, Exit.USAGE) from None
    return Exit.OK


@contextlib.contextmanager
def opened(settings: Settings) -> Iterator[AccessKeys]:
    """Open the access keys that the settings name while the block runs. Raises: SettingsError, CommandError."""
    folder = keys_folder(settings)
    access = AccessKeys(AccessOrder.of(settings, folder), load_keys(folder)[-1], token_settings(settings), _WAIT_S)
    with contextlib.closing(access):
        yield access


def read_policy(path: str) -> policy.Policy:
    """Read a policy document and tell its warnings on stderr. Raises: CommandError."""
    try:
        found = policy.parse(Path(path).expanduser().read_bytes())
    except OSError as error:
        raise CommandError(f"--policy {path} cannot be read: {error.strerror}", Exit.USAGE) from None
    except policy.PolicyError as error:
        raise CommandError(f"--policy {path}: {error}", Exit.USAGE) from None
    for warning in found.warnings:
        print(f"heliograph: --policy {path}: {warning}", file=sys.stderr)
    return found


def _create(access: AccessKeys, arguments: argparse.Namespace, settings: Settings) -> None:
    if bool(arguments.imported) != arguments.secret_stdin:
        raise CommandError("--access-key-id and --secret-stdin import a key together: give both", Exit.USAGE)
    if len(arguments.description) > _DESCRIPTION_LIMIT or not arguments.description.isprintable():
        raise CommandError(f"--description has {_DESCRIPTION_LIMIT} printable characters at most", Exit.USAGE)
    key = AccessKey(
        id=arguments.imported or key_ring.new_id(key_ring.KEY_PREFIX),
        account=settings.account,
        secret=_given_secret() if arguments.secret_stdin else key_ring.new_secret(),
        statements=_statements(arguments, settings.account),
        description=arguments.description,
        created_s=time.time(),
    )
    access.ring.add(key)
    shown = {"access_key_id": key.id, "secret_access_key": key.secret, "account": key.account}
    if arguments.secret_stdin:
        del shown["secret_access_key"]
    if arguments.json:
        print(json.dumps(shown))
        return
    _print_exports(shown)
    if not arguments.secret_stdin:
        print("heliograph: this is the only time that the secret is shown", file=sys.stderr)


def _given_secret() -> str:
    if sys.stdin.isatty():
        return getpass.getpass("secret access key: ")
    return sys.stdin.read().strip()


def _statements(arguments: argparse.Namespace, account: str) -> tuple[Statement, ...]:
    if arguments.policy:
        if arguments.role or arguments.channel:
            raise CommandError("--policy says it all: leave out --role and --channel", Exit.USAGE)
        return read_policy(arguments.policy).statements
    role = arguments.role or "admin"
    actions = tuple(ACTION_PREFIX + action for action in ACTIONS[role])
    return (Statement(actions, (channel_pattern(arguments.channel or "*", account),), sid=role),)


def _list(access: AccessKeys, arguments: argparse.Namespace, settings: Settings) -> None:
    keys = access.ring.list()
    if arguments.json:
        print(json.dumps([_shown(key) for key in keys]))
    elif keys:
        print_table(_COLUMNS, [_row(key) for key in keys])
    else:
        print("no access keys; make one: heliograph key create", file=sys.stderr)


def _shown(key: SealedKey) -> dict[str, object]:
    return {
        "access_key_id": key.id,
        "account": key.account,
        "description": key.description,
        "created": iso(key.created_s),
        "revoked": None if key.revoked_s is None else iso(key.revoked_s),
        "statements": msgspec.to_builtins(key.statements),
    }


def _row(key: SealedKey) -> dict[str, str]:
    revoked = "" if key.revoked_s is None else iso(key.revoked_s)
    return dict(zip(_COLUMNS, (key.id, key.account, iso(key.created_s), revoked, key.description), strict=True))


def _revoke(access: AccessKeys, arguments: argparse.Namespace, settings: Settings) -> None:
    identity = arguments.id
    if identity.startswith("eyJ"):
        identity = _id_of_token(identity, settings)
    kind = _kind(access, identity)
    is_new = access.ring.revoke(identity, time.time())
    if arguments.json:
        print(json.dumps({"id": identity, "kind": kind, "was_revoked": not is_new}))
    elif is_new:
        print(f"revoked the {kind} {identity}, and all that was made from it")
    else:
        print(f"the {kind} {identity} was revoked before")


def _id_of_token(text: str, settings: Settings) -> str:
    verifier = TokenVerifier(load_keys(keys_folder(settings)), token_settings(settings))
    identity = verifier.verify(text, time.time()).token_id
    if identity is None:
        raise CommandError("this token has no id (jti): remove the key that signed it", Exit.USAGE)
    return identity


def _kind(access: AccessKeys, identity: str) -> str:
    if not identity.strip():  # a script's unset variable: nothing would be revoked, and nobody would know
        raise CommandError("the ID is empty: give that of a key or a session, a token, or its jti", Exit.USAGE)
    if any(key.id == identity for key in access.ring.list()):
        return "access key"
    if identity.startswith(key_ring.KEY_PREFIX):
        raise CommandError(f"there is no access key {identity}; `heliograph key list` shows them", Exit.NOT_FOUND)
    return "session" if identity.startswith(key_ring.SESSION_PREFIX) else "token"


def _session(access: AccessKeys, arguments: argparse.Namespace, settings: Settings) -> None:
    if arguments.client_id and arguments.role != "viewer":
        raise CommandError("--client-id binds viewers only: use --role viewer with it", Exit.USAGE)
    key = require_key(access, arguments.key)
    request = SessionRequest(
        subject=key.grant().subject,
        account=key.account,
        actions=ACTIONS[arguments.role or "admin"],
        channels=(arguments.channel or "*",),
        lifetime_s=arguments.ttl,
        client_id=parse_client_id(arguments.client_id) if arguments.client_id else None,
        key_id=key.id,
    )
    made = access.sessions.mint(request, time.time())
    if arguments.json:
        print(msgspec.json.encode(issued(made)).decode())
        return
    _print_exports(
        {
            "access_key_id": made.access_key_id,
            "secret_access_key": made.secret_access_key,
            "session_token": made.session_token,
        }
    )
    print(f"heliograph: the session ends at {issued(made).credentials.expiration}", file=sys.stderr)


def require_key(access: AccessKeys, identity: str) -> AccessKey:
    """Return the access key of this id. Raises: CommandError when there is none, or none any more."""
    key = access.ring.find(identity)
    if key is not None:
        return key
    if access.ring.trouble:
        raise CommandError(access.ring.trouble)
    what = "was revoked" if access.ring.is_revoked(identity) else "is not in this --data-dir"
    raise CommandError(f"the access key {identity} {what}; `heliograph key list` shows them", Exit.NOT_FOUND)


def _share(arguments: argparse.Namespace, settings: Settings) -> Exit:
    shared_keys = importlib.import_module("app.wiring.shared_keys")
    names = sorted(shared_keys.share(settings, open_data_folder(settings)))
    print(
        json.dumps({"shared": names})
        if arguments.json
        else f"shared {', '.join(names)}; nodes take them when they start"
    )
    return Exit.OK


def _print_exports(values: dict[str, str]) -> None:
    """As a shell takes them: eval "$(heliograph key create)"."""
    for name, value in values.items():
        if name != "account":
            print(f"export AWS_{name.upper()}={value}")


_VERBS: dict[str, Callable[[AccessKeys, argparse.Namespace, Settings], None]] = {
    "create": _create,
    "list": _list,
    "revoke": _revoke,
    "session": _session,
}
