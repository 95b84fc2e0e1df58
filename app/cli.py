"""The command line: what each command is called, takes and shows; the work is done by the `app.cli_*` modules.

Those are imported only when their command runs, so that `--help` and `version` stay quick.
"""

import argparse
import functools
import importlib
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

import msgspec

from app import bench_flags, cli_parser, settings
from app.cli_parser import Parser, add_settings, bitrate, json_flag, positive, program, seconds, size, texts
from app.exits import MEANING, CommandError, Exit, cause, refusal
from channels.errors import ServiceError

_ADDRESSES = ("host", "http_port", "turn_port", "ops_host", "ops_port")
_TLS = ("tls", "https_port", "tls_certificate", "tls_key", "tls_names")
_TURN = (
    "turn_engine", "turn_coturn_program", "turn_coturn_accept_old", "turn_coturn_redis",
    "turn_host", "turn_more_ports", "turn_udp_443",
    "turn_tcp", "turn_min_port", "turn_max_port", "turn_advertised_address", "turn_self_check", "turn_realm",
    "turn_workers", "turn_allocations_per_channel", "turn_allocations_per_source", "turn_bitrate_bps",
    "turn_total_bitrate_bps", "turn_drain_s", "turn_alternate_server", "turn_mobility", "turn_tcp_relays",
    "turn_legacy_channel_numbers", "allow_peer_cidrs",
)  # fmt: skip
_TURN_TLS = ("turn_tls_certificate", "turn_tls_key", "turn_host_name")
_NAMING = ("region", "account", "partition")
_ENDPOINTS = ("public_host", "public_scheme", "endpoint_wildcard")
_LOGS = ("log_level", "log_format")
_REDIS = ("redis_url", "catalog_url", "redis_prefix", "redis_secret")
_CLUSTER = (
    *_REDIS, "presence_url", "redis_allow_unsafe", "degraded_local", "node_lease_s", "connection_lease_s", "workers",
    "slot", "slot_host",
)  # fmt: skip
_KEEPING = ("data_dir", *_NAMING, *_REDIS)
_CLIENT = (
    "endpoint", "token", "access_key_id", "secret_access_key", "session_token", "region", "ca_file", *_LOGS,
)  # fmt: skip
_SERVE = (
    *_ADDRESSES, *_TLS, *_TURN, *_TURN_TLS, *_ENDPOINTS, "allowed_origins", "trusted_proxies", *_NAMING,
    "signing_regions", "account_channel_limit", "data_dir", *_CLUSTER, "recordings", "limits_profile",
    "control_messages", "websocket", "drain_s", *_LOGS, "audit_log",
)  # fmt: skip
_NOT_OF_DEMO = (
    "host", "turn_host", "data_dir", *_TLS, *_TURN_TLS, "public_scheme", "endpoint_wildcard", "trusted_proxies",
    *_CLUSTER,
)  # fmt: skip
_TURN_ALONE = (
    "host", "turn_port", *_TURN, *_TURN_TLS, "tls", "tls_certificate", "tls_key", "tls_names", "data_dir",
    *_REDIS, "limits_profile", *_LOGS,
)  # fmt: skip
_CHECK = tuple(dict.fromkeys((*_TURN_ALONE, *_NAMING, *_CLIENT)))  # our own server, or that of an endpoint
_ROLES = ("viewer", "master", "recording", "admin")
_DEMO = tuple(name for name in _SERVE if name not in _NOT_OF_DEMO)


RECORD_BYTES = 10 * 1024**3
"""What a recording may hold unless it is told otherwise."""


class Command(msgspec.Struct, frozen=True):
    """One command: its help, a line to copy, the settings it takes as flags, its own arguments, and who runs it.

    `runner` is `module:function`; the function takes the arguments and the loaded settings and returns an exit code.
    """

    name: str
    help: str
    example: str
    settings: tuple[str, ...]
    runner: str
    arguments: Callable[[argparse.ArgumentParser], None]


def _inherited(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--inherited-fd", type=int, help=argparse.SUPPRESS)


def _serve(parser: argparse.ArgumentParser) -> None:
    json_flag(parser)
    _inherited(parser)
    parser.add_argument(
        "--emulator",
        action="store_true",
        help="for tests: in memory, on loopback, with TLS and public keys, without operations port; "
        "ports that are not given are any free ones",
    )


def _source(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--source",
        metavar="URI",
        default="test",
        help="what the master sends: test, file:PATH, rtsp://HOST/PATH, v4l2:/dev/video0, screen: or "
        "'command:PROGRAM ARGUMENT ...', with options as in 'test?size=640x360&fps=15' (default: test)",
    )


def _demo(parser: argparse.ArgumentParser) -> None:
    json_flag(parser)
    _source(parser)
    parser.add_argument("--relaxed", action="store_true", help="short for --limits-profile relaxed")
    _keeping(parser)


def _turn(parser: argparse.ArgumentParser) -> None:
    json_flag(parser)
    _inherited(parser)
    verbs = parser.add_subparsers(dest="verb", metavar="check|coturn-config")
    check = verbs.add_parser(
        "check",
        **texts(
            "play a client against a TURN server and name what is broken", "heliograph turn check turn:192.0.2.7:3478"
        ),
    )
    check.add_argument("uris", nargs="*", metavar="URI", help="turn:HOST:PORT, turns:, stun:; default: our own server")
    check.add_argument("--username", metavar="NAME", help="of the credential; without one only what needs none")
    check.add_argument("--password", metavar="TEXT", help="of the credential; others see it in the list of processes")
    check.add_argument("--password-stdin", action="store_true", help="read the password from stdin")
    check.add_argument("--channel", metavar="NAME", help="take the ICE servers that --endpoint has for this channel")
    check.add_argument(
        "--timeout", type=seconds, default=5.0, metavar="S", help="seconds to wait for each answer (default: 5)"
    )
    _verb_flags(check, _CHECK)
    config = verbs.add_parser(
        "coturn-config",
        **texts(
            "print the configuration that coturn is started with, for one that runs elsewhere",
            "heliograph turn coturn-config --host 0.0.0.0 --turn-advertised-address 203.0.113.7",
        ),
    )
    config.add_argument("--show-secret", action="store_true", help="print the secret, too, that coturn needs")
    _verb_flags(config, _TURN_ALONE)


def _verb_flags(parser: argparse.ArgumentParser, names: Sequence[str]) -> None:
    """Flags of a verb whose command works without one: what it does not give, the command's own flag does."""
    parser.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print one JSON object")
    add_settings(parser, names)


def _master(parser: argparse.ArgumentParser) -> None:
    _inherited(parser)
    parser.add_argument("--channel", metavar="NAME", help="channel to be the master of")
    _source(parser)
    parser.add_argument("--persist", action="store_true", help="when replaced by a newer master, try again after 30 s")
    parser.add_argument(
        "--encoder",
        default="auto",
        metavar="NAME",
        help="encoder that is never replaced, or auto; `heliograph encoders` lists them (default: auto)",
    )
    parser.add_argument(
        "--bitrate", type=bitrate, default="2M", metavar="BIT/S", help="of the picture: 800k, 2M ... (default: 2M)"
    )
    parser.add_argument(
        "--max-layers",
        type=int,
        choices=(1, 2, 3),
        default=3,
        help="sizes for slow viewers: full; half, too; quarter, too (default: 3)",
    )
    parser.add_argument(
        "--talkback", metavar="URI", help="let viewers talk: alsa:DEVICE, file:PATH or 'command:PROGRAM ARGUMENT ...'"
    )
    parser.add_argument(
        "--talkback-mode",
        choices=("mix", "floor"),
        default="mix",
        help="when several talk: all together, or one at a time (default: mix)",
    )
    parser.add_argument(
        "--ptz-command", type=program, default=(), metavar="WORDS", help="program that moves the camera for viewers"
    )
    parser.add_argument("--record", metavar="DIR", help="record into DIR/ACCOUNT/CHANNEL, watched or not")
    _keeping(parser)
    parser.add_argument("--json", action="store_true", help="print a line of JSON when ready, then one per report")
    parser.add_argument(
        "--stats-interval-s", type=seconds, default=10.0, metavar="S", help="from report to report (default: 10)"
    )


def _keeping(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--record-max-age-s", type=seconds, metavar="S", help="remove what was recorded longer ago")
    parser.add_argument(
        "--record-max-bytes",
        type=size,
        default=RECORD_BYTES,
        metavar="N",
        help="remove the oldest above this, such as 500M; 0: only a full disk ends it (default: 10G)",
    )


def _encoders(parser: argparse.ArgumentParser) -> None:
    json_flag(parser)
    parser.add_argument("--refresh", action="store_true", help="probe anew what is known to work or to crash, too")


def _viewer(parser: argparse.ArgumentParser) -> None:
    json_flag(parser)
    parser.add_argument("--channel", metavar="NAME", required=True, help="channel to watch")
    parser.add_argument("--frames", type=positive, help="frames to decode in all (default: 30; with --latency 300)")
    parser.add_argument(
        "--latency", action="store_true", help="measure glass to glass by the counter of the test pattern"
    )
    parser.add_argument("--relay", action="store_true", help="use relay candidates only")
    parser.add_argument(
        "--codec", choices=("H264", "VP8"), default="H264", help="video codec to prefer (default: H264)"
    )
    parser.add_argument("--timeout", type=seconds, default=20.0, metavar="S", help="seconds in all (default: 20)")
    parser.add_argument("--client-id", metavar="ID", help="client id to connect with (default: one made up)")


def _channel(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="create|describe|list|delete")
    for verb, words in (("create", "make a channel"), ("describe", "show a channel"), ("delete", "remove a channel")):
        one = verbs.add_parser(verb, **texts(words, f"heliograph channel {verb} front-door"))
        one.add_argument("name", help="channel name")
        _client_flags(one)
        if verb == "create":
            one.add_argument("--message-ttl", type=positive, metavar="S", help="seconds a message waits, 5-120")
            one.add_argument("--tag", action="append", default=[], metavar="KEY=VALUE", help="tag; may be repeated")
    every = verbs.add_parser("list", **texts("show all channels", "heliograph channel list --prefix front- --json"))
    every.add_argument("--prefix", default="", help="only names that begin so")
    _client_flags(every)


def _client_flags(parser: argparse.ArgumentParser) -> None:
    json_flag(parser)
    add_settings(parser, _CLIENT)


def _token(parser: argparse.ArgumentParser) -> None:
    json_flag(parser)
    parser.add_argument("--channel", metavar="NAME", default="*", help="channel it is good for (default: every one)")
    parser.add_argument("--role", choices=_ROLES, default="viewer", help="what it allows (default: viewer)")
    parser.add_argument("--ttl", type=seconds, default=3600.0, metavar="S", help="lifetime in seconds (default: 3600)")
    parser.add_argument("--client-id", metavar="ID", help="the only viewer client id it may use")


def _key(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="create|list|revoke|session|share")
    create = verbs.add_parser(
        "create", **texts("make an access key", "heliograph key create --role master --channel a")
    )
    create.add_argument("--policy", metavar="FILE", help="what it may do: an IAM policy document in JSON")
    _rights(create, "admin, on every channel")
    create.add_argument("--description", default="", metavar="TEXT", help="for the list")
    create.add_argument(
        "--access-key-id", dest="imported", metavar="ID", help="import this id, so that clients need not change"
    )
    create.add_argument("--secret-stdin", action="store_true", help="read the secret of an imported key from stdin")
    _key_flags(create)
    _key_flags(verbs.add_parser("list", **texts("show all access keys, without secrets", "heliograph key list --json")))
    revoke = verbs.add_parser("revoke", **texts("end a key, a session or a token", "heliograph key revoke AKIA..."))
    revoke.add_argument("id", metavar="ID", help="id of a key or a session, a token, or its jti")
    _key_flags(revoke)
    session = verbs.add_parser(
        "session", **texts("make credentials that end by themselves", "heliograph key session --key AKIA... --ttl 900")
    )
    session.add_argument("--key", metavar="ID", required=True, help="access key that it is made from")
    session.add_argument(
        "--ttl", type=seconds, default=3600.0, metavar="S", help="seconds, 43200 at most (default: 3600)"
    )
    _rights(session, "all that the key may do")
    session.add_argument("--client-id", metavar="ID", help="the only viewer client id it may use")
    _key_flags(session)
    share = texts("put the keys of --data-dir in the place of those that nodes share in Redis", "heliograph key share")
    _key_flags(verbs.add_parser("share", **share))


def _rights(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument("--role", choices=_ROLES, help=f"what it may do (default: {default})")
    parser.add_argument("--channel", metavar="NAME", help="channel it is good for (default: every one)")


def _key_flags(parser: argparse.ArgumentParser) -> None:
    json_flag(parser)
    add_settings(parser, _KEEPING)


def _explain(parser: argparse.ArgumentParser) -> None:
    json_flag(parser)
    asked = parser.add_mutually_exclusive_group(required=True)
    asked.add_argument("--key", metavar="ID", help="access key that is asked about")
    asked.add_argument("--token", dest="jwt", metavar="JWT", help="token, or session token, that is asked about")
    asked.add_argument("--policy", metavar="FILE", help="IAM policy document that is asked about")
    parser.add_argument("--action", required=True, help="what it wants to do: ConnectAsViewer ...")
    parser.add_argument("--arn", required=True, help="on what: a channel's ARN, a pattern of ARNs, or *")


COMMANDS = (
    Command("demo", "all planes on loopback with a live picture; nothing stays behind",
            "heliograph demo --http-port 0", _DEMO, "app.cli_demo:run", _demo),
    Command("serve", "the service: API, signaling and TURN, data in --data-dir",
            "heliograph serve --host 0.0.0.0 --turn-advertised-address 203.0.113.7", _SERVE, "app.cli_serve:run",
            _serve),
    Command("turn", "STUN/TURN alone, with the secret of --data-dir; `turn check` says what is wrong",
            "heliograph turn --host 0.0.0.0 --turn-advertised-address 203.0.113.7",
            _TURN_ALONE, "app.cli_turn:run", _turn),
    Command("master", "send a picture into a channel", "heliograph master --channel front-door --source test",
            _CLIENT, "app.cli_master:run", _master),
    Command("viewer", "watch a channel without a screen", "heliograph viewer --channel demo --frames 30 --json",
            _CLIENT, "app.cli_viewer:run", _viewer),
    Command("encoders", "what each encoder can do here, which is used and why the others are not",
            "heliograph encoders --json", ("data_dir", *_LOGS), "app.cli_encoders:run", _encoders),
    Command("channel", "make, show, list and remove channels", "heliograph channel create front-door", (),
            "app.cli_channel:run", _channel),
    Command("token", "sign a token with the keys of --data-dir",
            "heliograph token --channel front-door --role viewer --ttl 3600", _KEEPING,
            "app.cli_token:run", _token),
    Command("key", "make, show and revoke access keys of --data-dir, and make sessions of them",
            "heliograph key create --description back-end", (), "app.cli_key:run", _key),
    Command("move", "bring channels, access keys and revocations of --data-dir into Redis, for several nodes",
            "heliograph move --redis redis://:PASSWORD@redis.internal:6379 --dry-run",
            ("data_dir", *_REDIS, "redis_allow_unsafe"), "app.cli_move:run", cli_parser.trial_flags),
    Command("explain-access", "say which statement allows or denies something",
            "heliograph explain-access --policy p.json --action ListSignalingChannels --arn '*'", _KEEPING,
            "app.cli_explain:run", _explain),
    Command("settings", "every setting, its value and where it came from", "heliograph settings --json",
            tuple(settings.BY_NAME), "app.cli_settings:run", json_flag),
    Command("bench", "run one benchmark of a checkout", "heliograph bench first-frame --runs 3", (),
            "app.cli_bench:run", bench_flags.add),
    Command("version", "the version", "heliograph version", (), "app.cli_version:run", json_flag),
)  # fmt: skip
EPILOG = "exit codes:\n" + "\n".join(f"  {code.value:>2}  {words}" for code, words in MEANING.items())


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        print(importlib.import_module("app.cli_version").version())
        parser.exit()


@functools.cache
def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = Parser(
        prog="heliograph",
        description="Self-hosted signaling, STUN/TURN and media, compatible with Kinesis Video Streams WebRTC.",
        epilog=f"example: heliograph demo\n\n{EPILOG}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and leave")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS:
        one = commands.add_parser(command.name, **texts(command.help, command.example))
        command.arguments(one)
        if command.settings:
            add_settings(one, command.settings)
    return parser


def _load(arguments: argparse.Namespace) -> settings.Loaded:
    flags = {name: value for name, value in vars(arguments).items() if name in settings.BY_NAME}
    loaded = settings.load(flags, os.environ, getattr(arguments, "config", None))
    for warning in loaded.warnings:
        print(f"heliograph: {warning}", file=sys.stderr)
    return loaded


def _run(argv: Sequence[str] | None) -> int:
    arguments = build_parser().parse_args(argv)
    loaded = _load(arguments)
    runner = next(command.runner for command in COMMANDS if command.name == arguments.command)
    module, function = runner.split(":")
    return int(getattr(importlib.import_module(module), function)(arguments, loaded))


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; what a user can mend is one sentence on stderr."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        code = _run(argv)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return Exit.OK
    except BrokenPipeError:  # `heliograph settings | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.OK
    except (CommandError, ServiceError, ExceptionGroup) as error:
        reason = cause(error)
        if isinstance(reason, ServiceError):
            reason = refusal(reason)
        if not isinstance(reason, CommandError):
            raise
        print(f"heliograph: {reason}", file=sys.stderr)
        return reason.code
    return code
