"""The relay under attack: all of it, on real sockets of loopback, with a clock by hand."""

import asyncio
import contextlib
import ctypes
import gc
import os
import selectors
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from media.relay.certificate import CertificatePair
from media.relay.relay import Relay, RelayAddress
from media.relay.relay_settings import RelaySettings
from media.turn.credential import REMEMBERED_ACCOUNTS, Keys
from tests import certificates
from tests.media.turn.world import PASSWORD

REALM = "heliograph"
LONGEST_S = 3700
"""More than any lifetime or deadline."""

SETTINGS = RelaySettings(
    port=0,
    more_hosts=("::1",),
    advertised_address="127.0.0.1",
    advertised_address_v6="::1",
    min_port=18_000,  # of nobody else: what is sent to the first ones may reach no other test's relay
    max_port=18_299,
    allocations_per_channel=8,
    realm=REALM,
    has_mobility=True,
    has_tcp_relays=True,
)


def key_for(username: str) -> Keys | None:
    """Users are `NAME@CHANNEL`; `nobody` is unknown, and the credential of `late` has expired."""
    name, _, channel = username.partition("@")
    if name == "nobody":
        return None
    return Keys((PASSWORD,), channel.encode(), 0.0 if name == "late" else 1e12, (name.encode(),))


class HandClock(asyncio.SelectorEventLoop):
    """A loop whose time passes only when it is told so."""

    def __init__(self) -> None:
        super().__init__(selectors.EpollSelector())
        self.now = 1000.0

    def time(self) -> float:
        return self.now


class Leak(msgspec.Struct, frozen=True):
    """What is held: resident bytes, and open descriptors."""

    resident_bytes: int
    descriptors: int


class Target:
    """A relay that serves UDP, TCP, TLS and DTLS."""

    def __init__(self, loop: HandClock, relay: Relay, ca: Path) -> None:
        self.ca = ca
        self.loop = loop
        self.relay = relay
        self.port = 0
        self.counts: Counter[str] = Counter()
        self.faults: list[str] = []
        self._is_ready = asyncio.Event()
        loop.set_exception_handler(self._note_fault)

    def ready(self, address: RelayAddress) -> None:
        self.port = address.port
        self._is_ready.set()

    async def wait_until_ready(self) -> None:
        await self._is_ready.wait()

    def _note_fault(self, _: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        self.faults.append(f"{context.get('message')}: {context.get('exception')!r}")

    async def turn(self) -> None:
        """Let the relay read what came; what a handler of the loop raised is raised here."""
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        if self.faults:
            raise AssertionError(self.faults)

    async def pass_time(self, seconds: float) -> None:
        """Let time pass, with one tick of the relay at least for each second and a half."""
        self.loop.now += seconds
        await self.turn()

    async def rest(self) -> None:
        """Let all that lives by a deadline come to its end: allocations first, then connections without one."""
        await self.pass_time(LONGEST_S)
        for _ in range(2 * LONGEST_S):
            await self.pass_time(1.0)
            await asyncio.to_thread(int)  # the relay's tick may wait for a thread of its own
            if not len(self.relay._doors) + len(self.relay._relays):
                return

    def check_bounds(self) -> None:
        """Every table holds no more than it may."""
        server, relay = self.relay._server, self.relay
        assert relay.stats.allocations == len(server._table) <= SETTINGS.max_port - SETTINGS.min_port + 1
        assert len(server._credentials._accounts) <= REMEMBERED_ACCOUNTS
        assert len(relay._doors) <= 2 * 1024 + len(server._table)
        for allocation in server._table.by_client.values():
            assert len(allocation.permissions or ()) <= allocation.most_entries
            assert len(allocation.binds or ()) <= 2 * allocation.most_entries  # by number and by peer
        for name in ("dropped", "refused_peers", "auth_failures", "connections_refused", "handshake_failures"):
            assert len(getattr(relay.stats, name)) < 40, name

    def check_empty(self) -> None:
        """Nothing is left of all the clients."""
        server, relay = self.relay._server, self.relay
        assert relay.stats.allocations == len(server._table) == server.allocation_count == 0
        assert relay._relays == {}
        assert len(relay._doors) == 0
        assert set(relay.stats.connections.values()) <= {0}


def held() -> Leak:
    """What this process holds now, after a collection; what the C library keeps for later use is not held."""
    gc.collect()
    with contextlib.suppress(AttributeError):  # not in every C library
        ctypes.CDLL(None).malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return Leak(pages * os.sysconf("SC_PAGE_SIZE"), len(list(Path("/proc/self/fd").iterdir())))


@contextlib.asynccontextmanager
async def target(folder: Path) -> AsyncIterator[Target]:
    """Serve until the end, and see then that all descriptors are closed."""
    files = certificates.made(folder)
    pair = CertificatePair(files.pair.certificate, files.pair.key)
    settings = msgspec.structs.replace(SETTINGS, certificate=pair, tls=certificates.tls_context(pair))
    loop = asyncio.get_running_loop()
    assert isinstance(loop, HandClock)
    relay, stopping = Relay(settings, key_for), asyncio.Event()
    found = Target(loop, relay, files.ca)
    async with asyncio.TaskGroup() as group:
        group.create_task(relay.run(found.ready, stopping))
        await found.wait_until_ready()
        yield found
        stopping.set()
