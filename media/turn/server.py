"""The TURN server without sockets: datagrams and `now` in, effects out (RFC 8489, 8656)."""

import math
from collections import OrderedDict
from collections.abc import Sequence

import msgspec

from media.turn import address, channel_data, stun
from media.turn.address import SocketAddress
from media.turn.allocate import AllocateRules, Desk, Plan, RequestError
from media.turn.allocation import Allocation, Client
from media.turn.credential import Account, CredentialError, Credentials, KeyFor
from media.turn.effects import CloseRelay, Effect, OpenRelay, PeerRefused, ToClient, TurnStats
from media.turn.forward import NOTHING, Forward
from media.turn.policy import PeerRules, Quotas, Rate, ReplyBuckets
from media.turn.ports import Ports
from media.turn.requests import Attributes, Bounds, Requests
from media.turn.table import Table

REASONS = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    420: "Unknown Attribute",
    437: "Allocation Mismatch",
    438: "Stale Nonce",
    440: "Address Family not Supported",
    441: "Wrong Credentials",
    442: "Unsupported Transport Protocol",
    443: "Peer Address Family Mismatch",
    486: "Allocation Quota Reached",
    508: "Insufficient Capacity",
}
REVOKED_REMEMBERED = 4096
"""Revocations that are remembered; the oldest is forgotten long after its credentials have expired."""

_LAST_OF_STUN, _FIRST_OF_CHANNELS, _NOISE = 3, 0x40, 0xFF

BINDING_COST = 0.1
CHALLENGE_COST = 1.0
"""Prices of an unauthenticated reply, in tokens: the answer to Binding amplifies far less than a 401."""


class ServerRules(msgspec.Struct, frozen=True):
    """What the core needs to know. `relay_ips` is the advertised packed address per family.

    Lifetimes are seconds, `bitrate_bps` counts per allocation and direction and 0 is no limit, `replies_per_s` and
    `replies_burst` bound the unauthenticated replies per source network.
    """

    realm: str
    relay_ips: dict[int, bytes]
    first_port: int
    last_port: int
    allocations_per_key: int = 50
    max_lifetime_s: int = 3600
    bitrate_bps: int = 5_000_000
    entries_per_allocation: int = 256
    replies_per_s: float = 10.0
    replies_burst: float = 100.0
    last_channel_number: int = channel_data.LAST_NUMBER


class Server:
    """All TURN state of one process. `secret` are 32 random bytes; effects must be performed in order, at once."""

    def __init__(self, rules: ServerRules, peers: PeerRules, key_for: KeyFor, secret: bytes, stats: TurnStats) -> None:
        self.stats = stats
        self.is_draining = False
        self._rules = rules
        self._table = Table()
        self._ports = Ports(rules.first_port, rules.last_port, secret)
        self._desk = Desk(
            AllocateRules(frozenset(rules.relay_ips), rules.max_lifetime_s),
            self._ports,
            Quotas(rules.allocations_per_key),
        )
        bounds = Bounds(rules.max_lifetime_s, rules.last_channel_number)
        self._requests = Requests(bounds, peers, self._table, stats)
        self._forward = Forward(peers, self._table, stats, secret)
        self._credentials = Credentials(key_for, rules.realm, secret)
        self._buckets = ReplyBuckets(rules.replies_per_s, rules.replies_burst)
        self._planned: dict[int, Plan] = {}
        self._revoked: OrderedDict[bytes, None] = OrderedDict()
        self._relay_ips = rules.relay_ips
        self._last_relay = 0
        self._due_at = math.inf
        self._last_of_channels = rules.last_channel_number >> 8
        self._handlers = {
            stun.REFRESH: self._requests.refresh,
            stun.CREATE_PERMISSION: self._requests.create_permission,
            stun.CHANNEL_BIND: self._requests.bind_channel,
        }

    @property
    def allocation_count(self) -> int:
        """Allocations that are alive or being opened."""
        return len(self._table) + len(self._planned)

    def receive(self, listener: int, datagram: memoryview, source: SocketAddress, now: float) -> Sequence[Effect]:
        """Take a datagram that came from a client to a listener."""
        if now >= self._due_at:
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
        plan = self._planned[relay]
        if is_open:
            del self._planned[relay]
            return (self._admit(relay, plan, now),)
        if self._desk.plan_again(plan, now):
            return (self._open(relay, plan),)
        del self._planned[relay]
        return (self._error(plan.client, plan.request, RequestError(508), plan.account),)

    def expire(self, now: float) -> Sequence[Effect]:
        """End what is over at `now`."""
        self._ports.expire(now)
        effects = [self._end(allocation) for allocation in self._table.ended(now)]
        self._note_deadline()
        return effects

    def next_deadline(self) -> float | None:
        """Instant at which `expire` has something to do, None when it never will."""
        ends = [end for end in (self._table.next_end(), self._ports.next_deadline()) if end is not None]
        return min(ends, default=None)

    def _note_deadline(self) -> None:
        deadline = self.next_deadline()
        self._due_at = math.inf if deadline is None else deadline

    def revoke(self, quota_key: bytes) -> Sequence[Effect]:
        """End all allocations of a quota key and accept none of its credentials any more."""
        self._revoked[quota_key] = None
        if len(self._revoked) > REVOKED_REMEMBERED:
            self._revoked.popitem(last=False)
        self._credentials.forget(quota_key)
        doomed = [each for each in self._table.by_relay.values() if each.account.quota_key == quota_key]
        return [self._end(allocation) for allocation in doomed]

    def replace_addresses(self, peers: PeerRules, relay_ips: dict[int, bytes]) -> None:
        """Take the addresses that this machine has now, and close the peers that they forbid.

        Allocations keep the relayed address that they have.
        """
        if peers != self._requests.peers:
            for allocation in self._table.by_relay.values():
                allocation.keep_peers(lambda host: peers.refusal(address.pack(host)) is None)
        self._requests.peers = peers
        self._forward.replace_peers(peers)
        self._relay_ips = relay_ips

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
        if request.method != stun.ALLOCATE and request.method not in self._handlers:
            return self._drop("unexpected")
        allocation = self._table.by_client.get(client)
        try:
            account = self._check(client, request, allocation, now)
        except CredentialError as error:
            return self._challenge(client, request, error, now)
        try:
            unknown = request.unknown()
            if unknown:
                raise RequestError(420, ((stun.UNKNOWN_ATTRIBUTES, _types(unknown)),))
            if request.method == stun.ALLOCATE:
                return self._allocate(client, request, account, now)
            return self._change(allocation, request, account, now)
        except stun.StunError:
            return (self._error(client, request, RequestError(400), account),)
        except RequestError as error:
            reply = self._error(client, request, error, account)
            if allocation is not None and error.refusal is not None and allocation.is_new_refusal(error.refusal):
                return (reply, PeerRefused(allocation.relay, error.refusal))
            return (reply,)

    def _check(self, client: Client, request: stun.Message, allocation: Allocation | None, now: float) -> Account:
        host, port = client[1][:2]
        owner = None if allocation is None else allocation.account
        account = self._credentials.check(request, (host, port), now, owner)
        if account.quota_key in self._revoked:
            raise CredentialError(401, "revoked")
        return account

    def _binding(self, client: Client, request: stun.Message, now: float) -> Sequence[Effect]:
        if not self._buckets.take(address.pack(client[1][0]), BINDING_COST, now):
            return self._drop("silenced")
        unknown = request.unknown()
        if unknown:
            return (self._error(client, request, RequestError(420, ((stun.UNKNOWN_ATTRIBUTES, _types(unknown)),))),)
        self.stats.bindings_total += 1
        return (self._reply(client, request, stun.SUCCESS, [self._mapped(client, request)]),)

    def _allocate(self, client: Client, request: stun.Message, account: Account, now: float) -> Sequence[Effect]:
        existing = self._table.by_client.get(client)
        if existing is not None:
            # RFC 8656, 7.2 (2): 5-tuple in use -> 437, but a retransmit gets the same reply again
            if existing.transaction_id == request.transaction_id:
                return (ToClient(client[0], client[1], b"", existing.reply),)
            raise RequestError(437)
        if any(plan.client == client for plan in self._planned.values()):
            return self._drop("unexpected")
        if self.is_draining:
            raise RequestError(508)
        plan = self._desk.plan(client, request, account, now)
        self._last_relay += 1
        self._planned[self._last_relay] = plan
        self._note_deadline()
        return (self._open(self._last_relay, plan),)

    def _open(self, relay: int, plan: Plan) -> OpenRelay:
        is_unfragmented = plan.request.first(stun.DONT_FRAGMENT) is not None
        return OpenRelay(relay, plan.family, plan.port, is_unfragmented)

    def _admit(self, relay: int, plan: Plan, now: float) -> Effect:
        ip, request = self._relay_ips[plan.family], plan.request
        attributes: Attributes = [
            (stun.XOR_RELAYED_ADDRESS, stun.xor_address(ip, plan.port, request.transaction_id)),
            (stun.LIFETIME, plan.lifetime_s.to_bytes(4)),
            self._mapped(plan.client, request),
        ]
        if plan.token is not None:
            attributes.append((stun.RESERVATION_TOKEN, plan.token))
        reply = self._reply(plan.client, request, stun.SUCCESS, attributes, plan.account)
        s_per_byte = 8 / self._rules.bitrate_bps if self._rules.bitrate_bps else 0.0
        self._table.add(
            Allocation(
                relay=relay,
                client=plan.client,
                family=plan.family,
                port=plan.port,
                relayed_address=address.socket_address(ip, plan.port),
                account=plan.account,
                transaction_id=request.transaction_id,
                reply=bytes(reply.data),
                expires_at=now + plan.lifetime_s,
                upward=Rate(s_per_byte),
                downward=Rate(s_per_byte),
                most_entries=self._rules.entries_per_allocation,
            )
        )
        self._note_deadline()
        self.stats.allocations_total += 1
        self.stats.allocations = len(self._table)
        return reply

    def _change(
        self, allocation: Allocation | None, request: stun.Message, account: Account, now: float
    ) -> Sequence[Effect]:
        if allocation is None:
            raise RequestError(437)
        # RFC 8656, 5: only the user who made the allocation may use it
        if account.username != allocation.account.username:
            raise RequestError(441)
        attributes = self._handlers[request.method](allocation, request, now)
        reply = self._reply(allocation.client, request, stun.SUCCESS, attributes, account)
        if allocation.expires_at <= now:
            return (self._end(allocation), reply)
        self._table.moved(allocation)
        self._note_deadline()
        return (reply,)

    def _end(self, allocation: Allocation) -> Effect:
        self._table.remove(allocation)
        self._desk.give_back(allocation.port, allocation.account)
        self.stats.allocations = len(self._table)
        return CloseRelay(allocation.relay)

    def _challenge(self, client: Client, request: stun.Message, error: CredentialError, now: float) -> Sequence[Effect]:
        failures = self.stats.auth_failures
        failures[error.reason] = failures.get(error.reason, 0) + 1
        host, port = client[1][:2]
        if not self._buckets.take(address.pack(host), CHALLENGE_COST, now):
            return self._drop("silenced")
        if error.code == 400:
            return (self._error(client, request, RequestError(400)),)
        nonce = self._credentials.nonce(host, port, now).encode()
        attributes = ((stun.REALM, self._rules.realm.encode()), (stun.NONCE, nonce))
        is_terse = request.integrity_at < 0
        return (self._error(client, request, RequestError(error.code, attributes, is_terse=is_terse)),)

    def _error(
        self, client: Client, request: stun.Message, error: RequestError, account: Account | None = None
    ) -> ToClient:
        reason = "" if error.is_terse else REASONS[error.code]
        code = (stun.ERROR_CODE, stun.error_code(error.code, reason))
        return self._reply(client, request, stun.ERROR, [code, *error.attributes], account)

    def _reply(
        self, client: Client, request: stun.Message, kind: int, attributes: Attributes, account: Account | None = None
    ) -> ToClient:
        message = stun.Message(request.method, kind, request.transaction_id, attributes)
        message.has_fingerprint = request.has_fingerprint
        return ToClient(client[0], client[1], b"", stun.encode(message, None if account is None else account.key))

    def _mapped(self, client: Client, request: stun.Message) -> tuple[int, bytes]:
        host, port = client[1][:2]
        return stun.XOR_MAPPED_ADDRESS, stun.xor_address(address.pack(host), port, request.transaction_id)

    def _drop(self, reason: str) -> Sequence[Effect]:
        self.stats.drop(reason)
        return NOTHING


def _types(attributes: list[int]) -> bytes:
    return b"".join(attribute.to_bytes(2) for attribute in attributes)
