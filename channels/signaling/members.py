"""The admitted connections of one node, found by id and by slot. No I/O; the connection is handed in."""

from collections.abc import Callable, Iterator
from typing import Protocol

import msgspec

from channels.channel import Channel
from channels.names import Role
from channels.presence import Holder
from channels.signaling.bearers import Bearers
from channels.signaling.limits import Limits
from channels.signaling.node_link import Outcome
from channels.signaling.protocol import MASTER, Address, Rules

Settle = Callable[[Outcome], None]


class Connection(Protocol):
    """One open websocket, as the hub sees it."""

    def send(self, frame: bytes) -> bool:
        """Queue a text frame; never blocks. False when the peer is too far behind, or the socket is closing."""

    def pause(self) -> None:
        """Read nothing more from the peer until it is closed; never blocks."""

    def close(self, code: int, reason: str) -> None:
        """End the connection after what is queued; never blocks. Its owner then calls `Hub.disconnect`."""


class Connect(msgspec.Struct, frozen=True):
    """A decided request to connect. `expires_at` is in the seconds of `Hub.now`, `source` names the peer for the log.

    `credential_ids` names everything whose revocation ends the connection, `lifetime_s` is how long it wants to live.
    """

    channel: Channel
    role: Role
    client_id: str = ""
    expires_at: float | None = None
    source: str | None = None
    credential_ids: tuple[str, ...] = ()
    lifetime_s: float | None = None

    def rules(self, limits: Limits, now: float, early: float = 0.0) -> Rules:
        """The rules of this connection from `now` on; `early` as in Rules. A lifetime of its own has no jitter."""
        if self.lifetime_s is not None:
            lifetime_s = min(self.lifetime_s, limits.lifetime_after(0.0))
            limits = msgspec.structs.replace(limits, lifetime_s=lifetime_s, lifetime_jitter_s=0.0, go_away_s=None)
        return Rules(self.role, limits, now, self.expires_at, early)


class Member:
    """One admitted connection. While `waits` is not 0, something held must be delivered before what is relayed."""

    __slots__ = (
        "_waiting",
        "_waiting_bytes",
        "address",
        "channel",
        "connection",
        "credential_ids",
        "holder",
        "id",
        "is_going",
        "is_in",
        "role",
        "rules",
        "slots",
        "ttl_s",
        "waits",
    )

    def __init__(self, connect: Connect, connection: Connection, holder: Holder, rules: Rules) -> None:
        self.id = holder.connection_id
        self.channel = str(connect.channel.arn)
        self.address = MASTER if connect.role is Role.MASTER else Address(Role.VIEWER, connect.client_id)
        self.role = connect.role.counted
        self.slots: dict[Address, Member] = {}  # of its channel, for as long as it has one itself
        self.is_in = False  # whether it is one of the node's members
        self.is_going = False  # whether it was closed only because its time here is over
        self.connection = connection
        self.credential_ids = connect.credential_ids
        self.holder = holder
        self.rules = rules
        self.ttl_s = float(connect.channel.message_ttl_s)
        self.waits = 0
        self._waiting: list[tuple[bytes, Settle | None]] | None = None  # hardly any ever has one
        self._waiting_bytes = 0

    def wait(self, frame: bytes, bytes_limit: int, settle: Settle | None = None) -> bool:
        """Keep a relayed frame until what is held has gone out; False when too much waits."""
        if self._waiting_bytes + len(frame) > bytes_limit:
            return False
        self._waiting = self._waiting or []
        self._waiting.append((frame, settle))
        self._waiting_bytes += len(frame)
        return True

    def release(self) -> list[tuple[bytes, Settle | None]]:
        """The frames that waited, in order, each with who wants to hear what becomes of it."""
        frames, self._waiting, self._waiting_bytes = self._waiting, None, 0
        return frames or []


class Members:
    """All members of a node."""

    def __init__(self) -> None:
        self._by_id: dict[str, Member] = {}
        self._by_channel: dict[str, dict[Address, Member]] = {}
        self._bearers: Bearers[Member] = Bearers()
        self.masters = 0

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Member]:
        return iter(tuple(self._by_id.values()))

    def get(self, member_id: str) -> Member | None:
        """The member with this connection id."""
        return self._by_id.get(member_id)

    def find(self, channel: str, address: Address) -> Member | None:
        """The member in this slot."""
        members = self._by_channel.get(channel)
        return None if members is None else members.get(address)

    def has(self, channel: str) -> bool:
        """Whether anybody of this channel is in."""
        return channel in self._by_channel

    @property
    def channels(self) -> frozenset[str]:
        """The channels that have a member."""
        return frozenset(self._by_channel)

    def of(self, channel: str) -> tuple[Member, ...]:
        """The members of a channel."""
        return tuple(self._by_channel.get(channel, {}).values())

    def bearing(self, credential_ids: frozenset[str]) -> tuple[Member, ...]:
        """The members that hang on one of these credentials."""
        return self._bearers.of(credential_ids)

    def add(self, member: Member) -> None:
        """Take a member in; it gets its slot, unless one with a higher fence is there."""
        self._by_id[member.id] = member
        member.is_in = True
        for credential_id in member.credential_ids:
            self._bearers.add(credential_id, member)
        slots = member.slots = self._by_channel.setdefault(member.channel, {})
        current = slots.get(member.address)
        if current is None or current.holder.fence < member.holder.fence:
            slots[member.address] = member
        self.masters += member.address.role is Role.MASTER

    def remove(self, member: Member) -> bool:
        """Take a member out; a newer one keeps the slot. False when it was not in."""
        if self._by_id.pop(member.id, None) is None:
            return False
        member.is_in = False
        self.masters -= member.address.role is Role.MASTER
        members = self._by_channel.get(member.channel, {})
        if members.get(member.address) is member:
            del members[member.address]
        if not members:
            self._by_channel.pop(member.channel, None)
        for credential_id in member.credential_ids:
            self._bearers.remove(credential_id, member)
        return True
