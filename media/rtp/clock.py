"""The wall clock in the form that RTP and RTCP want."""

import time

_NTP_EPOCH_S = 2_208_988_800  # 1900 to 1970


def ntp_now() -> int:
    """Wall time as a 64-bit NTP timestamp (RFC 3550, 4)."""
    return int((time.time() + _NTP_EPOCH_S) * (1 << 32)) & 0xFFFFFFFFFFFFFFFF
