"""The rules of Allocate (RFC 8656, 7.2): request in, plan or error out. No I/O, no clock."""

import msgspec

from media.turn import address, stun
from media.turn.address import IPV4, IPV6, SocketAddress
from media.turn.allocation import DEFAULT_LIFETIME_S, Client, Relayed
from media.turn.credential import Account
from media.turn.policy import FULL, Quotas
from media.turn.ports import Ports

UDP, TCP = 17, 6
OPEN_ATTEMPTS = 8
_RESERVE_NEXT = 0x80
_UDP_ALONE = frozenset((stun.DONT_FRAGMENT, stun.EVEN_PORT, stun.RESERVATION_TOKEN))
_LENGTHS = {
    stun.REQUESTED_TRANSPORT: 4,
    stun.DONT_FRAGMENT: 0,
    stun.RESERVATION_TOKEN: 8,
    stun.EVEN_PORT: 1,
    stun.REQUESTED_ADDRESS_FAMILY: 4,
    stun.ADDITIONAL_ADDRESS_FAMILY: 4,
    stun.COTURN_ADDITIONAL_ADDRESS_FAMILY: 4,
    stun.LIFETIME: 4,
}

Values = dict[int, bytes]
"""The first value of each attribute of a request."""


class RequestError(Exception):
    """The request fails with this code; `attributes` go into the reply behind ERROR-CODE.

    `is_terse`: the reply is for somebody unknown and must stay small, so it has no reason phrase. `refusal` names why
    a peer or an allocation was refused, for the operator.
    """

    def __init__(
        self,
        code: int,
        attributes: tuple[tuple[int, bytes], ...] = (),
        *,
        is_terse: bool = False,
        refusal: str | None = None,
    ) -> None:
        super().__init__(code)
        self.code = code
        self.refusal = refusal
        self.attributes = attributes
        self.is_terse = is_terse


class Plan(msgspec.Struct):
    """An allocation whose relay sockets are not all open yet.

    `families` are still to be opened, the first is being opened; `failed` is the family that cannot be had, with the
    code. `even` is the value of EVEN-PORT, `token` that of a reservation made for this allocation.
    """

    client: Client
    request: stun.Message
    account: Account
    families: list[int]
    lifetime_s: int
    failed: tuple[int, int] | None = None
    opened: list[Relayed] = []
    even: bytes | None = None
    is_tcp: bool = False
    port: int = 0
    token: bytes | None = None
    attempts_left: int = OPEN_ATTEMPTS
    is_cancelled: bool = False

    @property
    def family(self) -> int:
        """The family that is being opened."""
        return self.families[0]

    def fail(self, code: int) -> None:
        """Give the family that is being opened up."""
        self.failed = (self.families.pop(0), code)


class AllocateRules(msgspec.Struct, frozen=True):
    """What Allocate may give: the families with a relay address, the longest lifetime, relays for TCP."""

    families: frozenset[int]
    max_lifetime_s: int
    has_tcp: bool = False


class Desk:
    """Plans allocations and keeps their ports and quotas straight."""

    def __init__(self, rules: AllocateRules, ports: Ports, quotas: Quotas) -> None:
        self._rules = rules
        self._ports = ports
        self._quotas = quotas

    def plan(self, client: Client, request: stun.Message, account: Account, now: float, is_stream: bool) -> Plan:
        """Return the plan for a request that is authenticated and has no allocation yet.

        `is_stream`: the client came by TCP or TLS.

        Raises: RequestError (400, 440, 442, 486, 508); StunError for a malformed attribute, which is a 400.
        """
        values = first_values(request, _LENGTHS)
        if stun.COTURN_ADDITIONAL_ADDRESS_FAMILY in values:
            values = {stun.ADDITIONAL_ADDRESS_FAMILY: values[stun.COTURN_ADDITIONAL_ADDRESS_FAMILY], **values}
        is_tcp = self._is_tcp(values, is_stream)
        token, even = values.get(stun.RESERVATION_TOKEN), values.get(stun.EVEN_PORT)
        _check_exclusions(values)
        families, failed = self._families(values)
        lifetime_s = requested_lifetime(values, self._rules.max_lifetime_s)
        besides = self._besides(account.quota_key, token, even)
        refusal = self._quotas.take(account.quota_key, address.pack(client[1][0]), besides)
        if refusal is not None:
            # RFC 8656, 7.2 (10)
            raise RequestError(508 if refusal == FULL else 486, refusal=refusal)
        plan = Plan(
            client=client,
            request=request,
            account=account,
            families=families,
            lifetime_s=lifetime_s or min(DEFAULT_LIFETIME_S, self._rules.max_lifetime_s),
            failed=failed,
            even=even,
            is_tcp=is_tcp,
        )
        refusal = self._choose_port(plan, now) if token is None else self._redeem(plan, token, now)
        if refusal is not None:
            self.end(client, account)
            raise RequestError(508, refusal=refusal)
        return plan

    def opened(self, plan: Plan, relay: int, relayed_address: SocketAddress, now: float) -> None:
        """Take note that the family that was being opened has its socket."""
        family = plan.families.pop(0)
        plan.opened.append(Relayed(relay, family, plan.port, relayed_address, now + plan.lifetime_s))

    def plan_family(self, plan: Plan, now: float) -> None:
        """Plan the other family: on the same port where that is open, else on any."""
        plan.attempts_left = OPEN_ATTEMPTS
        if not plan.opened:
            self._choose_port(plan, now)  # finds the one, if no other, that the first family gave back

    def plan_again(self, plan: Plan, now: float) -> bool:
        """Choose another port after one could not be opened; False, and none is held, when the family fails."""
        self._release(plan)
        plan.attempts_left -= 1
        return plan.attempts_left > 0 and self._choose_port(plan, now) is None

    def give_up(self, plan: Plan) -> None:
        """Return all that a plan holds that comes to nothing."""
        if plan.families:
            self._release(plan)
        for port in {each.port for each in plan.opened}:
            self._ports.give_back(port)
        self.end(plan.client, plan.account)

    def move(self, old_client: Client, client: Client) -> None:
        """Count an allocation for another client."""
        self._quotas.move(address.pack(old_client[1][0]), address.pack(client[1][0]))

    def end(self, client: Client, account: Account) -> None:
        """Count an allocation less."""
        self._quotas.give_back(account.quota_key, address.pack(client[1][0]))

    def _is_tcp(self, values: Values, is_stream: bool) -> bool:
        # RFC 8656, 7.2 (3): missing or malformed -> 400, not UDP -> 442
        transport = values.get(stun.REQUESTED_TRANSPORT)
        if transport is None:
            raise RequestError(400)
        if transport[0] == UDP:
            return False
        if transport[0] != TCP or not self._rules.has_tcp:
            raise RequestError(442)
        # RFC 6062, 5.1: a client that came by UDP, or attributes that have no meaning for TCP -> 400
        if not is_stream or not values.keys().isdisjoint(_UDP_ALONE):
            raise RequestError(400)
        return True

    def _release(self, plan: Plan) -> None:
        if all(each.port != plan.port for each in plan.opened):
            self._ports.give_back(plan.port)
        if plan.token is not None:
            self._ports.cancel(plan.token)
            plan.token = None

    def _families(self, values: Values) -> tuple[list[int], tuple[int, int] | None]:
        """Return the families to open, and the one that was asked for in vain with its code."""
        served = self._rules.families
        if stun.ADDITIONAL_ADDRESS_FAMILY in values:
            lacking = [family for family in (IPV4, IPV6) if family not in served]
            # RFC 8656, 7.2 (9): what can be given is given
            return sorted(served), ((lacking[0], 440) if lacking else None)
        value = values.get(stun.REQUESTED_ADDRESS_FAMILY)
        family = IPV4 if value is None else value[0]
        # RFC 8656, 7.2 (7)
        if family not in served:
            raise RequestError(440)
        return [family], None

    def _besides(self, quota_key: bytes, token: bytes | None, even: bytes | None) -> int:
        # Reserved ports count like allocations: else reserving again and again would take the whole range.
        reserved = self._ports.reserved(quota_key)
        if token is not None:
            return reserved - 1
        return reserved + 1 if _is_pair(even) else reserved

    def _redeem(self, plan: Plan, token: bytes, now: float) -> str | None:
        # RFC 8656, 7.2 (5): a token that is not valid, for whatever reason -> 508
        if self._ports.is_foreign(token):
            return "foreign-token"
        reservation = self._ports.redeem(token, plan.account.quota_key, now)
        if reservation is None:
            return "dead-token"
        plan.port, plan.families, plan.attempts_left = reservation.port, [reservation.family], 1
        return None

    def _choose_port(self, plan: Plan, now: float) -> str | None:
        # RFC 8656, 7.2 (8): no port as it was asked for -> 508
        is_pair = _is_pair(plan.even)
        port = self._ports.take() if plan.even is None else self._ports.take_even(with_next=is_pair)
        if port is None:
            return "no-port"
        plan.port = port
        if is_pair:
            plan.token = self._ports.reserve(port + 1, plan.family, plan.account.quota_key, now)
        return None


def _check_exclusions(values: Values) -> None:
    has_family = stun.REQUESTED_ADDRESS_FAMILY in values
    even, additional = values.get(stun.EVEN_PORT), values.get(stun.ADDITIONAL_ADDRESS_FAMILY)
    # RFC 8656, 7.2 (5): a token says port and family already
    if stun.RESERVATION_TOKEN in values and (even is not None or has_family or additional is not None):
        raise RequestError(400)
    # RFC 8656, 7.2 (6), (8) and (9): both families are asked for by the one value alone, and without a pair
    if additional is not None and (has_family or _is_pair(even) or additional[0] != IPV6):
        raise RequestError(400)


def _is_pair(even: bytes | None) -> bool:
    return even is not None and bool(even[0] & _RESERVE_NEXT)


def first_values(message: stun.Message, lengths: dict[int, int]) -> Values:
    """Return the first value of each attribute; `lengths` are those of attributes that have one length only.

    Raises: StunError for another length.
    """
    values = message.values()  # RFC 8489, 14: later ones of the same type do not count
    for attribute in lengths.keys() & values.keys():
        if lengths[attribute] != len(values[attribute]):
            raise stun.StunError(f"attribute {attribute:#06x} is not {lengths[attribute]} bytes")
    return values


def requested_lifetime(values: Values, most_s: int) -> int:
    """Return the lifetime to grant in seconds: at least 600, at most `most_s`; 0 when 0 was asked for.

    RFC 8656, 7.2 and 8.2.
    """
    value = values.get(stun.LIFETIME)
    if value is None:
        return min(DEFAULT_LIFETIME_S, most_s)
    asked = int.from_bytes(value)
    return 0 if asked == 0 else min(max(asked, DEFAULT_LIFETIME_S), most_s)
