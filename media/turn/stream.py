"""TURN over TCP and TLS: connections with their bounds."""

import msgspec


class StreamBounds(msgspec.Struct, frozen=True):
    """What a TCP or TLS client may take. `idle_unauthenticated_s` is how long it may go without an allocation."""

    handshake_s: float = 10.0
    idle_unauthenticated_s: float = 30.0
    unauthenticated_per_source: int = 32
    unauthenticated: int = 1024
    write_buffer_bytes: int = 256 << 10
