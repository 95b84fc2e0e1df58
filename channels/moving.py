"""What becomes of channels, access keys and revocations that are brought where others are already: nothing is replaced.

Bringing the same again changes nothing, whatever was done with it meanwhile. No I/O but by the stores, no clock.
"""

import enum
import hmac
from collections.abc import Iterable, Sequence
from typing import Protocol

import msgspec

from channels.auth.key_ring import AccessKey
from channels.auth.seal import Seal, SealError
from channels.channel import Channel
from channels.key_store import KeyExistsError, KeyStore, SealedKey

_BATCH = 200  # channels in one round trip


class Outcome(enum.Enum):
    """What became of one thing: it was moved, or was there as it is, or what is there is not the same."""

    MOVED = "moved"
    THERE = "there"
    CONFLICT = "conflict"


class Verdict(msgspec.Struct, frozen=True):
    """The outcome for one thing, and in a clause why it is a conflict."""

    outcome: Outcome
    reason: str = ""


class Conflict(msgspec.Struct, frozen=True):
    """What was not moved, and why."""

    name: str
    reason: str


class Tally(msgspec.Struct):
    """How many things of a kind were moved, were there before, and were left because something else is there."""

    moved: int = 0
    there: int = 0
    conflicts: list[Conflict] = []

    def note(self, name: str, verdict: Verdict) -> None:
        """Count one thing."""
        if verdict.outcome is Outcome.MOVED:
            self.moved += 1
        elif verdict.outcome is Outcome.THERE:
            self.there += 1
        else:
            self.conflicts.append(Conflict(name, verdict.reason))


class Found(msgspec.Struct, frozen=True):
    """What is in the place of a channel: the one of its name, and the version in which this one was brought before."""

    channel: Channel | None = None
    brought_version: str | None = None


class ChannelTarget(Protocol):
    """A catalog that remembers what was brought to it."""

    async def bring(self, channels: Sequence[Channel], *, is_trial: bool) -> tuple[Found, ...]:
        """Put in each channel as it is, unless it was brought before or its name is taken; return what was found.

        A trial only looks. Raises: StoreUnavailableError.
        """


class Seals(msgspec.Struct, frozen=True):
    """What secrets of access keys are sealed with where they come from, and where they go."""

    source: Seal
    target: Seal


_MOVED = Verdict(Outcome.MOVED)
_THERE = Verdict(Outcome.THERE)


def judge_channel(brought: Channel, found: Found) -> Verdict:
    """Say what becomes of a channel where this was found.

    Who brought it before may have changed or deleted it there since: that stays. So does a change on both sides.
    """
    if brought.version == found.brought_version or brought == found.channel:
        return _THERE
    if found.brought_version is not None:
        return _conflict("it was changed here after it had been moved")
    if found.channel is None:
        return _MOVED
    if found.channel.arn == brought.arn:
        return _conflict("it is there in another version")
    return _conflict(f"another channel has the name: {found.channel.arn}")


def judge_key(brought: AccessKey, found: AccessKey) -> Verdict:
    """Say what becomes of an access key where one of its id is; the secret of one that is revoked is empty."""
    is_same = msgspec.structs.replace(brought, secret="") == msgspec.structs.replace(found, secret="")
    is_revoked = not brought.secret or not found.secret
    if not is_same or not (is_revoked or hmac.compare_digest(brought.secret, found.secret)):
        return _conflict("another access key has the id")
    return _THERE


async def bring_channels(channels: Iterable[Channel], target: ChannelTarget, *, is_trial: bool) -> Tally:
    """Bring channels with ARN, version and all they have. Raises: StoreUnavailableError; part may be done then."""
    tally = Tally()
    batch: list[Channel] = []

    async def bring() -> None:
        for channel, found in zip(batch, await target.bring(batch, is_trial=is_trial), strict=True):
            tally.note(str(channel.arn), judge_channel(channel, found))
        batch.clear()

    for channel in channels:
        batch.append(channel)
        if len(batch) == _BATCH:
            await bring()
    await bring()
    return tally


def bring_revocations(source: KeyStore, target: KeyStore, now_wall: float, *, is_trial: bool) -> Tally:
    """Revoke in `target` what is revoked in `source`, but for what may be forgotten.

    Keys come after them, so that none is good for a moment that is not. Raises: StoreUnavailableError.
    """
    tally = Tally()
    known = {each.credential_id for each in target.revocations()}
    for each in source.revocations():
        if each.forget_s is not None and each.forget_s < now_wall:
            continue
        is_new = each.credential_id not in known
        if is_new and not is_trial:
            is_new = target.revoke(each.credential_id, each.revoked_s, each.forget_s)
        tally.note(each.credential_id, _MOVED if is_new else _THERE)
    return tally


def bring_keys(source: KeyStore, target: KeyStore, seals: Seals, *, is_trial: bool) -> Tally:
    """Bring access keys, their secrets sealed anew, and of revoked ones that their ids are taken.

    Raises: StoreUnavailableError.
    """
    tally = Tally()
    there = {key.id: key for key in target.list()}
    revoked = {each.credential_id for each in target.revocations()}
    for sealed in source.list():
        try:
            brought = _opened(sealed, seals.source)
            verdict = _MOVED if sealed.id not in there else judge_key(brought, _opened(there[sealed.id], seals.target))
            if verdict is _MOVED and not is_trial:
                target.add(_sealed(brought, seals.target, is_revoked=brought.id in revoked))
        except (SealError, KeyExistsError) as error:
            verdict = _conflict(str(error))
        tally.note(sealed.id, verdict)
    return tally


def _conflict(reason: str) -> Verdict:
    return Verdict(Outcome.CONFLICT, reason)


def _opened(key: SealedKey, seal: Seal) -> AccessKey:
    secret = "" if key.revoked_s is not None else seal.open(key.sealed, key.id, key.account)
    return AccessKey(key.id, key.account, secret, key.statements, key.description, key.created_s)


def _sealed(key: AccessKey, seal: Seal, *, is_revoked: bool) -> SealedKey:
    sealed = "" if is_revoked or not key.secret else seal.close(key.secret, key.id, key.account)
    return SealedKey(key.id, key.account, sealed, key.statements, key.description, key.created_s)
