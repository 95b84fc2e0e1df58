"""How allocations begin and end: plans, sockets to open and close, replies to Allocate. No I/O, no clock."""

import math
from collections.abc import Callable, Sequence

from media.turn import address, replies, stun
from media.turn.address import IPV4, SocketAddress
from media.turn.allocate import AllocateRules, Desk, Plan, RequestError
from media.turn.allocation import Allocation, Client, Relayed
from media.turn.credential import Account
from media.turn.effects import CloseRelay, Effect, OpenRelay, ToClient, TurnStats
from media.turn.mobility import Tickets
from media.turn.policy import Quotas, Rate
from media.turn.ports import Ports
from media.turn.routes import Routes
from media.turn.rules import ServerRules
from media.turn.table import Table
from media.turn.usage import Usage, Usages


class Lifecycle:
    """Begins and ends allocations. `due_at` is the instant from which on `expire` has something to do."""

    def __init__(self, rules: ServerRules, table: Table, routes: Routes, secret: bytes, stats: TurnStats) -> None:
        self.replace_relay_ips(rules.relay_ips)
        self._usages = Usages()
        self.due_at = math.inf
        self._rules = rules
        self._table = table
        self._routes = routes
        self._stats = stats
        self._ports = Ports(rules.first_port, rules.last_port, secret, rules.worker)
        self._desk = Desk(
            AllocateRules(frozenset(rules.relay_ips), rules.max_lifetime_s, rules.has_tcp_relays),
            self._ports,
            Quotas(rules.allocations_per_key, rules.allocations_per_source, rules.allocations_in_all),
        )
        self._tickets = Tickets(secret)
        self._planned: dict[int, Plan] = {}  # by the relay socket that is being opened
        self._opening: dict[Client, Plan] = {}
        self._last_relay = 0

    def __len__(self) -> int:
        return len(self._table) + len(self._planned)

    def replace_relay_ips(self, relay_ips: dict[int, bytes]) -> None:
        """Tell these packed addresses to clients from now on, one for each family."""
        self._relay_ips = relay_ips
        self._relay_hosts = {family: address.host_text(ip) for family, ip in relay_ips.items()}

    def is_opening(self, client: Client) -> bool:
        """Tell whether the sockets of an allocation of this client are being opened."""
        return client in self._opening

    def usage(self) -> dict[bytes, Usage]:
        """Return what each quota key used until now, ended allocations counted in."""
        for allocation in self._table.by_client.values():
            allocation.count_usage()
        return self._usages.all()

    def begin(self, client: Client, request: stun.Message, account: Account, now: float, is_stream: bool) -> Effect:
        """Take an Allocate request that is authenticated and whose 5-tuple is free.

        `is_stream`: the client came by TCP or TLS.

        Raises: RequestError, or StunError for a malformed attribute, which is a 400.
        """
        plan = self._desk.plan(client, request, account, now, is_stream)
        self._opening[client] = plan
        if plan.token is not None:
            self._note_deadline()
        return self._open(plan)

    def opened(self, relay: int, is_open: bool, now: float) -> Sequence[Effect]:
        """Take the result of OpenRelay: the reply to the client, or the next port or family to try."""
        plan = self._planned.pop(relay)
        if plan.is_cancelled:
            effects = self._give_up(plan)
            return [CloseRelay(relay), *effects] if is_open else effects
        if is_open:
            self._desk.opened(plan, relay, self._relayed_address(plan), now)
        elif self._desk.plan_again(plan, now):
            return (self._open(plan),)
        else:
            plan.fail(508)
        if plan.families:
            self._desk.plan_family(plan, now)
            return (self._open(plan),)
        return self._close_plan(plan, now)

    def expire(self, now: float) -> Sequence[Effect]:
        """End what is over at `now`."""
        self._ports.expire(now)
        effects: list[Effect] = [self._end(*each) for each in self._table.ended(now)]
        self._note_deadline()
        return effects

    def next_deadline(self) -> float | None:
        """Instant at which `expire` has something to do, None when it never will."""
        self._note_deadline()
        return None if self.due_at == math.inf else self.due_at

    def changed(self, allocation: Allocation, now: float) -> Sequence[Effect]:
        """Take note of other ends of an allocation, and close what is over."""
        effects = [self._end(allocation, each) for each in allocation.relayed if each.expires_at <= now]
        if allocation.relayed:
            self._table.moved(allocation)
            self._note_deadline()
        return effects

    def client_gone(self, client: Client) -> Sequence[Effect]:
        """End what this client has or is about to get."""
        plan = self._opening.pop(client, None)
        if plan is not None:
            plan.is_cancelled = True
        allocation = self._table.by_client.get(client)
        # RFC 8016, 1: who may move comes back from another address
        if allocation is None or allocation.ticket:
            return ()
        return self._end_all([allocation])

    def find_ticket(self, ticket: bytes) -> Allocation | None:
        """Return the allocation that moves by this ticket."""
        return self._tickets.find(ticket)

    def next_ticket(self) -> bytes:
        """Return the ticket that a move is answered with."""
        return self._tickets.make()

    def move(self, allocation: Allocation, client: Client, ticket: bytes) -> None:
        """Give an allocation to another 5-tuple that has none, forget the old one, and let this ticket count next."""
        self._desk.move(allocation.client, client)
        self._table.move(allocation, client)
        self._tickets.give(allocation, ticket)

    def end_accounts(self, is_doomed: Callable[[Account], bool]) -> Sequence[Effect]:
        """End all that belongs to these accounts."""
        for plan in [plan for plan in self._opening.values() if is_doomed(plan.account)]:
            del self._opening[plan.client]
            plan.is_cancelled = True
        return self._end_all([each for each in self._table.by_client.values() if is_doomed(each.account)])

    def _open(self, plan: Plan) -> OpenRelay:
        self._last_relay += 1
        self._planned[self._last_relay] = plan
        is_unfragmented = plan.request.first(stun.DONT_FRAGMENT) is not None
        return OpenRelay(self._last_relay, plan.family, plan.port, is_unfragmented, plan.is_tcp)

    def _relayed_address(self, plan: Plan) -> SocketAddress:
        host = self._relay_hosts[plan.family]
        return (host, plan.port) if plan.family == IPV4 else (host, plan.port, 0, 0)

    def _close_plan(self, plan: Plan, now: float) -> Sequence[Effect]:
        del self._opening[plan.client]
        if plan.opened:
            return (self._admit(plan, now),)
        self._give_up(plan)
        self._stats.refuse_allocation("no-socket")
        return (replies.failure(plan.client, plan.request, RequestError(508), plan.account),)

    def _give_up(self, plan: Plan) -> list[Effect]:
        self._desk.give_up(plan)
        self._note_deadline()
        return [CloseRelay(each.relay) for each in plan.opened]

    def _admit(self, plan: Plan, now: float) -> Effect:
        is_mobile = self._rules.has_mobility and plan.request.first(stun.MOBILITY_TICKET) is not None
        ticket = self._tickets.make() if is_mobile else b""
        reply = self._allocate_success(plan, ticket)
        allocation = Allocation(
            client=plan.client,
            relayed=tuple(plan.opened),
            account=plan.account,
            reply=bytes(reply.data),
            usage=self._usages.begin(plan.account.quota_key),
            upward=Rate(self._rules.bitrate_bps),
            downward=Rate(self._rules.bitrate_bps),
            most_entries=self._rules.entries_per_allocation,
            is_tcp=plan.is_tcp,
        )
        self._table.add(allocation)
        for relayed in plan.opened:
            self._routes.relayed_changed(relayed.address)
        if ticket:
            self._tickets.give(allocation, ticket)
        self._note_deadline()
        self._stats.allocations_total += 1
        self._stats.allocations = len(self._table)
        return reply

    def _allocate_success(self, plan: Plan, ticket: bytes) -> ToClient:
        request = plan.request
        attributes = [
            (
                stun.XOR_RELAYED_ADDRESS,
                stun.xor_address(self._relay_ips[each.family], each.port, request.transaction_id),
            )
            for each in plan.opened
        ]
        attributes += [(stun.LIFETIME, plan.lifetime_s.to_bytes(4)), replies.mapped(plan.client, request)]
        if plan.token is not None:
            attributes.append((stun.RESERVATION_TOKEN, plan.token))
        if ticket:
            attributes.append((stun.MOBILITY_TICKET, ticket))
        if plan.failed is not None:
            # RFC 8656, 7.2 (9): one of two families could not be given
            family, code = plan.failed
            value = stun.address_error_code(family, code, replies.REASONS[code])
            attributes.append((stun.ADDRESS_ERROR_CODE, value))
        return replies.success(plan.client, request, attributes, plan.account)

    def _end_all(self, allocations: list[Allocation]) -> Sequence[Effect]:
        return [self._end(allocation, each) for allocation in allocations for each in allocation.relayed]

    def _end(self, allocation: Allocation, relayed: Relayed) -> Effect:
        self._routes.close(allocation)
        self._routes.relayed_changed(relayed.address)
        allocation.count_usage()
        self._table.remove(allocation, relayed)
        if not allocation.relayed or all(each.port != relayed.port for each in allocation.relayed):
            self._ports.give_back(relayed.port)
        if not allocation.relayed:
            self._tickets.forget(allocation)
            self._desk.end(allocation.client, allocation.account)
            self._usages.end(allocation.account.quota_key)
        self._stats.allocations = len(self._table)
        return CloseRelay(relayed.relay)

    def _note_deadline(self) -> None:
        self.due_at = min(self._table.next_end(), self._ports.next_deadline())
