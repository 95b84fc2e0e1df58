"""The TURN server without sockets: datagrams and `now` in, effects out (RFC 8489, 8656)."""

from collections.abc import Callable, Iterable, Sequence

from media.turn import address, replies, stun
from media.turn.address import SocketAddress
from media.turn.allocate import RequestError
from media.turn.allocation import Allocation, Client
from media.turn.connections import Connections
from media.turn.credential import Account, Credentials, KeyFor, UsernameFor
from media.turn.effects import Effect, PeerRefused, ToClient, TurnStats
from media.turn.forward import NOTHING, Forward
from media.turn.gate import Gate, SilencedError
from media.turn.lifecycle import Lifecycle
from media.turn.policy import PeerRules, Rate, ReplyBuckets
from media.turn.requests import Bounds, Requests
from media.turn.revocations import Revocations
from media.turn.routes import Routes
from media.turn.rules import ServerRules
from media.turn.table import Table
from media.turn.usage import Usage

_LAST_OF_STUN, _FIRST_OF_CHANNELS, _NOISE = 3, 0x40, 0xFF

BINDING_COST = 0.1
"""Price of the answer to Binding, in tokens: it amplifies far less than a 401."""


class Server:
    """All TURN state of one process. `secret` are 32 random bytes; effects must be performed in order, at once."""

    def __init__(
        self,
        rules: ServerRules,
        peers: PeerRules,
        key_for: KeyFor,
        secret: bytes,
        stats: TurnStats,
        username_for: UsernameFor | None = None,
    ) -> None:
        self.stats = stats
        self._table = Table()
        self.routes = Routes(Rate(rules.total_bitrate_bps), secret[:4])
        self._lifecycle = Lifecycle(rules, self._table, self.routes, secret, stats)
        bounds = Bounds(rules.max_lifetime_s, rules.last_channel_number)
        self._requests = Requests(bounds, peers, self._table, stats)
        self._forward = Forward(peers, self._table, stats, self.routes)
        self.connections = Connections(self._requests, self._table, stats, secret)
        self._credentials = Credentials(key_for, rules.realm, secret, username_for)
        self._buckets = ReplyBuckets(rules.replies_per_s, rules.replies_burst)
        self._revocations = Revocations()
        self._gate = Gate(self._credentials, self._buckets, self._revocations, stats)
        self._is_draining = False
        self._alternate: tuple[bytes, int] | None = None
        self._last_of_channels = rules.last_channel_number >> 8
        self._handlers = {
            stun.REFRESH: self._requests.refresh,
            stun.CREATE_PERMISSION: self._requests.create_permission,
            stun.CHANNEL_BIND: self._requests.bind_channel,
        }
        self._methods = {stun.ALLOCATE, *self._handlers}
        if rules.has_tcp_relays:
            self._methods |= {stun.CONNECT, stun.CONNECTION_BIND}

    @property
    def allocation_count(self) -> int:
        """Allocations that are alive or being opened."""
        return len(self._lifecycle)

    def has_allocation(self, client: Client) -> bool:
        """Tell whether the client has an allocation, or is about to get one."""
        return client in self._table.by_client or self._lifecycle.is_opening(client)

    def clients(self) -> Iterable[Client]:
        """Return the clients that have an allocation."""
        return self._table.by_client

    def usage(self) -> dict[bytes, Usage]:
        """Return what each quota key used, ended allocations counted in."""
        return self._lifecycle.usage()

    def drain(self, alternate: tuple[bytes, int] | None) -> None:
        """Refuse new allocations from now on: with 300 to the packed address and port given, else with 508."""
        self._is_draining = True
        self._alternate = alternate

    def receive(self, listener: int, datagram: memoryview, source: SocketAddress, now: float) -> Sequence[Effect]:
        """Take a datagram that came from a client to a listener."""
        if now >= self._lifecycle.due_at:
            return [*self.expire(now), *self.receive(listener, datagram, source, now)]
        # RFC 7983: the first byte tells what a datagram is
        first = datagram[0] if datagram else _NOISE
        if _FIRST_OF_CHANNELS <= first <= self._last_of_channels:
            return self._forward.channel_data((listener, source), datagram, now)
        if first > _LAST_OF_STUN:
            return self._drop("noise")
        return self._receive_stun((listener, source), datagram, now)

    def relayed(self, relay: int, data: memoryview, source: SocketAddress, now: float) -> Sequence[Effect]:
        """Take a datagram that came from a peer to a relay socket."""
        return self._forward.from_peer(relay, data, source, now)

    def relay_opened(self, relay: int, is_open: bool, now: float) -> Sequence[Effect]:
        """Take the result of OpenRelay: the reply to the client, or the next port to try."""
        return self._lifecycle.opened(relay, is_open, now)

    def client_gone(self, client: Client, now: float) -> Sequence[Effect]:
        """End the allocation of a client whose connection has closed."""
        return self._lifecycle.client_gone(client)

    def expire(self, now: float) -> Sequence[Effect]:
        """End what is over at `now`."""
        return [*self._lifecycle.expire(now), *self.connections.expire(now)]

    def next_deadline(self) -> float | None:
        """Instant at which `expire` has something to do, None when it never will."""
        ends = (self._lifecycle.next_deadline(), self.connections.next_deadline())
        return min((end for end in ends if end is not None), default=None)

    def stream_passes(self, connection: int, size: int, now: float, *, is_upward: bool) -> bool:
        """Count bytes of a peer's TCP connection; False when they must wait, or the allocation is over."""
        allocation = self.connections.allocation_of(connection)
        return allocation is not None and self._forward.passes(allocation, size, now, is_upward=is_upward)

    def revoke(self, quota_key: bytes) -> Sequence[Effect]:
        """End all allocations of a quota key and accept none of its credentials any more."""
        self._revocations.revoke(quota_key)
        return self._end_accounts(lambda account: account.quota_key == quota_key)

    def revoke_holder(self, holder: bytes) -> Sequence[Effect]:
        """End all allocations by credentials that this holder fetched, and accept none of them any more."""
        self._revocations.revoke_holder(holder)
        return self._end_accounts(lambda account: holder in account.holders)

    def _end_accounts(self, is_doomed: Callable[[Account], bool]) -> Sequence[Effect]:
        self._credentials.forget(is_doomed)
        return self._lifecycle.end_accounts(is_doomed)

    def replace_addresses(self, peers: PeerRules, relay_ips: dict[int, bytes]) -> None:
        """Take the addresses that this machine has now, and close the peers that they forbid.

        Allocations keep the relayed address that they have.
        """
        if peers != self._requests.peers:
            for allocation in self._table.by_client.values():
                allocation.keep_peers(lambda host: peers.refusal(address.pack(host)) is None)
        self._requests.peers = peers
        self._forward.replace_peers(peers)
        self._lifecycle.replace_relay_ips(relay_ips)

    def _receive_stun(self, client: Client, datagram: memoryview, now: float) -> Sequence[Effect]:
        try:
            message = stun.decode(bytes(datagram))
        except stun.StunError:
            return self._drop("malformed")
        if message.kind == stun.REQUEST:
            return self._request(client, message, now)
        if message.kind == stun.INDICATION and message.method == stun.SEND:
            return self._forward.send(client, message, now)
        return self._drop("unexpected")

    def _request(self, client: Client, request: stun.Message, now: float) -> Sequence[Effect]:
        if request.method == stun.BINDING:
            return self._binding(client, request, now)
        if request.method not in self._methods:
            return self._drop("unexpected")
        allocation = self._table.by_client.get(client) or self._moving(client, request)
        try:
            account = self._gate.admit(*self._asker(client, request, allocation, now), now)
        except RequestError as error:
            return (replies.failure(client, request, error),)
        except SilencedError:
            return self._drop("silenced")
        try:
            unknown = request.unknown()
            if unknown:
                raise replies.unknown_attributes(unknown)
            if request.method == stun.ALLOCATE:
                return self._allocate(client, request, account, now)
            if request.method == stun.CONNECTION_BIND:
                return self.connections.bind(client, request, account, now)
            return self._change(client, allocation, request, account, now)
        except stun.StunError:
            return (replies.failure(client, request, RequestError(400), account),)
        except RequestError as error:
            reply = replies.failure(client, request, error, account)
            return (reply, *self._tell(allocation, error))

    def _moving(self, client: Client, request: stun.Message) -> Allocation | None:
        """Return the allocation that a Refresh with a ticket takes to another 5-tuple (RFC 8016, 3.2)."""
        ticket = request.first(stun.MOBILITY_TICKET) if request.method == stun.REFRESH else None
        if ticket is None or self._lifecycle.is_opening(client):
            return None
        return self._lifecycle.find_ticket(ticket)

    def _asker(
        self, client: Client, request: stun.Message, allocation: Allocation | None, now: float
    ) -> tuple[Client, stun.Message, Account | None]:
        """Return the client whose nonce must be in the request, the request, and the account that owns what it asks."""
        if request.method == stun.CONNECTION_BIND:
            # A second connection of the same client: it may use the nonce of the first (turnutils_uclient does).
            first = self.connections.owner(request)
            if first is not None and self._credentials.is_fresh(request, first.client[1][:2], now):
                return first.client, request, first.account
        return client, request, None if allocation is None else allocation.account

    def _tell(self, allocation: Allocation | None, error: RequestError) -> Sequence[Effect]:
        if error.refusal is None:
            return NOTHING
        if allocation is None:
            self.stats.refuse_allocation(error.refusal)
            return NOTHING
        return (PeerRefused(allocation.relay, error.refusal),) if allocation.is_new_refusal(error.refusal) else NOTHING

    def may_answer_binding(self, ip: bytes, now: float) -> bool:
        """Pay for the answer to a Binding request without attributes from this packed address, and count it."""
        if not self._buckets.take(ip, BINDING_COST, now):
            self._drop("silenced")
            return False
        self.stats.bindings_total += 1
        return True

    def _binding(self, client: Client, request: stun.Message, now: float) -> Sequence[Effect]:
        if not self._buckets.take(address.pack(client[1][0]), BINDING_COST, now):
            return self._drop("silenced")
        unknown = request.unknown()
        if unknown:
            return (replies.failure(client, request, replies.unknown_attributes(unknown, is_terse=True)),)
        self.stats.bindings_total += 1
        return (replies.success(client, request, [replies.mapped(client, request)]),)

    def _allocate(self, client: Client, request: stun.Message, account: Account, now: float) -> Sequence[Effect]:
        existing = self._table.by_client.get(client)
        if existing is not None:
            # RFC 8656, 7.2 (2): 5-tuple in use -> 437, but a retransmit gets the same reply again
            if existing.is_answered(request):
                return (ToClient(client[0], client[1], b"", existing.reply),)
            raise RequestError(437)
        if self._lifecycle.is_opening(client):
            return self._drop("being-opened")  # the reply is on its way
        if self._is_draining:
            raise self._drained(client)
        is_stream = client[0] in self.connections.streams
        return (self._lifecycle.begin(client, request, account, now, is_stream),)

    def _drained(self, client: Client) -> RequestError:
        # RFC 8489, 14.15: the alternate is of the family from which the request came
        if self._alternate is None or len(self._alternate[0]) != len(address.pack(client[1][0])):
            return RequestError(508, refusal="draining")
        return replies.try_alternate(self._alternate)

    def _change(
        self, client: Client, allocation: Allocation | None, request: stun.Message, account: Account, now: float
    ) -> Sequence[Effect]:
        if allocation is None:
            raise RequestError(437)
        # RFC 8656, 5: only the user who made the allocation may use it
        if account.username != allocation.account.username:
            raise RequestError(441)
        if allocation.is_answered(request):
            return (ToClient(client[0], client[1], b"", allocation.reply),)  # the answer to the move was lost
        if request.method == stun.CONNECT:
            return (self.connections.connect(allocation, request, account, now),)
        self.routes.close(allocation)  # as long as they are those of this client
        attributes = self._handlers[request.method](allocation, request, now)
        ticket = b""
        if client != allocation.client and allocation.is_alive(now):
            ticket = self._lifecycle.next_ticket()
            attributes.append((stun.MOBILITY_TICKET, ticket))
        reply = replies.success(client, request, attributes, account)
        if ticket:
            allocation.reply = bytes(reply.data)
            self._lifecycle.move(allocation, client, ticket)
        return (*self._lifecycle.changed(allocation, now), reply)

    def _drop(self, reason: str) -> Sequence[Effect]:
        self.stats.drop(reason)
        return NOTHING
