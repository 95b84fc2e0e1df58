"""What the TURN core asks its shell to do, and what it counts. Values only."""

import msgspec

from media.turn.address import SocketAddress

Buffer = bytes | memoryview


class ToClient(msgspec.Struct, frozen=True, gc=False):
    """Send `head` and `data` as one datagram from a listener to a client; `data` is good until the next receive."""

    listener: int
    client_address: SocketAddress
    head: bytes
    data: Buffer


class ToPeer(msgspec.Struct, frozen=True, gc=False):
    """Send `data` as one datagram from a relay socket to a peer; `data` is good until the next receive."""

    relay: int
    peer_address: SocketAddress
    data: Buffer


class OpenRelay(msgspec.Struct, frozen=True, gc=False):
    """Open a relay socket on this port; answer with `Server.relay_opened`. `is_tcp`: one that accepts connections."""

    relay: int
    family: int
    port: int
    is_unfragmented: bool
    is_tcp: bool = False


class CloseRelay(msgspec.Struct, frozen=True, gc=False):
    """Close a relay socket: its allocation is over."""

    relay: int


class PeerRefused(msgspec.Struct, frozen=True, gc=False):
    """Tell the operator why a peer was refused; comes once per allocation and reason."""

    relay: int
    reason: str


class ConnectPeer(msgspec.Struct, frozen=True, gc=False):
    """Open a connection from a TCP relay to a peer; answer with `Server.peer_connected`."""

    relay: int
    connection: int
    peer_address: SocketAddress


class JoinPeer(msgspec.Struct, frozen=True, gc=False):
    """From now on pass bytes between a client's stream and a peer's connection as they are."""

    listener: int
    connection: int


class ClosePeer(msgspec.Struct, frozen=True, gc=False):
    """Close a peer's connection, if it is open or being opened: the rules have forgotten it."""

    connection: int


Effect = ToClient | ToPeer | OpenRelay | CloseRelay | PeerRefused | ConnectPeer | JoinPeer | ClosePeer


class TurnStats(msgspec.Struct):
    """Counts since start; `allocations` is the number alive now. The names in the tables are a fixed set.

    `connections` are those open now, by transport.
    """

    allocations: int = 0
    allocations_total: int = 0
    bindings_total: int = 0
    packets_to_peers: int = 0
    packets_to_clients: int = 0
    bytes_to_peers: int = 0
    bytes_to_clients: int = 0
    send_errors: int = 0
    receive_errors: int = 0
    auth_failures: dict[str, int] = {}
    refused_peers: dict[str, int] = {}
    refused_allocations: dict[str, int] = {}
    dropped: dict[str, int] = {}
    connections: dict[str, int] = {}
    connections_total: dict[str, int] = {}
    connections_refused: dict[str, int] = {}
    handshake_failures: dict[str, int] = {}

    def refuse_allocation(self, reason: str) -> None:
        """Count an allocation that somebody may not have or the server cannot give."""
        self.refused_allocations[reason] = self.refused_allocations.get(reason, 0) + 1

    def drop(self, reason: str) -> None:
        """Count a datagram that goes no further."""
        self.dropped[reason] = self.dropped.get(reason, 0) + 1

    def connected(self, transport: str, change: int) -> None:
        """Count a connection that opened (1) or closed (-1)."""
        self.connections[transport] = self.connections.get(transport, 0) + change
        if change > 0:
            self.connections_total[transport] = self.connections_total.get(transport, 0) + 1

    def refuse(self, reason: str) -> None:
        """Count a connection that is closed for a reason of ours."""
        self.connections_refused[reason] = self.connections_refused.get(reason, 0) + 1

    def fail_handshake(self, reason: str) -> None:
        """Count a handshake of TLS or DTLS that came to nothing."""
        self.handshake_failures[reason] = self.handshake_failures.get(reason, 0) + 1
