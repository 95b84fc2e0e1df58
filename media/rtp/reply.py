"""RTCP that a receiver sends: reports, NACK, PLI, REMB, as compound packets. No I/O, no clock.

RFC 3550 section 6, RFC 4585 section 6, draft-alvestrand-rmcat-remb.
"""

from collections.abc import Sequence
from struct import pack

import msgspec

_RECEIVER_REPORT, _SOURCE_DESCRIPTION, _TRANSPORT_FEEDBACK, _PAYLOAD_FEEDBACK = 201, 202, 205, 206
_CNAME, _NACK, _PLI, _APPLICATION = 1, 1, 1, 15
_MOST_LOST = 0x7FFFFF


class ReportBlock(msgspec.Struct, frozen=True, gc=False):
    """How the stream `ssrc` arrives (RFC 3550, 6.4.1): `fraction_lost` of 256, `jitter` in RTP clock units.

    `last_report` and `delay` are 1/65536 seconds, both 0 before the first sender report.
    """

    ssrc: int
    fraction_lost: int
    packets_lost: int
    highest: int
    jitter: int
    last_report: int = 0
    delay: int = 0


def compound(ssrc: int, cname: str, block: ReportBlock | None, feedback: bytes = b"") -> bytes:
    """A receiver report of `ssrc` with its name and `feedback` behind it: what RFC 3550, 6.1 wants of every packet."""
    report = pack("!BBHL", 0x80, _RECEIVER_REPORT, 1, ssrc)
    if block is not None:
        lost = max(-_MOST_LOST, min(_MOST_LOST, block.packets_lost)) & 0xFFFFFF
        report = pack(
            "!BBHLLLLLLL",
            0x81,
            _RECEIVER_REPORT,
            7,
            ssrc,
            block.ssrc,
            block.fraction_lost << 24 | lost,
            block.highest & 0xFFFFFFFF,
            block.jitter & 0xFFFFFFFF,
            block.last_report & 0xFFFFFFFF,
            block.delay & 0xFFFFFFFF,
        )
    name = cname.encode()[:255]
    chunk = pack("!LBB", ssrc, _CNAME, len(name)) + name + b"\x00"
    chunk += bytes(-len(chunk) % 4)
    return report + pack("!BBH", 0x81, _SOURCE_DESCRIPTION, len(chunk) // 4) + chunk + feedback


def nack(ssrc: int, media_ssrc: int, lost: Sequence[int]) -> bytes:
    """Ask for packets again; `lost` holds sequence numbers of 16 bits in rising order of sending."""
    entries = b""
    first, mask = lost[0], 0
    for sequence in lost[1:]:
        offset = (sequence - first) & 0xFFFF
        if offset > 16:
            entries += pack("!HH", first, mask)
            first, mask = sequence, 0
        else:
            mask |= 1 << offset - 1
    entries += pack("!HH", first, mask)
    return pack("!BBHLL", 0x80 | _NACK, _TRANSPORT_FEEDBACK, 2 + len(entries) // 4, ssrc, media_ssrc) + entries


def pli(ssrc: int, media_ssrc: int) -> bytes:
    """Ask for a key frame."""
    return pack("!BBHLL", 0x80 | _PLI, _PAYLOAD_FEEDBACK, 2, ssrc, media_ssrc)


def remb(ssrc: int, bitrate_bps: int, media_ssrcs: Sequence[int]) -> bytes:
    """Say how much may be sent; the bitrate is rounded down to 18 significant bits."""
    exponent = max(0, bitrate_bps.bit_length() - 18)
    mantissa = bitrate_bps >> exponent
    head = pack("!BBHLL", 0x80 | _APPLICATION, _PAYLOAD_FEEDBACK, 4 + len(media_ssrcs), ssrc, 0)
    rate = pack("!BBH", len(media_ssrcs), exponent << 2 | mantissa >> 16, mantissa & 0xFFFF)
    return head + b"REMB" + rate + b"".join([pack("!L", media_ssrc) for media_ssrc in media_ssrcs])
