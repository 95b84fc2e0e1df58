"""A TURN client inside the lab: it sends again what is not answered (RFC 8489, 6.2.1) and takes a new nonce (438).

It blocks, for the server is another process.
"""

import secrets
import socket
import struct
import time
from collections import deque
from collections.abc import Sequence

from media.turn import channel_data, stun
from media.turn.address import SocketAddress, pack
from tests.media.turn.world import UDP, address_of, code_of
from tests.netns.lab import PUBLIC, Lab
from tests.netns.serving import PORT, REALM

ATTEMPTS, ATTEMPT_S = 20, 0.25
LIMIT_S = 20.0
FORBIDDEN, MISMATCH, STALE_NONCE, UNAUTHENTICATED = 403, 437, 438, 401

Attributes = Sequence[tuple[int, bytes]]
Host = tuple[str, int]


class LabClient:
    """A client over UDP in a namespace. `attempts` counts the requests that were sent, again or for the first time."""

    def __init__(self, lab: Lab, part: str, credential: tuple[str, str], server: Host = (PUBLIC, PORT)) -> None:
        with lab.entered(part):
            self._open(server)
        self.username, self._password = credential
        self.nonce = b""
        self.attempts = 0
        self.last_request = b""
        self._data: deque[tuple[int | Host, bytes]] = deque(maxlen=10_000)

    def _open(self, server: Host) -> None:
        self.socket = socket.socket(socket.AF_INET6 if ":" in server[0] else socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.connect(server)

    def __enter__(self) -> "LabClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, message: bytes) -> None:
        """Send one message to the server."""
        self.socket.send(message)

    def receive(self, limit_s: float) -> bytes:
        """Return the next message of the server. Raises: TimeoutError."""
        self.socket.settimeout(max(limit_s, 0.001))
        return self.socket.recv(65536)

    def ask(self, method: int, *attributes: tuple[int, bytes], peers: Sequence[SocketAddress] = ()) -> stun.Message:
        """Send a request until it is answered; give it a new nonce when it is asked to."""
        reply = self._transact(method, attributes, peers)
        if code_of(reply) == STALE_NONCE or (code_of(reply) == UNAUTHENTICATED and not self.nonce):
            self.nonce = reply.first(stun.NONCE) or b""
            reply = self._transact(method, attributes, peers)
        return reply

    def allocate(self, *attributes: tuple[int, bytes]) -> stun.Message:
        """Ask for a relayed address."""
        return self.ask(stun.ALLOCATE, (stun.REQUESTED_TRANSPORT, UDP), *attributes)

    def allocated(self, *attributes: tuple[int, bytes]) -> Host:
        """Return the relayed address that it was given."""
        reply = self.allocate(*attributes)
        assert code_of(reply) == 0
        return address_of(reply, stun.XOR_RELAYED_ADDRESS)

    def permit(self, *hosts: str) -> int:
        """Create permissions; returns the error code or 0."""
        return code_of(self.ask(stun.CREATE_PERMISSION, peers=[(host, 0) for host in hosts]))

    def indicate(self, peer_address: SocketAddress, data: bytes) -> None:
        """Send data to a peer without a channel."""
        transaction_id = secrets.token_bytes(12)
        peer = stun.xor_address(pack(peer_address[0]), peer_address[1], transaction_id)
        attributes = [(stun.XOR_PEER_ADDRESS, peer), (stun.DATA, data)]
        self.send(stun.encode(stun.Message(stun.SEND, stun.INDICATION, transaction_id, attributes)))

    def bind(self, number: int, peer_address: SocketAddress) -> int:
        """Bind a channel; returns the error code or 0."""
        wanted = (stun.CHANNEL_NUMBER, struct.pack("!Hxx", number))
        return code_of(self.ask(stun.CHANNEL_BIND, wanted, peers=[peer_address]))

    def refresh(self, lifetime_s: int | None = None) -> int:
        """Refresh the allocation; returns the error code or 0."""
        lifetime = [] if lifetime_s is None else [(stun.LIFETIME, lifetime_s.to_bytes(4))]
        return code_of(self.ask(stun.REFRESH, *lifetime))

    def give_back(self) -> None:
        """End the allocation."""
        # RFC 8656, 8.3: 437 answers a request whose first copy ended the allocation, and means the same.
        assert self.refresh(0) in (0, MISMATCH)

    def send_channel(self, number: int, data: bytes) -> None:
        """Send data to the peer of a channel."""
        self.send(channel_data.header(number, len(data)) + data)

    def heard(self, limit_s: float = LIMIT_S) -> tuple[int | Host, bytes]:
        """Return the next packet of a peer: its channel number, or its address without one, and data.

        Raises: TimeoutError when there is none.
        """
        until = time.monotonic() + limit_s
        while not self._data:
            self._sort(self.receive(until - time.monotonic()))
        return self._data.popleft()

    def _transact(self, method: int, attributes: Attributes, peers: Sequence[SocketAddress]) -> stun.Message:
        transaction_id = secrets.token_bytes(12)
        told = [(stun.XOR_PEER_ADDRESS, stun.xor_address(pack(at[0]), at[1], transaction_id)) for at in peers]
        message = stun.Message(method, stun.REQUEST, transaction_id, [*attributes, *told])
        if self.nonce:
            named = ((stun.USERNAME, self.username.encode()), (stun.REALM, REALM.encode()), (stun.NONCE, self.nonce))
            message.attributes += named
        key = stun.integrity_key(self.username, REALM, self._password) if self.nonce else None
        request = self.last_request = stun.encode(message, key)
        for _ in range(ATTEMPTS):
            self.attempts += 1
            self.send(request)
            reply = self._reply(transaction_id)
            if reply is not None:
                return reply
        raise TimeoutError(f"no reply to method {method:#x}")

    def _reply(self, transaction_id: bytes) -> stun.Message | None:
        until = time.monotonic() + ATTEMPT_S
        while True:
            try:
                message = self._sort(self.receive(until - time.monotonic()))
            except TimeoutError:
                return None
            if message is not None and message.transaction_id == transaction_id:
                return message

    def _sort(self, datagram: bytes) -> stun.Message | None:
        # What peers sent is kept; returned is what the server says itself.
        if datagram[0] >> 6 == 1:
            number, length = struct.unpack_from("!HH", datagram)
            self._data.append((number, datagram[4 : 4 + length]))
            return None
        message = stun.decode(datagram)
        if message.kind != stun.INDICATION:
            return message
        self._data.append((address_of(message, stun.XOR_PEER_ADDRESS), message.first(stun.DATA) or b""))
        return None
