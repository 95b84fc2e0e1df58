"""Whether a viewer shows each picture as it comes or evens out what the network does to them. No I/O, no clock.

Told by the header extension playout-delay of Google's WebRTC: the least and most time from capture to display. Browsers
left alone hold pictures back, often for longer than all the rest of the way; 0 and 0 is "at once".
"""

AT_ONCE = bytes(3)
EVENED = (1000).to_bytes(3, "big")
"""Twelve bits each of least and most delay in units of 10 ms: 0 to 10 s, which is what a browser does by itself."""

_ROUGH_JITTER_S = 0.040
_ROUGH_LOSS, _LONG_RTT_S = 0.01, 0.030
_CALM_S = 10.0


class Playout:
    """At once, unless packets come so unevenly, or are repaired over so long a way, that it would be seen."""

    def __init__(self) -> None:
        self.value = AT_ONCE
        self._rough_at = float("-inf")

    def observe(self, fraction_lost: float, jitter_s: float, rtt_s: float | None, now: float) -> bool:
        """Take a receiver report; whether `value` has changed."""
        before = self.value
        is_repaired_late = fraction_lost > _ROUGH_LOSS and rtt_s is not None and rtt_s > _LONG_RTT_S
        if jitter_s > _ROUGH_JITTER_S or is_repaired_late:
            self._rough_at = now
            self.value = EVENED
        elif now - self._rough_at > _CALM_S:
            self.value = AT_ONCE
        return self.value != before
