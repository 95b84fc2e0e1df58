"""Nodes and waits of the fault tests: what blocks does so in threads, since clients and proxies live on the loop."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

from tests.faults.ledger import Ledger, Line, Party, RefusedError
from tests.nodes import Node, Service
from tests.redis_server import RedisServer

PATIENCE_S = 60.0  # what must happen may take so long on a busy machine; how long it took is a row of the table
SETTLED_S = 60.0 + PATIENCE_S  # what is held for somebody who does not look for it is answered after a minute

# Slots that are free before their own lease is over are free because their node is dead, however long that took.
OUTLASTING = ("--connection-lease-s", str(5 * PATIENCE_S))


@contextlib.asynccontextmanager
async def nodes(
    folder: Path, url: str, *words: str, own: Sequence[Sequence[str]] = (), within: Sequence[Sequence[str]] = ()
) -> AsyncIterator[Service]:
    """A service of real nodes while the block runs."""
    udp_alone = ("--turn-tcp", "false")  # nobody relays here: one port less that somebody else may have
    service = Service(folder, url, *udp_alone, *words, own=own, within=within)
    await asyncio.to_thread(service.__enter__)
    try:
        yield service
    finally:
        await asyncio.to_thread(service.__exit__)


@contextlib.asynccontextmanager
async def channel(service: Service, name: str, *viewers: str) -> AsyncIterator[Ledger]:
    """A new channel and its clients, nobody of whom is connected yet."""
    arn = await asyncio.to_thread(service.create, name)
    async with Ledger(service, arn, *viewers) as ledger:
        yield ledger


async def until(is_so: Callable[[], bool], limit_s: float = PATIENCE_S, every_s: float = 0.02) -> float:
    """Seconds until it is so, asked on the loop. Raises: TimeoutError."""
    began = time.monotonic()
    async with asyncio.timeout(limit_s):
        while not is_so():  # noqa: ASYNC110  # it tells nobody
            await asyncio.sleep(every_s)
    return time.monotonic() - began


async def until_asked(is_so: Callable[[], bool], limit_s: float = PATIENCE_S, every_s: float = 0.05) -> float:
    """Seconds until it is so, asked in a thread: the answer may take a while. Raises: TimeoutError."""
    began = time.monotonic()
    async with asyncio.timeout(limit_s):
        while not await asyncio.to_thread(is_so):  # noqa: ASYNC110  # it tells nobody
            await asyncio.sleep(every_s)
    return time.monotonic() - began


async def until_in(party: Party, node: Node, limit_s: float = PATIENCE_S) -> Line:
    """Try again and again until the node lets this client in. Raises: TimeoutError."""
    give_up_at = time.monotonic() + limit_s
    while True:
        try:
            return await party.connect(node)
        except RefusedError as error:
            if time.monotonic() > give_up_at:
                raise TimeoutError(str(error)) from None
        await asyncio.sleep(0.02)


async def refusal(party: Party, node: Node, status: int) -> RefusedError:
    """How the node refuses this client, which it must; 503 may come before, while Redis does not answer in time."""
    while True:
        try:
            line = await party.connect(node)
        except RefusedError as error:
            if error.status == status:
                return error
            if error.status != 503:
                raise
        else:
            raise AssertionError(f"let in after {line.took_s:.2f} s")


async def until_ready(*nodes: Node) -> None:
    """Return when readiness of all of these is green. Raises: TimeoutError."""
    for node in nodes:
        await until_asked(lambda: node.ready()["status"] == "ok")  # noqa: B023  # waited for right here


async def until_red(node: Node, part: str) -> float:
    """Seconds until readiness is red for this part. Raises: TimeoutError."""
    return await until_asked(lambda: part in node.ready()["failing"])


async def all_settled(*ledgers: Ledger, limit_s: float = SETTLED_S) -> None:
    """Return when every message is delivered or answered. Raises: TimeoutError, with what is missing."""
    try:
        await until(lambda: not any(ledger.unaccounted() for ledger in ledgers), limit_s)
    except TimeoutError:
        missing = [(number, ledger.said[number]) for ledger in ledgers for number in ledger.unaccounted()]
        raise TimeoutError(f"{len(missing)} unaccounted: {missing[:5]}") from None


async def goes(ledger: Ledger, sender: Party, to: str, limit_s: float = SETTLED_S) -> float:
    """Seconds until something said from now on is delivered: said again whenever it was answered."""
    began = time.monotonic()
    async with asyncio.timeout(limit_s):
        while True:
            number = await sender.say(to)
            assert number, "the sender's connection is gone"
            await until(lambda: ledger.is_settled(number), limit_s, every_s=0.005)  # noqa: B023  # waited for right here
            if ledger.arrivals(number):
                return time.monotonic() - began
            await asyncio.sleep(0.05)


async def noticed(node: Node, since: float) -> float:
    """Seconds from `since` until the node knew that no messages go through Redis, by what its metrics say."""
    while True:
        away_s = await asyncio.to_thread(node.metric, "heliograph_redis_away_seconds")
        if away_s:
            return time.monotonic() - away_s - since
        await asyncio.sleep(0.1)


def slots(server: RedisServer, ledger: Ledger) -> dict[str, int]:
    """The taken slots of a channel and their fences, as Redis has them; `fence` is the highest one given out."""
    reply = server.command("HGETALL", f"heliograph:{{{ledger.arn}}}:slots")
    assert isinstance(reply, list)
    words = [word.decode() for word in reply if isinstance(word, bytes)]
    pairs = zip(words[::2], words[1::2], strict=True)
    return {slot: int(value if slot == "fence" else value.split()[1]) for slot, value in pairs}


def slot_nodes(server: RedisServer) -> Counter[str]:
    """How many slots each node has, dead or alive, as Redis has them."""
    keys = server.command("KEYS", "heliograph:*:slots")
    assert isinstance(keys, list)
    found = [server.command("HVALS", key) for key in keys if isinstance(key, bytes)]
    values = [value.decode().split() for reply in found if isinstance(reply, list) for value in reply]  # type: ignore[union-attr]
    return Counter(words[2] for words in values if len(words) == 4)
