"""`heliograph turn check`: play a client against a TURN server, and say what is broken and how it is mended."""

import argparse
import asyncio
import json
import secrets
import socket
import sys
from collections.abc import Callable, Iterator

import msgspec
from cryptography import x509
from cryptography.x509.oid import NameOID

from app import certificates, logs
from app.access import access_of
from app.data_folder import read_turn_secrets
from app.exits import CommandError, Exit, cause, unreachable
from app.settings import Loaded, Settings, SettingsError
from app.wiring.turn_self_check import credential
from app.wiring.turn_uris import Served, turn_uris
from channels.names import Role
from channels.service import EndpointUnreachableError
from channels.signaling.client import ClientSettings, SignalingClient
from media.relay.interfaces import detect
from media.relay.placement import WILDCARDS
from media.relay.relay import RelayAddress
from media.turn_check.check import Certificate, CheckOrder, check
from media.turn_check.client import Credential
from media.turn_check.steps import Attempt, Step
from media.turn_check.uri import TurnUri, UriError

_NAME_WIDTH = 14


class Target(msgspec.Struct, frozen=True):
    """URIs that share a credential."""

    uris: tuple[TurnUri, ...]
    credential: Credential | None


def run(arguments: argparse.Namespace, loaded: Loaded) -> Exit:
    """Check and print; the exit code is 1 when a step failed."""
    settings = loaded.preferring(log_level="warning", log_format="text")
    logs.configure(settings.log_level, settings.log_format)
    targets = _targets(arguments, settings)
    if not arguments.uris and not arguments.channel:
        settings = _trusting_our_own(settings)
    shown: list[Attempt] = []

    def show(attempt: Attempt) -> None:
        shown.append(attempt)
        if not arguments.json:
            print(("\n" if len(shown) > 1 else "") + "\n".join(_lines(attempt)), flush=True)

    access = access_of(settings)
    orders = [
        CheckOrder(each.uris, each.credential, access.tls, describe, arguments.timeout, settings.ca_file)
        for each in targets
    ]
    try:
        has_passed = asyncio.run(_check(orders, show))
    except BaseExceptionGroup as error:  # `heliograph turn check | head`
        raise cause(error) from None
    if arguments.json:
        print(json.dumps({"ok": has_passed, "attempts": [_as_data(attempt) for attempt in shown]}))
    elif len(shown) > 1:
        print(f"\n{sum(attempt.has_passed for attempt in shown)} of {len(shown)} ways work")
    return Exit.OK if has_passed else Exit.FAILURE


async def _check(orders: list[CheckOrder], show: Callable[[Attempt], None]) -> bool:
    results = [await check(order, show) for order in orders]
    return all(results)


def _targets(arguments: argparse.Namespace, settings: Settings) -> tuple[Target, ...]:
    given = _given(arguments)
    if arguments.channel:
        if arguments.uris or given:
            raise CommandError("--channel brings URIs and credential: leave them out", Exit.USAGE)
        return _of_channel(arguments.channel, settings)
    if arguments.uris:
        return (Target(_parsed(arguments.uris), given),)
    return (_own(settings, given),)


def _given(arguments: argparse.Namespace) -> Credential | None:
    if arguments.password is not None and arguments.password_stdin:
        raise CommandError("give --password or --password-stdin, not both", Exit.USAGE)
    password = sys.stdin.readline().rstrip("\n") if arguments.password_stdin else arguments.password
    if (arguments.username is None) != (password is None):
        raise CommandError("--username and --password go together: give both", Exit.USAGE)
    return None if password is None else Credential(arguments.username, password)


def _parsed(texts: list[str]) -> tuple[TurnUri, ...]:
    try:
        return tuple(TurnUri.parse(text) for text in texts)
    except UriError as error:
        raise CommandError(str(error), Exit.USAGE) from None


def _of_channel(name: str, settings: Settings) -> tuple[Target, ...]:
    client_id = f"turn-check-{secrets.token_hex(4)}"
    client = SignalingClient(ClientSettings(settings.endpoint, access_of(settings), name, Role.VIEWER, client_id))
    try:
        servers = asyncio.run(client.ice_servers())
    except EndpointUnreachableError as error:
        raise unreachable(error) from None
    if not servers:
        raise CommandError(f"the channel {name} has no ICE servers")
    return tuple(
        Target(_parsed(list(each.uris)), Credential(each.username, each.password) if each.username else None)
        for each in servers
    )


def _own(settings: Settings, given: Credential | None) -> Target:
    """Our own server, with a credential as GetIceServerConfig makes them."""
    if settings.turn_port == 0:
        raise SettingsError("TURN_PORT: 0 is any free port: give the URI that the server told when it was ready")
    given = given or credential(settings, read_turn_secrets(settings.data_path)[-1])
    ports = [(settings.turn_port, "udp"), *([(settings.turn_port, "tcp")] if settings.turn_tcp else [])]
    served = Served(
        RelayAddress(_host(settings.turn_place), settings.turn_port, tuple(ports)),
        has_tls=_has_certificate(settings),
    )
    return Target(_parsed(list(turn_uris(settings, served))), given)


def _has_certificate(settings: Settings) -> bool:
    return settings.tls or bool(settings.turn_tls_certificate)


def _trusting_our_own(settings: Settings) -> Settings:
    """Settings that trust the CA of the data folder, when our own server's certificate is one of it."""
    ca = settings.data_path / certificates.FOLDER / "ca.pem"
    is_ours = settings.tls and not settings.tls_certificate and not settings.turn_tls_certificate
    return msgspec.structs.replace(settings, ca_file=str(ca)) if is_ours and not settings.ca_file else settings


def _host(host: str) -> str:
    if host not in WILDCARDS:
        return "127.0.0.1" if host == "localhost" else host
    return detect(socket.AF_INET) or "127.0.0.1"


def describe(certificate: bytes) -> Certificate:
    """Return what a person asks of a certificate in DER form."""
    found = x509.load_der_x509_certificate(certificate)
    return Certificate(tuple(_names(found)), found.not_valid_after_utc.timestamp(), _common_name(found.issuer))


def _names(certificate: x509.Certificate) -> Iterator[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        yield _common_name(certificate.subject)
        return
    for name in names:
        yield str(name.value)


def _common_name(name: x509.Name) -> str:
    found = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if found else name.rfc4514_string() or "nobody"


def _as_data(attempt: Attempt) -> dict[str, object]:
    data: dict[str, object] = {"ok": attempt.has_passed, **msgspec.to_builtins(attempt)}
    return data


def _lines(attempt: Attempt) -> Iterator[str]:
    failed = next((step.name for step in attempt.steps if step.result == "failed"), None)
    at = f" at {attempt.address}" if attempt.address else ""
    is_whole = all(step.result == "ok" for step in attempt.steps)
    end = f"FAILED at {failed}" if failed else f"ok{'' if is_whole else ' as far as tried'}, {attempt.ms:.0f} ms"
    yield f"{attempt.uri} over {attempt.way}{at}: {end}"
    for step in attempt.steps:
        yield from _of_step(step)
    untried = [step.name for step in attempt.steps if step.result == "skipped" and not step.seen]
    if untried:
        yield f"  not tried: {', '.join(untried)}"


def _of_step(step: Step) -> Iterator[str]:
    if step.result == "skipped" and not step.seen:
        return
    sign = {"ok": "", "failed": "FAILED: ", "skipped": "skipped: "}[step.result]
    yield f"  {step.name:<{_NAME_WIDTH}} {step.ms:7.1f} ms  {sign}{step.seen}"
    for label, words in (("note", step.note), ("why", step.cause), ("fix", step.fix)):
        if words:
            yield f"  {'':<{_NAME_WIDTH}} {label:>10}  {words}"
