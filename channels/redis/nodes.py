"""Which nodes live: each keeps a short lease in one set of all, and reads there who did not.

A node as the others see it, by the time of Redis:

    unknown --renews--> live --2.5 s without--> dead --renews (it was only cut off)--> live
                         |                       |
                         '--stops--> dead        '--15 s: its last lease is over--> unknown

Only a node that is known and lapsed is dead, so that a new one, or one that Redis forgot in an empty restart, counts as
alive: what it holds ends by its own leases. A set in which nobody renewed for two intervals says nothing about the
nodes: Redis was away, frozen, or came back with old data. Then there is an amnesty, in which nobody is dead, long
enough that all notice that Redis is back. A node that never was in the set cannot tell that from the death of
everybody, and asks for a short one.
"""

import logging
import math
from collections.abc import Callable
from typing import Final

import msgspec

from channels.presence import CONNECTION_LEASE_S, NODE_LEASE_S
from channels.redis.clock import RedisClock
from channels.redis.link import Link

REMEMBERED_S: Final = 5.0  # longer than the leases of what a dead node held
_JUST_AFTER_S: Final = 0.01
log = logging.getLogger(__name__)

# KEYS: the set, the amnesty. ARGV: node, lease ms, silence ms, amnesty ms, how long a dead node is remembered, ms.
# Answer: now, end of this node's lease before (0: none), what is left of the amnesty, then (node, end) of all.
_RENEW: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local newest = redis.call('ZREVRANGE', KEYS[1], 0, 0, 'WITHSCORES')
if newest[2] and now - (newest[2] - ARGV[2]) > tonumber(ARGV[3]) then
  redis.call('SET', KEYS[2], '', 'PX', ARGV[4])
end
local before = tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1]) or 0)
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[5])
redis.call('PEXPIRE', KEYS[1], ARGV[2] + ARGV[5])
local answer = {now, before, math.max(0, redis.call('PTTL', KEYS[2]))}
for i, text in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')) do
  answer[i + 3] = i % 2 == 1 and text or tonumber(text)
end
return answer
"""

# KEYS: the set. ARGV: node.
_END: Final = """
local time = redis.call('TIME')
return redis.call('ZADD', KEYS[1], 'XX', time[1] * 1000 + math.floor(time[2] / 1000), ARGV[1])
"""


class NodeSettings(msgspec.Struct, frozen=True):
    """How long a node's lease lasts and how often it is renewed; a dead node is remembered while its leases may last.

    `amnesty_s` is how long nodes may take to notice that Redis is back.
    """

    lease_s: float = NODE_LEASE_S
    renew_s: float = 0.8
    amnesty_s: float = 6.0
    remember_s: float = CONNECTION_LEASE_S + REMEMBERED_S


class Nodes:
    """This node's lease, and which of the others are dead as of its last renewal. Node ids must not come back."""

    def __init__(self, link: Link, node: str, settings: NodeSettings, clock: RedisClock) -> None:
        self.on_lapse: list[Callable[[], None]] = []  # called when this node was dead, or forgotten, and lives again
        self.dead = " "  # " id id ", as scripts look for an id between blanks
        self._node = node
        self._settings = settings
        self._clock = clock
        self._renew = link.script(_RENEW)
        self._end = link.script(_END)
        self._keys = (f"{link.prefix}:{{nodes}}:leases", f"{link.prefix}:{{nodes}}:amnesty")
        self._held_until: float | None = None  # None before the first renewal

    @property
    def is_held(self) -> bool:
        """Whether this node surely counts as alive now."""
        return self._held_until is not None and self._clock.now() < self._held_until

    async def renew(self) -> float:
        """Prolong the lease and read those of the others; the answer is after how many seconds to do it again.

        Raises: RedisUnavailableError.
        """
        settings, sent_at = self._settings, self._clock.now()
        is_new = self._held_until is None
        was_doubted = not is_new and not self.is_held
        amnesty_s = settings.renew_s if is_new else settings.amnesty_s
        durations_s = (settings.lease_s, 2 * settings.renew_s, amnesty_s, settings.remember_s)
        reply = await self._renew(self._keys, (self._node, *(int(each * 1000) for each in durations_s)))
        now_ms, before_ms, amnesty_ms, *leases = reply
        self._clock.learn(now_ms)
        self._held_until = sent_at + settings.lease_s
        ends = {name.decode(): end for name, end in zip(leases[::2], leases[1::2], strict=True)}
        self._read(ends, now_ms, amnesty_ms)
        # Redis may have done a renewal whose answer was lost: then only our own clock tells of the lapse before it.
        if was_doubted or (not is_new and before_ms <= now_ms):
            self._note_lapse()
        others = (end - now_ms for name, end in ends.items() if name != self._node and end > now_ms)
        soon_ms = min((*others, *([amnesty_ms] if amnesty_ms else [])), default=math.inf)
        return min(settings.renew_s, soon_ms / 1000 + _JUST_AFTER_S)

    async def end(self) -> None:
        """Be dead from now on: this node stops. Raises: RedisUnavailableError."""
        self._held_until = None
        await self._end(self._keys[:1], (self._node,))

    def _read(self, ends: dict[str, int], now_ms: int, amnesty_ms: int) -> None:
        dead = [] if amnesty_ms else [name for name, end in ends.items() if end <= now_ms]
        text = f" {' '.join(sorted(dead))} " if dead else " "
        if text != self.dead:
            log.info("dead nodes changed", extra={"dead": sorted(dead)})
        self.dead = text

    def _note_lapse(self) -> None:
        log.warning("this node counted as dead", extra={"node": self._node})
        for told in self.on_lapse:
            told()
