"""State of one allocation: its permissions and channel binds, and when they end. No I/O, no clock."""

import math
from collections.abc import Callable

import msgspec

from media.turn import stun
from media.turn.address import IPV4, IPV6, SocketAddress
from media.turn.credential import Account
from media.turn.policy import Rate
from media.turn.usage import Usage

PERMISSION_S = 300.0
CHANNEL_BIND_S = 600.0
CHANNEL_COOLING_S = 300.0
DEFAULT_LIFETIME_S = 600

Client = tuple[int, SocketAddress]
"""The 5-tuple: number of the listener (it stands for our address and the transport) and the client's address."""


class ChannelBind(msgspec.Struct, gc=False):
    """A channel number and the peer address that it stands for."""

    number: int
    peer_address: SocketAddress
    expires_at: float


class Relayed(msgspec.Struct, gc=False):
    """One relayed address of an allocation: the number of its socket, and when it ends unless refreshed.

    `noted_end` is the end under which the table has it.
    """

    relay: int
    family: int
    port: int
    address: SocketAddress
    expires_at: float
    noted_end: float = 0.0


class Allocation(msgspec.Struct):
    """What one client has: one relayed address, or one of each family (RFC 8656, 7.2).

    Permissions are kept by the peer's host in text (RFC 8656, 9), binds by channel number and by peer address in one
    dict. Most allocations have few of them and some none: what is empty takes no room. `reply` answers the Allocate,
    or the Refresh that gave the allocation another 5-tuple last.
    """

    client: Client
    relayed: tuple[Relayed, ...]
    account: Account
    reply: bytes
    usage: Usage
    upward: Rate
    downward: Rate
    most_entries: int = 256
    permissions: dict[str, float] | None = None
    binds: dict[int | SocketAddress, ChannelBind] | None = None
    refusals: tuple[str, ...] = ()
    ticket: bytes = b""
    is_tcp: bool = False

    @property
    def relay(self) -> int:
        """Number of the first relay socket, as a name of the allocation."""
        return self.relayed[0].relay

    def is_answered(self, request: stun.Message) -> bool:
        """Tell whether `reply` is the answer to this request, which is then a retransmit."""
        return stun.is_answer(self.reply, request.method, request.transaction_id)

    def is_alive(self, now: float) -> bool:
        """Tell whether the lifetime of a relayed address is not over."""
        return any(each.expires_at > now for each in self.relayed)

    def of_relay(self, relay: int) -> Relayed:
        """Return the relayed address whose socket has this number; it must be one of this allocation."""
        first = self.relayed[0]
        return first if first.relay == relay else self.relayed[1]

    def of_family(self, family: int) -> Relayed | None:
        """Return the relayed address of this family, None without one."""
        return next((each for each in self.relayed if each.family == family), None)

    def lose(self, relayed: Relayed) -> None:
        """Give up a relayed address, with the permissions and binds of its family (RFC 8656, 8.1)."""
        if len(self.relayed) == 1:
            self.relayed, self.permissions, self.binds = (), None, None
            return
        self.relayed = tuple(each for each in self.relayed if each is not relayed)
        self.keep_peers(lambda host: family_of(host) != relayed.family)

    def is_new_refusal(self, reason: str) -> bool:
        """Tell whether no peer was refused for this reason before, and remember it."""
        if reason in self.refusals:
            return False
        self.refusals += (reason,)
        return True

    def has_permission(self, host: str, now: float) -> bool:
        """Tell whether packets of this host may pass now."""
        return self.permitted_until(host) > now

    def permitted_until(self, host: str) -> float:
        """Return when the permission of this host ends, minus infinity without one."""
        return -math.inf if self.permissions is None else self.permissions.get(host, -math.inf)

    def count_usage(self) -> None:
        """Add what passed since the last call to the usage."""
        self.usage.bytes_to_peers += self.upward.passed()
        self.usage.bytes_to_clients += self.downward.passed()

    def bind_of(self, key: int | SocketAddress) -> ChannelBind | None:
        """Return the bind with this channel number or peer address; it may be over."""
        return None if self.binds is None else self.binds.get(key)

    def permit(self, hosts: list[str], now: float) -> bool:
        """Give or renew permissions for 300 s; False, and nothing changed, when there are too many."""
        known = {} if self.permissions is None else self.permissions
        if len(known.keys() | hosts) > self.most_entries:
            known = {host: end for host, end in known.items() if end > now}
            if len(known.keys() | hosts) > self.most_entries:
                return False
        end = now + PERMISSION_S
        for host in hosts:
            known[host] = end
        self.permissions = known
        return True

    def keep_peers(self, is_allowed: Callable[[str], bool]) -> None:
        """Forget the permissions and binds of hosts that are not allowed any more."""
        if self.permissions is not None:
            self.permissions = {host: end for host, end in self.permissions.items() if is_allowed(host)}
        self._forget_binds(lambda bind: not is_allowed(bind.peer_address[0]))

    def can_bind(self, number: int, peer_address: SocketAddress, now: float) -> bool:
        """Tell whether number and peer are free, or bound to each other (RFC 8656, 12.1).

        Both stay taken for 5 minutes after the bind has ended.
        """
        self._forget_binds(lambda bind: bind.expires_at + CHANNEL_COOLING_S <= now)
        return self.bind_of(number) is self.bind_of(peer_address)

    def bind(self, number: int, peer_address: SocketAddress, now: float) -> bool:
        """Bind or renew for 600 s, with a permission; False when there are too many."""
        bind = self.bind_of(number)
        if bind is None and self.binds is not None and len(self.binds) >= 2 * self.most_entries:
            return False
        if not self.permit([peer_address[0]], now):
            return False
        if bind is None:
            bind = ChannelBind(number, peer_address, 0.0)
            if self.binds is None:
                self.binds = {}
            self.binds[number] = self.binds[peer_address] = bind
        bind.expires_at = now + CHANNEL_BIND_S
        return True

    def _forget_binds(self, is_over: Callable[[ChannelBind], bool]) -> None:
        if self.binds is None:
            return
        for bind in [bind for key, bind in self.binds.items() if type(key) is int and is_over(bind)]:
            del self.binds[bind.number], self.binds[bind.peer_address]


def family_of(host: str) -> int:
    """Return the family of a host in text."""
    return IPV6 if ":" in host else IPV4
