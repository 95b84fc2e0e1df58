"""What the TURN core is told at its start: addresses, ports, lifetimes and bounds. Values only."""

import msgspec

from media.turn import channel_data


class ServerRules(msgspec.Struct, frozen=True):
    """What the core needs to know. `relay_ips` is the advertised packed address per family.

    Lifetimes are seconds; `bitrate_bps` counts per allocation and direction, `total_bitrate_bps` all that is relayed.
    Of the allocations and the bitrates 0 is no bound. `replies_per_s` and `replies_burst` bound the unauthenticated
    replies per source network. `worker` is the number of this process among those that share the listeners.
    `has_mobility` lets clients take their allocations along to another address (RFC 8016).
    `has_tcp_relays`: clients on streams may have their peers reached by TCP (RFC 6062).
    """

    realm: str
    relay_ips: dict[int, bytes]
    first_port: int
    last_port: int
    allocations_per_key: int = 50
    allocations_per_source: int = 0
    allocations_in_all: int = 0
    max_lifetime_s: int = 3600
    bitrate_bps: int = 5_000_000
    total_bitrate_bps: int = 0
    entries_per_allocation: int = 256
    replies_per_s: float = 10.0
    replies_burst: float = 100.0
    last_channel_number: int = channel_data.LAST_NUMBER
    worker: int = 0
    has_mobility: bool = False
    has_tcp_relays: bool = False
