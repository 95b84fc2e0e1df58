"""RTP headers of one stream: a template with the negotiated extensions, filled in per packet. No I/O, no clock.

RFC 3550, 5.1; extensions in the one-byte form of RFC 8285.
"""

from struct import pack

import msgspec

MID = "urn:ietf:params:rtp-hdrext:sdes:mid"
ABS_SEND_TIME = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"
AUDIO_LEVEL = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"

_ONE_BYTE_PROFILE = 0xBEDE
_LARGEST_ID = 14
_LARGEST_VALUE = 16
_MARKER = 0x80


class ExtensionIds(msgspec.Struct, frozen=True):
    """Negotiated ids of the header extensions that we write; None where one was not negotiated."""

    mid: int | None = None
    abs_send_time: int | None = None
    audio_level: int | None = None

    @classmethod
    def of(cls, negotiated: dict[str, int]) -> "ExtensionIds":
        """Pick ours out of `negotiated`, URI to id; ids that need the two-byte form are left out."""

        def usable(uri: str) -> int | None:
            number = negotiated.get(uri)
            return number if number is not None and 1 <= number <= _LARGEST_ID else None

        return cls(usable(MID), usable(ABS_SEND_TIME), usable(AUDIO_LEVEL))


def _element(number: int, value: bytes) -> bytes:
    return bytes((number << 4 | len(value) - 1,)) + value


def abs_send_time(ntp: int) -> int:
    """24 bits of 6.18 fixed-point seconds out of a 64-bit NTP timestamp."""
    return (ntp >> 14) & 0xFFFFFF


class HeaderTemplate:
    """Builds packets of one SSRC and payload type; the extension block is made once per access unit."""

    def __init__(self, ssrc: int, payload_type: int, mid: str, ids: ExtensionIds) -> None:
        self.ssrc = ssrc
        self.payload_type = payload_type
        self._ids = ids
        value = mid.encode()
        self._mid = _element(ids.mid, value) if ids.mid is not None and 0 < len(value) <= _LARGEST_VALUE else b""

    def extensions(self, ntp: int, audio_level: int | None = None) -> bytes:
        """The extension block of a packet sent at `ntp`; empty when nothing was negotiated.

        `audio_level` is -dBov, 0 to 127, without a claim about speech (RFC 6464).
        """
        block = self._mid
        if self._ids.abs_send_time is not None:
            block += _element(self._ids.abs_send_time, abs_send_time(ntp).to_bytes(3, "big"))
        if self._ids.audio_level is not None and audio_level is not None:
            block += _element(self._ids.audio_level, bytes((audio_level & 0x7F,)))
        if not block:
            return b""
        block += bytes(-len(block) % 4)
        return pack("!HH", _ONE_BYTE_PROFILE, len(block) // 4) + block

    def packet(self, sequence: int, timestamp: int, is_last: bool, tail: tuple[bytes, bytes]) -> bytes:
        """One packet; `tail` is (extension block, payload), `is_last` sets the marker."""
        block, payload = tail
        first = 0x90 if block else 0x80
        second = self.payload_type | (_MARKER if is_last else 0)
        return pack("!BBHLL", first, second, sequence, timestamp, self.ssrc) + block + payload
