"""Which process has which slot: a table in Redis, in which each process keeps its number and reads the others.

A slot as the others see it, by the time of Redis:

    free --claim--> live --SIGTERM--> draining --end--> kept
                     ^  '--the lease of its node lapses--> kept --10 min--> free
                     '------claim, by who shows its token, or by who must have it------'

Whether its process lives says the lease of the node (`nodes`). The number of one that does not is kept for it; the
token, which is in its data folder, shows that a new process is the same one again and need not wait for the lease of
the one before to end. After that the token gives no right: of two processes with copies of one folder the older one
takes another number.
"""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Callable
from typing import Any, Final

import msgspec
import redis

from channels.owners import Place, Slot, Wish
from channels.presence import NODE_LEASE_S
from channels.redis.commands import RedisUnavailableError
from channels.redis.failures import Refusals
from channels.redis.link import Link

_NONE: Final = -1
_RETRY_S: Final = 0.2
_JUST_AFTER_S: Final = 0.01
_SETTLE_S: Final = 2.0
_DRAIN_S: Final = 1.0
TOPIC: Final = "slots"
log = logging.getLogger(__name__)

# KEYS: the table, leases of nodes, amnesty. ARGV: node, number or -1, whether it must be that one, whether the token
# gives the right to it, token, state, place, lease ms, how long a number is kept, ms.
# Answer: number of this process or -1, then of each other live one: number, until it lapses in ms, node, state, place.
_SYNC: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local node, wanted, token = ARGV[1], tonumber(ARGV[2]), ARGV[5]
local amnesty = math.max(0, redis.call('PTTL', KEYS[3]))
local mine, taken, answer = -1, {}, {}
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  local number = tonumber(all[i])
  local its_node, its_token, seen, state, place = all[i + 1]:match('^(%S+) (%S+) (%d+) (%S+) (.*)$')
  if not its_node then its_node, its_token, seen, state, place = '', '', 0, '', '' end
  local lapses = tonumber(redis.call('ZSCORE', KEYS[2], its_node) or seen + ARGV[8])
  local left = math.max(lapses - now, amnesty)
  if its_node == node then
    mine = number
  elseif left > 0 then
    taken[number] = its_token == token and ARGV[4] == '1' and 'ours' or 'taken'
    answer[#answer + 1] = {number, left, its_node, state, place}
  elseif seen + ARGV[9] < now then
    redis.call('HDEL', KEYS[1], number)
  else
    taken[number] = its_token == token and 'ours' or 'kept'
  end
end
if mine < 0 and wanted >= 0 then
  local is_there = taken[wanted]
  if not is_there or is_there == 'ours' or (is_there == 'kept' and ARGV[3] == '1') then mine = wanted end
end
if mine < 0 and ARGV[3] == '0' then
  mine = 0
  while taken[mine] do mine = mine + 1 end
end
if mine >= 0 then
  redis.call('HSET', KEYS[1], mine, node .. ' ' .. token .. ' ' .. now .. ' ' .. ARGV[6] .. ' ' .. ARGV[7])
  redis.call('PEXPIRE', KEYS[1], 2 * ARGV[9])
end
local flat = {mine}
for _, other in ipairs(answer) do
  if other[1] ~= mine then
    for _, word in ipairs(other) do flat[#flat + 1] = word end
  end
end
return flat
"""
_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(Place).decode


class SlotSettings(msgspec.Struct, frozen=True):
    """How often the table is read, how long a lease of a node lasts, how long the number of a dead process is kept.

    Who is woken reads it no sooner than `pause_s` after the last time: where Redis was away, all wake each other.
    """

    sync_s: float = 0.8
    pause_s: float = 0.05
    lease_s: float = NODE_LEASE_S
    keep_s: float = 600.0


class ProcessSlots:
    """The slot of one process and what it knows of the others; as long as Redis is away, that is what it knew last."""

    def __init__(self, link: Link, node: str, wish: Wish | None = None, settings: SlotSettings | None = None) -> None:
        self.place = Place()
        self.on_number: list[Callable[[int | None, str], None]] = []  # called with each new number and its token
        self.on_change: list[Callable[[], None]] = []  # called when the others should look at once
        self._settings = settings or SlotSettings()
        self._link = link
        self._node = node
        self._wish = wish or Wish()
        self._token = self._wish.token or secrets.token_hex(8)
        self._is_first = True
        self._is_draining = False
        self._number: int | None = None
        self._others: tuple[Slot, ...] = ()
        self._live: tuple[Slot, ...] = ()
        self._sync = link.script(_SYNC)
        self._keys = tuple(f"{link.prefix}:{{nodes}}:{name}" for name in ("slots", "leases", "amnesty"))
        self._refusals = Refusals("what slots need")
        self._has_answer = asyncio.Event()
        self._woken = asyncio.Event()

    @property
    def number(self) -> int | None:
        """The slot of this process; None while it has none."""
        return self._number

    @property
    def live(self) -> tuple[Slot, ...]:
        """Slots of processes that live, as far as is known, by number."""
        return self._live

    async def settle(self) -> bool:
        """Wait for a while until this process has its slot; False when that is surely another's."""
        is_answered = False
        limit_s = self._settings.lease_s + 2 * self._settings.sync_s if self._wish.is_fixed else _SETTLE_S
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                while self._number is None:
                    self._has_answer.clear()
                    await self._has_answer.wait()
                    is_answered = True
        return self._number is not None or not is_answered

    async def drain(self) -> None:
        """Let nobody be sent here any more; returns within a second, whether or not the others could be told."""
        self._is_draining = True
        self._live = self._put_together()
        try:
            async with asyncio.timeout(_DRAIN_S):
                await self.sync()
        except (RedisUnavailableError, redis.RedisError, TimeoutError):
            log.warning("the others were not told that this process drains")
        self._tell_change()

    def wake(self) -> None:
        """Look at once: something has changed."""
        self._woken.set()

    async def run(self) -> None:
        """Keep the slot and read those of the others until cancelled."""
        while True:
            try:
                delay_s = await self.sync()
            except (RedisUnavailableError, redis.RedisError) as error:
                self._refusals.note(error)
                delay_s = _RETRY_S
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay_s):
                    await asyncio.sleep(self._settings.pause_s)
                    await self._woken.wait()
            self._woken.clear()

    async def sync(self) -> float:
        """Keep or claim the slot and read the others; the answer is after how many seconds to do it again.

        Raises: RedisUnavailableError, redis.RedisError (Redis does not do it).
        """
        settings, wish = self._settings, self._wish
        wanted = self._number if self._number is not None else wish.number
        flags = (int(wish.is_fixed), int(self._is_first and bool(wish.token)))
        durations_ms = (int(settings.lease_s * 1000), int(settings.keep_s * 1000))
        state = "draining" if self._is_draining else "live"
        words = (self._node, _NONE if wanted is None else wanted, *flags, self._token)
        reply = await self._sync(self._keys, (*words, state, _encode(self.place), *durations_ms))
        number, *rest = reply
        self._is_first = False
        self._others = tuple(
            slot for words in zip(*[iter(rest)] * 5, strict=True) if (slot := _slot(words)) is not None
        )
        self._take(None if number == _NONE else number)
        self._has_answer.set()
        soonest_ms = min(rest[1::5], default=settings.sync_s * 1000)
        return min(settings.sync_s, soonest_ms / 1000 + _JUST_AFTER_S)

    def _take(self, number: int | None) -> None:
        before, self._number = self._number, number
        self._live = self._put_together()
        if number == before:
            return
        if before is not None:
            log.warning("another process has the slot", extra={"number": before, "now": number})
            self._token = secrets.token_hex(8)  # the old one is known to whoever has it
        for told in self.on_number:
            told(number, self._token)
        self._tell_change()

    def _put_together(self) -> tuple[Slot, ...]:
        own = () if self._number is None else (Slot(self._number, self._node, self.place, self._is_draining),)
        return tuple(sorted((*own, *self._others), key=lambda slot: slot.number))

    def _tell_change(self) -> None:
        for told in self.on_change:
            told()


def _slot(words: tuple[Any, ...]) -> Slot | None:
    """The slot; None where another version, or somebody else, wrote what is no place."""
    number, _, node, state, place = words
    try:
        return Slot(number, node.decode(), _decode(place), state == b"draining")
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
