"""One viewer's path gets narrow: it gets a smaller picture, and the others do not notice. Real queue, real browsers."""

from collections.abc import Iterator
from contextlib import ExitStack

import msgspec
import pytest

from tests.chromium import LIVE_PEER, Visit
from tests.netns.impairment import narrow
from tests.netns.lab import HOST_A, HOST_B, NAT_A, PUB, Lab, laboratory
from tests.netns.service import CHANNEL, ENDPOINT, browsing, sending, service

pytestmark = [pytest.mark.netns, pytest.mark.browser, pytest.mark.alone, pytest.mark.timeout(240)]

OTHERS = 3
BEFORE_S, NARROW_S = 8, 12
INBOUND = f"""[...(await {LIVE_PEER}.getStats()).values()]
  .find((entry) => entry.type === "inbound-rtp" && entry.kind === "video")"""


class Seen(msgspec.Struct, rename="camel"):
    """Counters of the picture of one viewer."""

    timestamp: float
    frames_decoded: int
    bytes_received: int
    freeze_count: int
    frame_width: int = 0


def seen(visit: Visit) -> Seen:
    return msgspec.convert(visit.page.evaluate(f"async () => {INBOUND}"), Seen)


def fps(before: Seen, after: Seen) -> float:
    return 1000 * (after.frames_decoded - before.frames_decoded) / (after.timestamp - before.timestamp)


def kbps(before: Seen, after: Seen) -> float:
    return 8 * (after.bytes_received - before.bytes_received) / (after.timestamp - before.timestamp)


@pytest.fixture
def viewers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Lab, list[Visit]]]:
    """A master in public, one viewer behind NAT A and the others behind NAT B."""
    with ExitStack() as stack:
        lab = stack.enter_context(laboratory())
        access = stack.enter_context(service(lab, tmp_path_factory.mktemp("serve")))
        stack.enter_context(sending(lab, PUB, access))
        home = tmp_path_factory.mktemp("chromium")
        first, second = stack.enter_context(browsing(lab, home, HOST_A, HOST_B))
        visits = []
        for browser in (first, *[second] * OTHERS):
            visit = Visit(browser, ENDPOINT)
            stack.callback(visit.context.close)
            visit.page.goto(f"{ENDPOINT}/viewer#channel={CHANNEL}&token={access['HELIOGRAPH_TOKEN']}")
            visit.wait("playing")
            visits.append(visit)
        yield lab, visits


def test_viewer_held_to_300_kbit_leaves_the_others_as_they_were(viewers: tuple[Lab, list[Visit]]) -> None:
    lab, (slow, *others) = viewers
    pause = slow.page.wait_for_timeout
    pause(3000)  # what joining costs is over
    start = [seen(visit) for visit in others]
    pause(1000 * BEFORE_S)
    middle = [seen(visit) for visit in others]
    with narrow(lab, NAT_A, "lan", "300kbit"):
        slow.until(f"({INBOUND}).frameWidth < 1280")
        smaller_s = (seen(slow).timestamp - middle[0].timestamp) / 1000
        pause(2000)
        slow_start = seen(slow)
        pause(1000 * NARROW_S)
        slow_end, end = seen(slow), [seen(visit) for visit in others]
    earlier, later = list(zip(start, middle, strict=True)), list(zip(middle, end, strict=True))
    before, after = (sum(kbps(*pair) for pair in pairs) / OTHERS for pairs in (earlier, later))
    usual, rates = min(fps(*pair) for pair in earlier), [fps(*pair) for pair in later]
    per_picture = after / sum(rates) * sum(fps(*pair) for pair in earlier) / before
    freezes = sum(last.freeze_count - first.freeze_count for first, last in zip(middle, end, strict=True))
    print(
        f"others: {before:.0f} kbit/s before, {after:.0f} with one viewer held to 300 kbit/s ({after / before:.3f}; "
        f"{per_picture:.3f} per picture), "
        f"{usual:.1f} and {min(rates):.1f} fps at least, {freezes} freezes; it got {slow_end.frame_width} pixels of "
        f"width after {smaller_s:.1f} s, then {fps(slow_start, slow_end):.1f} fps "
        f"at {kbps(slow_start, slow_end):.0f} kbit/s"
    )
    assert per_picture >= 0.9  # per second a busy machine may give fewer pictures
    assert min(rates) >= 0.3 * usual
    # Fewer than before, where a machine that stalled long made the page connect anew.
    assert 0 < slow_end.frames_decoded != slow_start.frames_decoded, "it gets pictures"
