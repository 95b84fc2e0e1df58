"""Lets in requests whose sender is proven, and tells all others little and not often. No I/O, no clock."""

from media.turn import address, stun
from media.turn.allocate import RequestError
from media.turn.allocation import Client
from media.turn.credential import Account, CredentialError, Credentials
from media.turn.effects import TurnStats
from media.turn.policy import ReplyBuckets
from media.turn.revocations import Revocations

CHALLENGE_COST = 1.0
"""Price of what a stranger is told, in tokens; it pays for the work, too, so it is taken before."""

MOST_AMPLIFIED = 4
"""How many times the bytes of a request a 401 may have."""

_MOST_OF_ERROR_BYTES = stun.HEADER_BYTES + 4 + 4 + 12  # "Unauthorized"
_TERSE_ERROR_BYTES = stun.HEADER_BYTES + 4 + 4
_FINGERPRINT_BYTES = 8


class SilencedError(Exception):
    """The source was told all that it may be told for now: no answer."""


class Gate:
    """Decides who sent a request. Whoever cannot prove it pays before anything is computed for them."""

    def __init__(
        self, credentials: Credentials, buckets: ReplyBuckets, revocations: Revocations, stats: TurnStats
    ) -> None:
        self._credentials = credentials
        self._buckets = buckets
        self._revocations = revocations
        self._stats = stats

    def admit(self, client: Client, request: stun.Message, owner: Account | None, now: float) -> Account:
        """Return the account that signed the request.

        `owner` is the account of an allocation on this 5-tuple: it stays good after its credential has expired, and
        is heard whatever others of its network do.
        Raises: RequestError (400, 401, 438) for the answer, which must not be signed; SilencedError.
        """
        host, port = client[1][:2]
        sender = (host, port)
        if not request.is_signed:
            self._pay(host, now)
            raise self._refusal(sender, request, CredentialError(401, "no-integrity"), now)
        try:
            return self._account(sender, request, owner, now)
        except CredentialError as error:
            raise self._refusal(sender, request, error, now) from None

    def _account(self, sender: tuple[str, int], request: stun.Message, owner: Account | None, now: float) -> Account:
        if owner is not None and self._credentials.is_signed_by(request, owner):
            if not self._credentials.is_fresh(request, sender, now):
                raise CredentialError(438, "stale-nonce")
            return self._unrevoked(owner)
        self._pay(sender[0], now)
        account = self._unrevoked(self._credentials.check(request, sender, now))
        self._buckets.give_back(address.pack(sender[0]), CHALLENGE_COST)
        return account

    def _pay(self, host: str, now: float) -> None:
        if not self._buckets.take(address.pack(host), CHALLENGE_COST, now):
            raise SilencedError

    def _unrevoked(self, account: Account) -> Account:
        if self._revocations.is_revoked(account):
            raise CredentialError(401, "revoked")
        return account

    def _refusal(
        self, sender: tuple[str, int], request: stun.Message, error: CredentialError, now: float
    ) -> RequestError:
        failures = self._stats.auth_failures
        failures[error.reason] = failures.get(error.reason, 0) + 1
        if error.code == 400:
            return RequestError(400)
        used = _MOST_OF_ERROR_BYTES if request.is_signed else _TERSE_ERROR_BYTES
        if request.has_fingerprint:
            used += _FINGERPRINT_BYTES
        attributes = self._credentials.challenge(sender, now, MOST_AMPLIFIED * len(request.raw) - used)
        if attributes is None:
            raise SilencedError
        return RequestError(error.code, attributes, is_terse=not request.is_signed)
