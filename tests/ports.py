"""Free ports for tests: from a block that this process alone has, under those that the kernel hands out.

A port that the kernel names is anybody's again once it is closed, and may lie among the relay ports of a service.
"""

import contextlib
import functools
import itertools
import os
import random
import socket
from collections.abc import Iterator
from typing import Final

_FIRST: Final = 20_000
_LAST: Final = 32_000
_SIZE: Final = 250


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody has, over TCP or UDP, and that no other test is told meanwhile."""
    ports = _ports(os.getpid())
    return next(port for port in itertools.islice(ports, _SIZE) if _is_free(port))


@functools.cache
def _ports(_process: int) -> Iterator[int]:
    """The ports of a block in a ring; its first stays bound, and so the block taken, until this process ends."""
    blocks = range(_FIRST, _LAST, _SIZE)
    for first in random.sample(blocks, len(blocks)):
        with contextlib.suppress(OSError), socket.socket() as mark:
            mark.bind(("127.0.0.1", first))
            mark.detach()
            return itertools.cycle(range(first + 1, first + _SIZE))
    raise OSError("other processes have all blocks of ports")


def _is_free(port: int) -> bool:
    with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            stack.enter_context(socket.socket(socket.AF_INET, kind)).bind(("127.0.0.1", port))
        return True
    return False
