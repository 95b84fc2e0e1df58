"""DTLS clients whose records are mutants: in the handshake, after it, and what is in them."""

import contextlib
import random
import socket

from OpenSSL import SSL

from media.turn import stun
from media.turn.dtls_records import client_random
from media.turn.framing import FIRST_OF_CHANNELS
from tests.fuzz.datagrams import Recipes
from tests.fuzz.mutants import Mutator
from tests.fuzz.target import SETTINGS, Target
from tests.media.relay.dtls_world import DtlsClient

SESSIONS = 8
MOST_OF_SESSION = 300
HELLO_VERIFY_REQUEST = 3
_PEERS = [("127.0.0.1", 9), ("127.0.0.1", SETTINGS.min_port), ("::1", 9)]
_CIPHERS = (b"ECDHE+AESGCM", b"ECDHE+CHACHA20", b"ALL:@SECLEVEL=0")


class RecordClient:
    """A socket that has one DTLS session after the other."""

    def __init__(self, mutator: Mutator, port: int) -> None:
        self._mutator = mutator
        self.handle = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.handle.setblocking(False)
        self.handle.bind(("127.0.0.1", 0))
        self.handle.connect(("127.0.0.1", port))
        self.count = 0
        self._greetings: list[int] = []
        self._flight: list[bytes] = []
        self._begin()

    def _begin(self) -> None:
        mutator = self._mutator
        self._dtls = DtlsClient(256 if mutator.roll() < 0.2 else 1200, ciphers=_CIPHERS[mutator.below(3)])
        self._recipes = Recipes(mutator, _PEERS)
        self._left = mutator.below(MOST_OF_SESSION)
        self._known: list[bytes] = []
        self._flight = self._dtls.handed(b"")

    def send(self, datagram: bytes) -> None:
        """Send, and remember how long the greetings were."""
        self.count += 1
        if client_random(memoryview(datagram)) is not None:
            self._greetings.append(len(datagram))
        self.handle.send(datagram)

    def step(self) -> None:
        """Send the next datagrams: the flight that is due, or mutants."""
        mutator = self._mutator
        self._greetings.clear()
        self._left -= 1
        if self._left <= 0 or self._dtls.is_over:
            self._end()
            return
        if self._flight:
            self._send_flight()
        elif self._dtls.is_open:
            for _ in range(1 + mutator.below(4)):
                self.send(self._record())
        else:
            self.send(mutator.change(self._known[mutator.below(len(self._known))]))
            self._left -= 20  # what it waits for may never come

    def receive(self, target: Target) -> None:
        """Hand in all that came. What asks a stranger for a cookie is no longer than what the stranger sent."""
        with contextlib.suppress(BlockingIOError):
            while True:
                datagram = self.handle.recv(65536)
                if datagram[0] == 22 and datagram[3:5] == b"\0\0" and datagram[13] == HELLO_VERIFY_REQUEST:
                    self._greetings.sort()
                    assert len(datagram) <= self._greetings.pop()
                target.counts["records to dtls clients"] += 1
                try:
                    self._flight += self._dtls.handed(datagram)
                except SSL.Error:
                    self._left = 0
                for message in self._dtls.received:
                    target.counts["messages to dtls clients"] += 1
                    if message[0] < FIRST_OF_CHANNELS:
                        self._recipes.learn(stun.decode(message))
                self._dtls.received.clear()

    def _send_flight(self) -> None:
        mutator = self._mutator
        self._known += self._flight
        del self._known[:-16]
        for datagram in self._flight:
            if mutator.roll() < 0.3:
                self.send(mutator.change(datagram))
            if mutator.roll() < 0.97:
                self.send(datagram)
        self._flight = []

    def _record(self) -> bytes:
        mutator = self._mutator
        roll = mutator.roll()
        if roll < 0.1 and self._known:
            return mutator.change(self._known[mutator.below(len(self._known))])
        if roll < 0.2:
            return bytes((20 + mutator.below(44), 0xFE, 0xFD)) + mutator.chance.randbytes(mutator.below(60))
        if roll < 0.23:
            return mutator.change(DtlsClient().first())
        message = self._recipes.message()
        record = self._dtls.encrypted(message) if message else b"\x17"
        if roll < 0.35:
            record += self._dtls.encrypted(mutator.noise() or b"\0")
        self._known.append(record)
        del self._known[:-16]
        return record if roll < 0.7 else mutator.change(record)

    def _end(self) -> None:
        if self._dtls.is_open and self._mutator.roll() < 0.5:
            with contextlib.suppress(SSL.Error):
                self.send(self._dtls.goodbye())
        self._begin()


class Records:
    """Some sessions at once, by turns."""

    def __init__(self, target: Target, seed: int) -> None:
        self._target = target
        self._mutator = Mutator(random.Random(seed))
        self._clients = [RecordClient(self._mutator, target.port) for _ in range(SESSIONS)]

    async def run(self, count: int) -> None:
        """Send at least so many datagrams."""
        mutator, target = self._mutator, self._target
        last = target.counts["dtls datagrams"] + count
        while target.counts["dtls datagrams"] < last:
            client = self._clients[mutator.below(SESSIONS)]
            client.step()
            await target.pass_time(0.05 if mutator.roll() < 0.999 else 31.0)
            client.receive(target)
            target.counts["dtls datagrams"] += client.count
            client.count = 0

    def close(self) -> None:
        """Close all sockets."""
        for client in self._clients:
            client.handle.close()
