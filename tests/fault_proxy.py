"""A TCP proxy that misbehaves on command: for what a network does between two healthy programs.

`pause` holds bytes back and loses none; `half_open` swallows them, and a connection that lost any stays dead when the
proxy passes again, as behind a firewall that forgot it.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from typing import Final

from tests.ports import free_port

CHUNK: Final = 65_536
PART_S: Final = 0.02  # of which a narrow path is asleep at once
RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER with 0 s: close sends RST
Chunks = asyncio.Queue[tuple[float, bytes]]  # when to send, what; nothing for the end


class _Pair:
    """One connection: the client's socket and, unless it was accepted half-open, the server's."""

    def __init__(self, client: socket.socket, server: socket.socket | None) -> None:
        self.sockets = [end for end in (client, server) if end is not None]
        self.is_dead = server is None
        self.scope: asyncio.Task[None] | None = None

    def close(self, *, is_reset: bool) -> None:
        for end in self.sockets:
            if is_reset:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            else:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
        if self.scope is not None:
            self.scope.cancel()


class FaultProxy:
    """Listens on `host`:`port` and passes to the target; each method switches at once, for open connections too."""

    def __init__(self, target: tuple[str, int], group: asyncio.TaskGroup) -> None:
        self._target = target
        self._group = group
        self._pairs: set[_Pair] = set()
        self._flows = asyncio.Event()
        self._flows.set()
        self._swallows = False
        self._delay_s = 0.0
        self._bytes_per_s: float | None = None
        self._left: int | None = None
        self._accepting: asyncio.Task[None] | None = None
        self.host, self.port = "127.0.0.1", free_port()  # nobody takes it between `refuse` and `allow`
        self.accepted = 0

    @property
    def connections(self) -> int:
        """How many are open now; `accepted` counts all so far."""
        return len(self._pairs)

    def pass_on(self) -> None:
        """Be a good proxy again: no fault, no delay, no limit."""
        self._swallows, self._delay_s, self._bytes_per_s, self._left = False, 0.0, None, None
        self._flows.set()
        self.allow()

    def pause(self) -> None:
        """Stop reading on all connections; new ones are accepted and as silent."""
        self._flows.clear()

    def half_open(self) -> None:
        """Swallow all that comes and answer nothing, on old and new connections."""
        self._swallows = True

    def delay(self, seconds: float) -> None:
        """Let each byte arrive this much later, in each direction."""
        self._delay_s = seconds

    def bandwidth(self, bytes_per_s: float) -> None:
        """Pass at most this much in each direction of each connection."""
        self._bytes_per_s = bytes_per_s

    def cut_after(self, count: int) -> None:
        """Pass `count` more bytes, of all connections and directions together, then cut them all."""
        self._left = count

    def cut(self) -> None:
        """End all connections with FIN; new ones pass."""
        self._close(is_reset=False)

    def reset(self) -> None:
        """End all connections with RST; new ones pass."""
        self._close(is_reset=True)

    async def refuse(self) -> None:
        """Let new connections be refused by the kernel, until `allow` or `pass_on`; open ones stay."""
        accepting, self._accepting = self._accepting, None
        if accepting is not None:
            accepting.cancel()
            await asyncio.wait([accepting])

    def allow(self) -> None:
        """Accept connections."""
        if self._accepting is None:
            listener = socket.create_server((self.host, self.port))
            listener.setblocking(False)
            self._accepting = self._group.create_task(self._accept(listener))

    async def close(self) -> None:
        """End everything."""
        await self.refuse()
        self.reset()

    def _close(self, *, is_reset: bool) -> None:
        for pair in tuple(self._pairs):
            pair.close(is_reset=is_reset)

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with listener:
            while True:
                client, _ = await loop.sock_accept(listener)
                self.accepted += 1
                self._group.create_task(self._serve(client))

    async def _serve(self, client: socket.socket) -> None:
        server = None if self._swallows else socket.socket()
        pair = _Pair(client, server)
        pair.scope = asyncio.current_task()
        self._pairs.add(pair)
        try:
            for end in pair.sockets:
                end.setblocking(False)
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self._join(pair, client, server)
        except (OSError, ExceptionGroup):
            pass  # one end is gone: so is the other
        finally:
            self._pairs.discard(pair)
            for end in pair.sockets:
                end.close()

    async def _join(self, pair: _Pair, client: socket.socket, server: socket.socket | None) -> None:
        async with asyncio.TaskGroup() as group:
            if server is None:
                group.create_task(self._read(pair, client, asyncio.Queue()))
                return
            await asyncio.get_running_loop().sock_connect(server, self._target)
            for source, sink in ((client, server), (server, client)):
                chunks: Chunks = asyncio.Queue(16)
                group.create_task(self._read(pair, source, chunks))
                group.create_task(self._write(pair, sink, chunks))

    async def _read(self, pair: _Pair, source: socket.socket, chunks: Chunks) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._flows.wait()
            data = await loop.sock_recv(source, CHUNK)
            pair.is_dead = pair.is_dead or (self._swallows and bool(data))
            if not pair.is_dead:
                await chunks.put((loop.time() + self._delay_s, data))
            if not data:
                return

    async def _write(self, pair: _Pair, sink: socket.socket, chunks: Chunks) -> None:
        loop = asyncio.get_running_loop()
        while True:
            at, data = await chunks.get()
            await asyncio.sleep(max(0.0, at - loop.time()))
            await self._flows.wait()
            if pair.is_dead:
                continue
            if not data:
                sink.shutdown(socket.SHUT_WR)
                return
            while data:
                part, data = self._next_part(data)
                await loop.sock_sendall(sink, part)
                if self._left == 0:
                    self._left = None
                    self.cut()
                if self._bytes_per_s is not None:
                    await asyncio.sleep(len(part) / self._bytes_per_s)

    def _next_part(self, data: bytes) -> tuple[bytes, bytes]:
        size = len(data) if self._bytes_per_s is None else max(1, int(self._bytes_per_s * PART_S))
        if self._left is not None:
            size = min(size, self._left)
            self._left -= min(size, len(data))
        return data[:size], data[size:]


@contextlib.asynccontextmanager
async def fault_proxy(host: str, port: int) -> AsyncIterator[FaultProxy]:
    """A proxy to `host`:`port` while the block runs, passing at first."""
    async with asyncio.TaskGroup() as group:
        proxy = FaultProxy((host, port), group)
        proxy.allow()
        try:
            yield proxy
        finally:
            await proxy.close()
