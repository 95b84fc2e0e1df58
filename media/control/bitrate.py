"""What one viewer's path carries, from its own reports: REMB, loss, round trip. No clock, no codec.

A REMB alone proves nothing: it starts low, and it grows no further than about 1.5 times of what arrives. It limits a
viewer only with a sign that the path is full, or when the viewer repeats the same low figure for a long time.
"""

from collections import deque

import msgspec

WINDOW_S = 2.0
LEAST_WINDOW_S = 0.9
LOSS_HIGH, LOSS_LOW = 0.10, 0.02
"""Above the first the path is full, below the second it may carry more."""
LOSS_HEAVY = 0.30
"""So much is no accident of radio: whatever the REMB says, no more gets through than what arrives."""
LOWER, RAISE = 0.85, 1.05
STEP_S = 1.0
"""Between two steps of a viewer that sends no REMB."""
SPARE = 1.25
"""A figure of so many times what is sent is no limit."""
WISH, STEADY_S = 0.7, 8.0
"""A REMB of less than this part of what is sent is meant, also on a free path, when it stays within 5 % so long."""
STEADY_PART = 1.05
RTT_FACTOR, RTT_SLACK_S = 2.0, 0.1
"""A round trip longer than the shortest one by both is a queue."""
OVERHEAD = 0.95
"""Part of a REMB that is payload."""
_SAMPLES = 32


class Sample(msgspec.Struct, frozen=True):
    """One stream of one viewer at one moment; counts are from its start, times in seconds.."""

    now: float
    sent_bytes: int
    sent_packets: int
    lost_packets: int
    skipped_units: int
    rtt_s: float | None = None
    remb_bps: int | None = None


class Estimate:
    """Follows one stream; `restart` forgets what was seen in another layer or mode."""

    def __init__(self) -> None:
        self._samples: deque[Sample] = deque(maxlen=_SAMPLES)
        self._shortest_rtt_s: float | None = None
        self._limit_bps: float | None = None
        self._stepped_at = 0.0
        self._remb_bps = 0.0
        self._remb_since = 0.0
        self.sent_bps: float | None = None
        """What is sent, over the last two seconds; None before there is a second to judge."""
        self.loss = 0.0
        self.is_congested = False
        self.capacity_bps: float | None = None
        """What gets through; None where nothing speaks for a limit."""

    def restart(self) -> None:
        """Judge again from the next sample on."""
        self._samples.clear()
        self.sent_bps = self.capacity_bps = self._limit_bps = None
        self.is_congested, self.loss = False, 0.0

    def add(self, sample: Sample) -> None:
        """Take a sample; they come about twice a second."""
        samples = self._samples
        samples.append(sample)
        while len(samples) > 2 and sample.now - samples[1].now >= WINDOW_S:
            samples.popleft()
        self._note_remb(sample)
        if sample.rtt_s is not None:
            self._shortest_rtt_s = min(sample.rtt_s, self._shortest_rtt_s or sample.rtt_s)
        span_s = sample.now - samples[0].now
        if span_s < LEAST_WINDOW_S:
            return
        first = samples[0]
        self.sent_bps = max(0, sample.sent_bytes - first.sent_bytes) * 8 / span_s
        packets = sample.sent_packets - first.sent_packets
        lost = sample.lost_packets - first.lost_packets
        self.loss = min(max(lost / packets, 0.0), 1.0) if packets > 0 else 0.0
        has_skipped = sample.skipped_units > first.skipped_units
        self.is_congested = self.loss > LOSS_HIGH or has_skipped or self._has_queue(sample)
        self.capacity_bps = self._capacity(sample, has_skipped)

    def has_spare(self, wanted_bps: float) -> bool:
        """Whether more may be tried: nothing limits the path, and a REMB is as high as it gets, or `wanted_bps`."""
        if self.sent_bps is None or self.is_congested or self.loss >= LOSS_LOW or self.capacity_bps is not None:
            return False
        if self._samples[-1].remb_bps is None:
            return True
        return self._remb_now >= min(wanted_bps, SPARE * self.sent_bps)

    @property
    def _remb_now(self) -> float:
        return (self._samples[-1].remb_bps or 0) * OVERHEAD

    def _note_remb(self, sample: Sample) -> None:
        remb = sample.remb_bps or 0
        if not remb / STEADY_PART <= self._remb_bps <= remb * STEADY_PART:
            self._remb_bps, self._remb_since = remb, sample.now

    def _has_queue(self, sample: Sample) -> bool:
        if sample.rtt_s is None or self._shortest_rtt_s is None:
            return False
        return sample.rtt_s > RTT_FACTOR * self._shortest_rtt_s + RTT_SLACK_S

    def _capacity(self, sample: Sample, has_skipped: bool) -> float | None:
        sent = self.sent_bps or 0.0
        limits = [sent] if has_skipped else []
        if self.loss > LOSS_HEAVY:
            limits.append(sent * (1 - self.loss))
        if sample.remb_bps is None:
            limits.append(self._by_loss(sample.now, sent, has_skipped))
        elif self.is_congested or self._means_it(sample, sent):
            limits.append(self._remb_now)
        least = min(limits, default=SPARE * sent)
        return least if least < SPARE * sent else None

    def _means_it(self, sample: Sample, sent: float) -> bool:
        return self._remb_now < WISH * sent and sample.now - self._remb_since >= STEADY_S

    def _by_loss(self, now: float, sent: float, has_skipped: bool) -> float:
        if now - self._stepped_at >= STEP_S:
            self._stepped_at = now
            limit = sent if self._limit_bps is None else self._limit_bps
            if self.loss > LOSS_HIGH or has_skipped:
                self._limit_bps = min(limit, sent) * min(LOWER, 1 - self.loss)
            elif self.loss < LOSS_LOW and self._limit_bps is not None:
                self._limit_bps = limit * RAISE if limit * RAISE < SPARE * sent else None
        return SPARE * sent if self._limit_bps is None else self._limit_bps
