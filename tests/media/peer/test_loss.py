"""Packets lost behind our sender, retransmissions too: what a stock receiver makes of the rest."""

import asyncio
from collections.abc import Sequence
from random import Random

import pytest

from media.peer.path import DtlsPath
from media.rtp.send import Sealed
from tests.measured import Row
from tests.media.lossy import lossy
from tests.media.peer.test_peer import Browser, connected, visit

pytestmark = pytest.mark.slow

FRAMES = 90


@pytest.mark.parametrize(("codec", "percent"), [("H264", 2), ("H264", 5), ("H264", 10), ("VP8", 5)])
async def test_what_is_lost_is_sent_again_and_the_picture_goes_on(
    codec: str, percent: int, monkeypatch: pytest.MonkeyPatch, row: Row
) -> None:
    counts, pictures = [0, 0], dict[int, None]()
    seal = lossy(percent / 100, Random(7), counts)

    def seal_noted(path: DtlsPath, heads: Sequence[bytes], payloads: Sequence[bytes], at: int) -> Sealed:
        pictures.update({int.from_bytes(head[4:8], "big"): None for head in heads})
        return seal(path, heads, payloads, at)

    monkeypatch.setattr(DtlsPath, "seal", seal_noted)
    async with visit(browser=Browser("video", codec=codec)) as guest:
        await connected(guest)
        track = guest.browser.tracks["video"]
        async with asyncio.timeout(60):
            stamps = [(await track.recv()).pts or 0 for _ in range(FRAMES)]
        (stream,) = guest.peer.streams.by_ssrc.values()
        assert stream.sender is not None
        stats = stream.sender.stats
    first, last = next(iter(pictures)), stamps[-1] - stamps[0]
    sent = sum((stamp - first) % 2**32 <= last for stamp in pictures)  # without what was still on its way
    print(f"{codec}, {percent} %: {counts[1]} of {sum(counts)} packets lost, {FRAMES} of {sent} pictures; {stats}")
    row("of the pictures that were sent came", 100 * FRAMES / sent, "%")
    assert sent / 2 <= FRAMES <= sent
    assert 0 < stats.nacks <= counts[1] + 1
    assert 0 < stats.retransmitted_packets <= stats.packets / 4
