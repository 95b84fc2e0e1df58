"""Pictures and sound of one file in the order of time, however far apart they lie in it; within bounds. No I/O."""

from collections import deque
from collections.abc import Iterator
from heapq import heappop, heappush
from itertools import islice
from typing import Any

import av

from media.sources.source import EncodedPicture, Item, Picture

HELD_S = 4.0
HELD_BYTES = 16 * 1024 * 1024
"""How far one stream of a file may run ahead of the other, encoded: fragmented files and transport streams do."""
HELD_PICTURES = 16
HELD_SOUNDS = 100
AHEAD = 16
"""Encoded items that are read at a time; half a second of pictures."""


def by_decoding_time(packets: "Iterator[av.Packet[Any]]", streams: int) -> "Iterator[av.Packet[Any]]":
    """Packets of all streams by decoding time: a stream that runs ahead is held here, where it is still small."""
    if streams == 1:
        yield from packets
        return
    held: list[tuple[float, int, av.Packet[Any]]] = []
    held_bytes = 0
    counts: dict[int, int] = {}
    reached: dict[int, float] = {}
    for number, packet in enumerate(packets):
        index = packet.stream.index
        time_s = reached.get(index, 0.0)  # without a time of its own a packet stays behind the one before it
        base = packet.time_base
        if packet.dts is not None and base is not None:
            time_s = max(time_s, packet.dts * base.numerator / base.denominator)
        reached[index] = time_s
        counts[index] = counts.get(index, 0) + 1
        heappush(held, (time_s, number, packet))
        held_bytes += packet.size
        while held and (
            sum(map(bool, counts.values())) == streams or held_bytes > HELD_BYTES or time_s - held[0][0] > HELD_S
        ):
            first = heappop(held)[2]
            counts[first.stream.index] -= 1
            held_bytes -= first.size
            yield first
    for _, _, packet in sorted(held):
        yield packet


def by_time(items: Iterator[Item]) -> Iterator[Item]:
    """Merge by time; a stream that runs ahead of the other is held back, within bounds."""
    pictures: deque[Item] = deque()
    sounds: deque[Item] = deque()
    for item in items:
        if isinstance(item, (Picture, EncodedPicture)):
            pictures.append(item)
        else:
            sounds.append(item)
        while (pictures and sounds) or len(pictures) > HELD_PICTURES or len(sounds) > HELD_SOUNDS:
            yield _earlier(pictures, sounds)
    while pictures or sounds:
        yield _earlier(pictures, sounds)


def _earlier(pictures: deque[Item], sounds: deque[Item]) -> Item:
    if not sounds or (pictures and pictures[0].time_s <= sounds[0].time_s):
        return pictures.popleft()
    return sounds.popleft()


def ahead(items: Iterator[Item]) -> Iterator[Item]:
    """Take some items at a time: each that is read by itself, after a pause, costs several times as much."""
    batch: list[Item] = []
    while True:
        try:
            batch.extend(islice(items, AHEAD))
        except Exception:
            yield from batch
            raise
        if not batch:
            return
        yield from batch
        batch.clear()
