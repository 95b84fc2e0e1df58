"""RTP headers of one stream: a template with the negotiated extensions, filled in per packet. No I/O, no clock.

RFC 3550, 5.1; extensions in the one-byte form of RFC 8285.
"""

from collections.abc import Sequence
from struct import Struct, pack
from typing import overload

import msgspec

MID = "urn:ietf:params:rtp-hdrext:sdes:mid"
ABS_SEND_TIME = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"
PLAYOUT_DELAY = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay"
AUDIO_LEVEL = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"

_ONE_BYTE_PROFILE = 0xBEDE
_LARGEST_ID = 14
_LARGEST_VALUE = 16
_SEQUENCES = 1 << 16
_MARKER = 0x80 << 16
_EXTENDED, _PLAIN = 0x90 << 24, 0x80 << 24
_first_word = Struct("!L").pack
_more_words = Struct("!LL").pack


class ExtensionIds(msgspec.Struct, frozen=True):
    """Negotiated ids of the header extensions that we write; None where one was not negotiated."""

    mid: int | None = None
    abs_send_time: int | None = None
    audio_level: int | None = None
    playout_delay: int | None = None

    @classmethod
    def of(cls, negotiated: dict[str, int]) -> "ExtensionIds":
        """Pick ours out of `negotiated`, URI to id; ids that need the two-byte form are left out."""

        def usable(uri: str) -> int | None:
            number = negotiated.get(uri)
            return number if number is not None and 1 <= number <= _LARGEST_ID else None

        return cls(usable(MID), usable(ABS_SEND_TIME), usable(AUDIO_LEVEL), usable(PLAYOUT_DELAY))


def _element(number: int, value: bytes) -> bytes:
    return bytes((number << 4 | len(value) - 1,)) + value


def abs_send_time(ntp: int) -> int:
    """24 bits of 6.18 fixed-point seconds out of a 64-bit NTP timestamp."""
    return (ntp >> 14) & 0xFFFFFF


def _block(elements: bytes) -> bytes:
    if not elements:
        return b""
    elements += bytes(-len(elements) % 4)
    return pack("!HH", _ONE_BYTE_PROFILE, len(elements) // 4) + elements


class Heads(Sequence[bytes]):
    """All but the payload of each packet of one access unit, written out only where somebody looks at one.

    `words` are the first 32 bits of each as numbers, `rest` is what follows in all of them.
    """

    __slots__ = ("rest", "words")

    def __init__(self, words: list[int], rest: bytes) -> None:
        self.words = words
        self.rest = rest

    def __len__(self) -> int:
        return len(self.words)

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> "Heads": ...
    def __getitem__(self, index: int | slice) -> "bytes | Heads":
        if isinstance(index, slice):
            return Heads(self.words[index], self.rest)
        return _first_word(self.words[index]) + self.rest


class HeaderTemplate:
    """Builds packets of one SSRC and payload type; the extension block is made once per access unit."""

    def __init__(self, ssrc: int, payload_type: int, mid: str, ids: ExtensionIds) -> None:
        self.ssrc = ssrc
        self.payload_type = payload_type
        self._ids = ids
        value = mid.encode()
        self._mid = _element(ids.mid, value) if ids.mid is not None and 0 < len(value) <= _LARGEST_VALUE else b""
        self.set_playout(b"")

    def set_playout(self, value: bytes) -> None:
        """Write this playout delay from now on, where it was negotiated; none while it is empty."""
        number = self._ids.playout_delay
        self._constant = self._mid + (_element(number, value) if number is not None and value else b"")
        # What is the same in each block without a level: all but the three bytes of the time behind the constant.
        self._before, self._after = _block(self._constant), b""
        if self._ids.abs_send_time is not None:
            block = _block(self._constant + _element(self._ids.abs_send_time, bytes(3)))
            at = 5 + len(self._constant)
            self._before, self._after = block[:at], block[at + 3 :]

    def extensions(self, ntp: int, audio_level: int | None = None) -> bytes:
        """The extension block of a packet sent at `ntp`; empty when nothing was negotiated.

        `audio_level` is -dBov, 0 to 127, without a claim about speech (RFC 6464).
        """
        ids = self._ids
        if audio_level is None or ids.audio_level is None:
            if ids.abs_send_time is None:
                return self._before
            return self._before + abs_send_time(ntp).to_bytes(3, "big") + self._after
        elements = self._constant
        if ids.abs_send_time is not None:
            elements += _element(ids.abs_send_time, abs_send_time(ntp).to_bytes(3, "big"))
        return _block(elements + _element(ids.audio_level, bytes((audio_level & 0x7F,))))

    def heads(self, first: int, timestamp: int, block: bytes, count: int) -> Heads:
        """Heads of the `count` packets of one access unit, numbered from `first`; the last is marked."""
        word, end = (_EXTENDED if block else _PLAIN) | self.payload_type << 16, first + count
        if end <= _SEQUENCES:
            words = list(range(word + first, word + end))
        else:
            words = [word | number & 0xFFFF for number in range(first, end)]
        words[-1] |= _MARKER
        return Heads(words, _more_words(timestamp, self.ssrc) + block)

    def packet(self, sequence: int, timestamp: int, is_last: bool, tail: tuple[bytes, bytes]) -> bytes:
        """One packet; `tail` is (extension block, payload), `is_last` sets the marker."""
        block, payload = tail
        word = (_EXTENDED if block else _PLAIN) | (_MARKER if is_last else 0) | self.payload_type << 16 | sequence
        return _first_word(word) + _more_words(timestamp, self.ssrc) + block + payload
