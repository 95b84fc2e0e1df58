"""TCP and TLS clients that send mutants in pieces, and end their connections in every way."""

import contextlib
import itertools
import random
import socket
import ssl
import struct

from media.turn import stun
from media.turn.address import SocketAddress
from media.turn.framing import BROKEN, FIRST_OF_CHANNELS, cut
from tests.fuzz.datagrams import Recipes
from tests.fuzz.mutants import Mutator
from tests.fuzz.target import SETTINGS, Target

OPEN_AT_ONCE = 12
STEPS_AT_ONCE = 5
MOST_PIECES = 4
LONG = 14
"""Rounds of a stream that comes far."""

_ABORT = struct.pack("ii", 1, 0)
_PEERS = [("127.0.0.1", 9), ("127.0.0.1", SETTINGS.min_port), ("::1", 9)]
MOST_PEERS = 8


class Stream:
    """One connection: what is left to send of it, and what came."""

    def __init__(self, mutator: Mutator, port: int, hello: bytes, peers: list[SocketAddress]) -> None:
        self._mutator = mutator
        self.recipes = Recipes(mutator, peers, is_stream=True)
        self._received = b""
        self.handle = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        # no end of a connection shall linger: a million of them would have no ports left
        self.handle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
        self.handle.bind((f"127.0.0.{1 + mutator.below(250)}", 0))
        self.handle.connect(("127.0.0.1", port))
        self.handle.setblocking(False)
        self.is_plain = True
        self.is_over = False
        self._rounds = (LONG, *[2] * 10, *[0] * 21)[mutator.below(32)]
        self.recipes.is_framed = self._rounds == LONG  # the one that is to come far
        is_tls = self._rounds == 0 and mutator.roll() < 0.2
        self._pieces = self._cut(self._hello(hello) if is_tls else self._messages())

    def step(self, target: Target) -> bool:
        """Send the next piece; False when the stream is done."""
        if not self._pieces and self._rounds and not self.is_over:
            self._rounds -= 1
            self._pieces = self._cut(self._messages())
        if not self._pieces or self.is_over:
            return False
        try:
            self.handle.send(self._pieces.pop())
        except BlockingIOError:
            target.counts["full sockets"] += 1
        except OSError:
            self.is_over = True  # the relay closed, as it may
        return True

    def receive(self, target: Target) -> None:
        """Look at all that came: whole messages, and nothing else."""
        try:
            while data := self.handle.recv(65536):
                self._received += data
            self.is_over = True
        except BlockingIOError:
            pass
        except OSError:
            self.is_over = True
        if not self.is_plain:
            self._received = b""
            return
        messages, used = cut(memoryview(self._received))
        for message in messages:
            target.counts["messages of streams"] += 1
            if message[0] < FIRST_OF_CHANNELS:
                reply = stun.decode(bytes(message))
                self.recipes.learn(reply)
                if reply.method == stun.CONNECTION_BIND and reply.kind == stun.SUCCESS:
                    target.counts["streams joined with peers"] += 1
                    self.is_plain = False  # what follows is the peer's
                    return
        assert used != BROKEN
        self._received = self._received[used:]

    def end(self) -> None:
        """Close, by a reset; now and then say before that nothing more comes."""
        if self._mutator.roll() < 0.3:
            with contextlib.suppress(OSError):
                self.handle.shutdown(socket.SHUT_WR)
        self.handle.close()

    def _hello(self, hello: bytes) -> bytes:
        self.is_plain = False
        return self._mutator.change(hello) or b"\x16"

    def _messages(self) -> bytes:
        mutator = self._mutator
        if self.recipes.is_framed:
            return self.recipes.message()
        messages = [self.recipes.message() for _ in range(1 + mutator.below(5))]
        padded = b"".join(each + bytes(-len(each) % 4) if mutator.roll() < 0.9 else each for each in messages)
        if padded and (padded[0] == 22 or not self.is_plain):
            self.is_plain = False
        return mutator.change(padded) if mutator.roll() < 0.2 else padded

    def _cut(self, data: bytes) -> list[bytes]:
        """Pieces, the last one first."""
        if data[:1] == b"\x16" and not self._received:
            self.is_plain = False
        ends = sorted(
            {0, len(data), *(self._mutator.below(len(data)) for _ in range(self._mutator.below(MOST_PIECES)))}
        )
        return [data[start:end] for start, end in itertools.pairwise(ends)][::-1]


class Streams:
    """Some streams at once, by turns."""

    def __init__(self, target: Target, seed: int, client_context: ssl.SSLContext) -> None:
        self._target = target
        self._mutator = Mutator(random.Random(seed))
        self._open: list[Stream] = []
        self._client_context = client_context
        self._hello = _hello(client_context)
        self._peers: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._listener.setblocking(False)
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(64)
        self._addresses: list[SocketAddress] = [self._listener.getsockname()] * 3 + _PEERS

    async def run(self, count: int) -> None:
        """Open so many streams and see them to their end."""
        target, mutator = self._target, self._mutator
        while count or self._open:
            if count and len(self._open) < OPEN_AT_ONCE:
                count -= 1
                target.counts["streams"] += 1
                self._open.append(Stream(mutator, target.port, self._hello, self._addresses))
            chosen = list(dict.fromkeys(self._open[mutator.below(len(self._open))] for _ in range(STEPS_AT_ONCE)))
            live = [stream for stream in chosen if stream.step(target)]
            if mutator.roll() < 0.3:
                self._answer()
            await target.pass_time(0.05)
            for stream in chosen:
                stream.receive(target)
                if stream not in live and (stream.is_over or mutator.roll() < 0.8 or not count):
                    stream.end()
                    self._open.remove(stream)

    def close(self) -> None:
        """Close all sockets."""
        for handle in (self._listener, *self._peers):
            handle.close()

    def _answer(self) -> None:
        """Let peers take connections, open some, send noise on them and close them."""
        mutator = self._mutator
        with contextlib.suppress(BlockingIOError):
            while True:
                self._peers.append(self._listener.accept()[0])
                self._target.counts["connections to peers"] += 1
        relayed = [each for each in self._target.relay._server._table.by_relayed_address if ":" not in each[0]]
        if relayed and mutator.roll() < 0.2:
            self._peers.append(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            self._peers[-1].setblocking(False)
            self._peers[-1].connect_ex(relayed[mutator.below(len(relayed))][:2])
        for peer in self._peers:
            peer.setblocking(False)
            with contextlib.suppress(OSError):
                peer.send(mutator.noise())
                peer.recv(65536)
        while len(self._peers) > MOST_PEERS:
            peer = self._peers.pop(mutator.below(len(self._peers)))
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
            peer.close()

    async def encrypted(self, count: int) -> None:
        """Open so many TLS streams whose records are mutants once the handshake is over, or in it."""
        for _ in range(count):
            self._target.counts["tls streams"] += 1
            stream = Stream(self._mutator, self._target.port, self._hello, self._addresses)
            try:
                await self._talk(stream)
            finally:
                stream.end()
                await self._target.turn()

    async def _talk(self, stream: Stream) -> None:
        mutator, target = self._mutator, self._target
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = self._client_context.wrap_bio(incoming, outgoing, server_hostname="localhost")
        is_open, handle = False, stream.handle
        with contextlib.suppress(OSError):
            for _ in range(12):
                if is_open:
                    tls.write(stream.recipes.message() or b"\0")
                with contextlib.suppress(ssl.SSLWantReadError):
                    if not is_open:
                        tls.do_handshake()
                        is_open = True
                    while message := tls.read(65536):
                        target.counts["records to tls clients"] += 1
                        if message[0] < FIRST_OF_CHANNELS:
                            stream.recipes.learn(stun.decode(message))
                data = outgoing.read()
                if data:
                    handle.send(mutator.change(data) if mutator.roll() < 0.1 else data)
                await target.pass_time(0.01)
                with contextlib.suppress(BlockingIOError):
                    incoming.write(handle.recv(65536))


def _hello(context: ssl.SSLContext) -> bytes:
    outgoing = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost").do_handshake()
    return outgoing.read()
