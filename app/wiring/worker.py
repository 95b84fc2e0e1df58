"""One of several processes that serve: a node on sockets of its parent, with the relay of its parent."""

import contextlib
import os
import socket
from pathlib import Path

from app import slot_memory
from app.certificates import CertificateError, Pair
from app.parent import ParentLink
from app.processes import Ending
from app.report import Ready, Report
from app.settings import SettingsError
from app.tls import TlsContext, TlsListener
from app.wiring import loop, serve
from app.wiring.listeners import Listeners
from app.wiring.node import Node, NodeOrder
from app.wiring.orders import WorkerOrder
from app.wiring.relay_process import RelayOfParent


def start(order: WorkerOrder, link: ParentLink) -> None:
    """Serve until the parent ends it, or is gone, on an event loop of its own.

    Raises: CommandError when a part cannot start.
    """
    settings = order.settings
    with contextlib.ExitStack() as stack:
        memory = stack.enter_context(slot_memory.opened(settings.data_path, order.given_port, order.index))
        node = serve.order(settings, Path(order.keys_folder), memory)
        http, ops = (stack.enter_context(socket.socket(fileno=each)) for each in (order.http, order.ops))
        listeners = Listeners(http, ops, _tls(order, stack))
        loop.run(settings, _run(node, listeners, link, RelayOfParent(link, order.turn_uris)))


async def _run(order: NodeOrder, listeners: Listeners, link: ParentLink, relay: RelayOfParent) -> None:
    ending = Ending()
    link.watch(ending.event.set, relay.take)
    async with ending.by_signal(is_child=True):
        node = Node(order, relay)
        async with node.running(listeners, ending):
            await node.ownership.settle()
            if node.turn_uri:
                link.report(Report(ready=_ready(node, listeners)))
            await ending.event.wait()


def _ready(node: Node, listeners: Listeners) -> Ready:
    return Ready(
        pid=os.getpid(),
        slot=node.ownership.number,
        http=listeners.http_url,
        https=listeners.https_url,
        ops=listeners.ops_url,
    )


def _tls(order: WorkerOrder, stack: contextlib.ExitStack) -> TlsListener | None:
    if order.https is None:
        return None
    listener = stack.enter_context(socket.socket(fileno=order.https))
    pair = Pair(*map(Path, order.certificate))
    try:
        return TlsListener(listener, TlsContext(pair), Path(order.ca) if order.ca else None)
    except CertificateError as error:  # it was another one when the parent looked
        raise SettingsError(f"TLS_CERTIFICATE: {error}") from None
