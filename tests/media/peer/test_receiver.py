import pytest

from media.peer.receiver import ReceivingPeer
from media.peer.tally import Tally


async def test_the_first_reason_of_a_failure_stands() -> None:
    peer = ReceivingPeer((), Tally(1), is_relay_only=False, codec="H264")
    peer.fail("no-answer", "first")
    peer.fail("ice-failed", "second")
    assert peer.failure == ("no-answer", "first")
    assert peer.finished.is_set()
    await peer.close()


async def test_broken_and_too_many_candidates_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    peer = ReceivingPeer((), Tally(1), is_relay_only=False, codec="H264")
    for _ in range(70):
        peer.candidate_received(b'{"candidate":""}')
    peer.candidate_received(b"broken")
    assert len(caplog.records) == 7
    await peer.close()


async def test_an_offer_asks_for_the_wished_codec_first_and_for_sound() -> None:
    sent: list[bytes] = []

    async def send(type: str, payload: bytes, *_: str | None, **__: str | None) -> None:
        sent.append(payload)

    peer = ReceivingPeer((), Tally(1), is_relay_only=False, codec="VP8")
    await peer._offer(send)
    text = sent[0].decode()
    assert text.index("VP8/90000") < text.index("H264/90000")
    assert "a=end-of-candidates" not in text
    assert "sha-384" not in text
    assert text.count("a=recvonly") == 2
    await peer.close()
