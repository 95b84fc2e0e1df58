"""`heliograph serve --workers N`: bind the ports of all processes, start them, and say where they answer."""

import contextlib
import importlib
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from app import turn_places
from app.data_folder import keys_folder, load_or_create_turn_secrets, open_data_folder
from app.listen import listen
from app.processes import Child
from app.report import Ready
from app.settings import Settings
from app.wiring.listeners import url_of
from app.wiring.orders import TurnOrder, WorkerOrder, own_certificate

if TYPE_CHECKING:
    from app.tls import Tls

_PORTS: Final = ("http_port", "https_port", "ops_port")
Notice = Callable[[str], None]


class Seat(msgspec.Struct, frozen=True):
    """The sockets of one process, and the settings that it serves with."""

    settings: Settings
    given_port: int
    http: socket.socket
    ops: socket.socket
    https: socket.socket | None = None


def run(values: Settings, announce: "Callable[[dict[str, object], Tls | None], None]", notice: Notice) -> None:
    """Serve by several processes until SIGINT or SIGTERM; `announce` gets what the ready line says.

    Raises: CommandError when a part cannot start, or the relay ends by itself.
    """
    folder = open_data_folder(values)
    with contextlib.ExitStack() as stack:
        seats = [seat(values, index, stack) for index in range(turn_places.workers(values.workers))]
        tls: Tls | None = importlib.import_module("app.tls").context(values, folder) if values.tls else None
        turn = Child("turn")  # loads its code while we load ours
        turn.on_notice = notice
        try:
            keys = keys_folder(values, notice)
            certificate = tls[0].pair.names if tls else None
            secrets = load_or_create_turn_secrets(keys)
            for_turn = TurnOrder.of(values, secrets, own_certificate(values) or certificate)
            ca = str(tls[1] or "") if tls else ""
            workers = importlib.import_module("app.wiring.workers")
            orders = tuple(_order(each, index, keys, certificate, ca) for index, each in enumerate(seats))
            order = workers.WorkersOrder(for_turn, orders, tuple(_sockets(seats)))
            workers.start(order, turn, lambda uris, said: announce(_where(seats, uris, said), tls), notice)
        finally:
            turn.abandon()


def seat(values: Settings, index: int, stack: contextlib.ExitStack) -> Seat:
    """Bind the ports of the process with this index: those that were given, and so many more.

    Raises: SettingsError with the setting's name.
    """
    given = {name: getattr(values, name) and getattr(values, name) + index for name in _PORTS}
    http = stack.enter_context(listen(values.host, given["http_port"], "http_port"))
    ops = stack.enter_context(listen(values.ops_host, given["ops_port"], "ops_port"))
    https = stack.enter_context(listen(values.host, given["https_port"], "https_port")) if values.tls else None
    own = msgspec.structs.replace(
        values,
        http_port=_port(http),
        ops_port=_port(ops),
        https_port=_port(https) if https else values.https_port,
        slot=str(int(values.slot) + index) if values.slot else "",
        public_host=public_host(values, index),
    )
    return Seat(own, given["http_port"], http, ops, https)


def public_host(values: Settings, index: int) -> str:
    """Return the public host of a process: one that names the first one's own port names the others' by theirs."""
    host, _, port = values.public_host.rpartition(":")
    own = values.https_port if values.tls else values.http_port
    if values.public_scheme != "auto" or not own or port != str(own):
        return values.public_host
    return f"{host}:{own + index}"


def _order(each: Seat, index: int, keys: Path, certificate: tuple[str, str] | None, ca: str) -> WorkerOrder:
    return WorkerOrder(
        each.settings,
        str(keys),
        index,
        each.given_port,
        each.http.fileno(),
        each.ops.fileno(),
        each.https.fileno() if each.https else None,
        certificate or ("", ""),
        ca,
    )


def _sockets(seats: Sequence[Seat]) -> list[socket.socket]:
    return [each for one in seats for each in (one.http, one.ops, one.https) if each is not None]


def _where(seats: Sequence[Seat], uris: tuple[str, ...], said: Sequence[Ready]) -> dict[str, object]:
    first = seats[0]
    workers = [
        {"slot": each.slot, "http": each.http, "https": each.https, "ops": each.ops, "pid": each.pid} for each in said
    ]
    return {
        "http": url_of("http", first.http),
        "https": url_of("https", first.https) if first.https else None,
        "turn": uris[0],
        "ops": url_of("http", first.ops),
        "workers": workers,
    }


def _port(listener: socket.socket) -> int:
    return int(listener.getsockname()[1])
