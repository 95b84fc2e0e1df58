"""The last picture of a feed as JPEG, for all who ask: one is made at a time, and a young one serves everybody."""

import asyncio
import time
from collections.abc import Callable

from media.encoders import snapshot
from media.encoders.encoder import AccessUnit, Codec
from media.encoders.snapshot import Jpeg, SnapshotError
from media.feed import Feed

__all__ = ["Jpeg", "SnapshotError", "Snapshots"]

_YOUNG_S = 0.5
_LIMIT_S = 5.0
"""How long to wait for a key frame of a source that makes none when asked."""


class Snapshots:
    """`take` it while somebody watches: a feed that nobody watches has no picture."""

    def __init__(self, feed: Feed, clock: Callable[[], float] = time.monotonic) -> None:
        self._feed = feed
        self._clock = clock
        self._lock = asyncio.Lock()
        self._last: Jpeg | None = None
        self._taken_at = 0.0

    async def take(self, codec: Codec) -> Jpeg:
        """Give a picture at most half a second old; `codec` is one that is watched. Raises: SnapshotError."""
        async with self._lock:
            if self._last is None or self._clock() - self._taken_at > _YOUNG_S:
                self._last = await self._make(codec)
                self._taken_at = self._clock()
            return self._last

    async def _make(self, codec: Codec) -> Jpeg:
        raw = self._feed.last_picture
        if raw is not None and self._clock() - raw.captured_at <= _YOUNG_S:
            return await asyncio.to_thread(snapshot.still, raw.frame)
        data = await self._key_frame(codec)
        return await asyncio.to_thread(snapshot.still_of_key, codec, data)

    async def _key_frame(self, codec: Codec) -> bytes:
        found: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        def take(unit: AccessUnit) -> None:
            if unit.is_key and not found.done():
                found.set_result(unit.data)

        detach = self._feed.attach(codec, take)
        try:
            async with asyncio.timeout(_LIMIT_S):
                return await found
        except TimeoutError:
            raise SnapshotError(f"no picture within {_LIMIT_S:g} s") from None
        finally:
            detach()
