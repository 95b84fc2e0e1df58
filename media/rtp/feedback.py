"""RTCP of the other side, bytes in, events out; whatever the bytes are, nothing is raised. No I/O, no clock.

RFC 3550 section 6 (reports, BYE), RFC 4585 (NACK, PLI), RFC 5104 (FIR), draft-alvestrand-rmcat-remb.
"""

from collections.abc import Callable, Iterator
from struct import unpack_from

import msgspec

_SENDER_REPORT, _RECEIVER_REPORT, _BYE, _TRANSPORT_FEEDBACK, _PAYLOAD_FEEDBACK = 200, 201, 203, 205, 206
_NACK, _PLI, _FIR, _APPLICATION = 1, 1, 4, 15
_REPORT_BYTES = 24


class KeyframeRequest(msgspec.Struct, frozen=True, gc=False):
    """The viewer needs a key frame of the stream `ssrc`, by PLI or by FIR."""

    ssrc: int
    is_fir: bool = False


class Nack(msgspec.Struct, frozen=True, gc=False):
    """Packets of the stream `ssrc` that the viewer misses, as sequence numbers."""

    ssrc: int
    lost: tuple[int, ...]


class Remb(msgspec.Struct, frozen=True, gc=False):
    """Most bits per second that the viewer wants for the streams `ssrcs` together."""

    bitrate_bps: int
    ssrcs: tuple[int, ...]


class ReceiverReport(msgspec.Struct, frozen=True, gc=False):
    """How the stream `ssrc` arrives: `fraction_lost` 0 to 1, `jitter` in RTP clock units.

    `last_report` and `delay` are 1/65536 seconds as RFC 3550, 6.4.1 has them; 0 when no report has come yet.
    """

    ssrc: int
    fraction_lost: float
    packets_lost: int
    jitter: int
    last_report: int
    delay: int


class SenderReport(msgspec.Struct, frozen=True, gc=False):
    """The other side's own stream `ssrc` at the 64-bit NTP time `ntp`, with the RTP `timestamp` of that moment."""

    ssrc: int
    ntp: int
    timestamp: int


class Goodbye(msgspec.Struct, frozen=True, gc=False):
    """The viewer's own streams `ssrcs` end."""

    ssrcs: tuple[int, ...]


Feedback = KeyframeRequest | Nack | Remb | ReceiverReport | SenderReport | Goodbye


def parse(data: bytes) -> list[Feedback]:
    """Events of one compound packet; reading stops at the first malformed part, what came before it counts."""
    events: list[Feedback] = []
    position = 0
    while position + 4 <= len(data):
        first, kind, words = unpack_from("!BBH", data, position)
        end = position + 4 + 4 * words
        if first >> 6 != 2 or end > len(data):
            break
        body = data[position + 4 : end]
        if first & 0x20:  # RFC 3550, 6.4.1: padding; its last byte counts it
            if not body or not 0 < body[-1] <= len(body):
                break
            body = body[: -body[-1]]
        reader = _READERS.get(kind)
        if reader is not None:
            events.extend(reader(body, first & 0x1F))
        position = end
    return events


def _reports(body: bytes, count: int, start: int) -> Iterator[ReceiverReport]:
    for position in range(start, min(start + count * _REPORT_BYTES, len(body) - _REPORT_BYTES + 1), _REPORT_BYTES):
        ssrc, loss, _, jitter, last_report, delay = unpack_from("!LLLLLL", body, position)
        lost = loss & 0xFFFFFF
        lost -= (lost & 0x800000) << 1
        yield ReceiverReport(ssrc, (loss >> 24) / 256, lost, jitter, last_report, delay)


def _sender_report(body: bytes, count: int) -> Iterator[Feedback]:
    if len(body) >= 24:
        yield SenderReport(*unpack_from("!LQL", body))
    yield from _reports(body, count, 24)


def _receiver_report(body: bytes, count: int) -> Iterator[Feedback]:
    yield from _reports(body, count, 4)


def _goodbye(body: bytes, count: int) -> Iterator[Feedback]:
    yield Goodbye(tuple(unpack_from("!L", body, at)[0] for at in range(0, min(4 * count, len(body) - 3), 4)))


def _transport_feedback(body: bytes, form: int) -> Iterator[Feedback]:
    if form != _NACK or len(body) < 12:
        return
    lost: dict[int, None] = {}
    for position in range(8, len(body) - 3, 4):
        first, mask = unpack_from("!HH", body, position)
        lost[first] = None
        for bit in range(16):
            if mask >> bit & 1:
                lost[(first + bit + 1) & 0xFFFF] = None
    yield Nack(unpack_from("!L", body, 4)[0], tuple(lost))


def _payload_feedback(body: bytes, form: int) -> Iterator[Feedback]:
    if len(body) < 8:
        return
    if form == _PLI:
        yield KeyframeRequest(unpack_from("!L", body, 4)[0])
    elif form == _FIR:
        for position in range(8, len(body) - 7, 8):  # RFC 5104, 4.3.1.1: the SSRC stands in each entry
            yield KeyframeRequest(unpack_from("!L", body, position)[0], is_fir=True)
    elif form == _APPLICATION and body[8:12] == b"REMB" and len(body) >= 16:
        count, high, low = unpack_from("!BBH", body, 12)
        bitrate_bps = ((high & 0x03) << 16 | low) << (high >> 2)
        yield Remb(bitrate_bps, tuple(unpack_from("!L", body, at)[0] for at in _remb_ssrcs(body, count)))


def _remb_ssrcs(body: bytes, count: int) -> range:
    return range(16, min(16 + 4 * count, len(body) - 3), 4)


_READERS: dict[int, Callable[[bytes, int], Iterator[Feedback]]] = {
    _SENDER_REPORT: _sender_report,
    _RECEIVER_REPORT: _receiver_report,
    _BYE: _goodbye,
    _TRANSPORT_FEEDBACK: _transport_feedback,
    _PAYLOAD_FEEDBACK: _payload_feedback,
}
