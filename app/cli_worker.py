"""What `heliograph serve` does as one of several: it is started by the parent of them all."""

import importlib

import msgspec

from app.exits import CommandError, Exit, cause
from app.parent import ParentLink, refuse
from app.wiring.orders import WorkerOrder

_decode = msgspec.json.Decoder(WorkerOrder).decode


def run(link: ParentLink) -> Exit:
    """Serve until the parent ends this process, or is gone; what hinders it is told to the parent."""
    worker = importlib.import_module("app.wiring.worker")  # while the parent waits for the relay
    order = _decode(link.configuration())
    try:
        worker.start(order, link)
    except (CommandError, ExceptionGroup) as error:
        reason = cause(error)
        if not isinstance(reason, CommandError):
            raise
        return refuse(link, reason)
    return Exit.OK
