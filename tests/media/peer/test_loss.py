"""Packets lost behind our sender, retransmissions too: what a stock receiver makes of the rest."""

import asyncio
from collections.abc import Sequence
from random import Random

import pytest

from media.peer.path import DtlsPath
from tests.media.peer.test_peer import Browser, connected, visit

pytestmark = pytest.mark.slow

FRAMES = 90


def lose(share: float, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Drop this share of all datagrams, always the same ones; counts what was kept and what was lost."""
    counts, chance, send = [0, 0], Random(7), DtlsPath.send

    def send_some(path: DtlsPath, heads: Sequence[bytes], payloads: Sequence[bytes]) -> tuple[int, bool]:
        kept = [index for index in range(len(heads)) if chance.random() >= share]
        counts[0] += len(kept)
        counts[1] += len(heads) - len(kept)
        if not kept:
            return 0, False
        return send(path, [heads[index] for index in kept], [payloads[index] for index in kept])

    monkeypatch.setattr(DtlsPath, "send", send_some)
    return counts


@pytest.mark.parametrize(("codec", "percent"), [("H264", 2), ("H264", 5), ("H264", 10), ("VP8", 5)])
async def test_what_is_lost_is_sent_again_and_the_picture_goes_on(
    codec: str, percent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = lose(percent / 100, monkeypatch)
    async with visit(browser=Browser("video", codec=codec)) as guest:
        await connected(guest)
        track = guest.browser.tracks["video"]
        async with asyncio.timeout(60):
            for _ in range(FRAMES):
                await track.recv()
        (stream,) = guest.peer.streams.by_ssrc.values()
        assert stream.sender is not None
        stats = stream.sender.stats
    print(
        f"{codec}, {percent} %: {counts[1]} of {sum(counts)} datagrams lost, {FRAMES} frames of {stats.units}; {stats}"
    )
    assert 0.93 * stats.units <= FRAMES  # 28 of 30, and what was on its way at the end
    assert 0 < stats.nacks <= counts[1] + 1
    assert 0 < stats.retransmitted_packets <= stats.packets / 4
