"""What `heliograph serve` does as one of several: it is started by the parent of them all."""

import importlib

import msgspec

from app.exits import Exit
from app.parent import ParentLink, run_or_refuse
from app.wiring.orders import WorkerOrder

_decode = msgspec.json.Decoder(WorkerOrder).decode


def run(link: ParentLink) -> Exit:
    """Serve until the parent ends this process, or is gone; what hinders it is told to the parent."""
    worker = importlib.import_module("app.wiring.worker")  # while the parent waits for the relay
    order = _decode(link.configuration())
    return run_or_refuse(link, lambda: worker.start(order, link))
