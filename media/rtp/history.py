"""What one stream has sent last, by sequence number: references to shared units, no objects per packet. No I/O."""

import msgspec

from media.rtp.packetize import PacketizedUnit

HISTORY_PACKETS = 1024


class Sent(msgspec.Struct, frozen=True, gc=False):
    """One access unit as it went to one viewer: the number of its first packet, its RTP timestamp and extensions."""

    first: int
    timestamp: int
    block: bytes
    unit: PacketizedUnit


class History:
    """The last `HISTORY_PACKETS` packets; a packet that is no longer there was not, as far as this knows."""

    def __init__(self) -> None:
        self._slots: list[Sent | None] = [None] * HISTORY_PACKETS

    def keep(self, sent: Sent) -> None:
        """Remember all packets of a unit."""
        count = min(len(sent.unit.payloads), HISTORY_PACKETS)
        begin = (sent.first + len(sent.unit.payloads) - count) % HISTORY_PACKETS
        end = begin + count
        if end <= HISTORY_PACKETS:
            self._slots[begin:end] = [sent] * count
        else:
            self._slots[begin:] = [sent] * (HISTORY_PACKETS - begin)
            self._slots[: end - HISTORY_PACKETS] = [sent] * (end - HISTORY_PACKETS)

    def find(self, sequence: int) -> tuple[Sent, int] | None:
        """The unit that holds the packet, and its place there."""
        sent = self._slots[sequence % HISTORY_PACKETS]
        if sent is None:
            return None
        index, count = (sequence - sent.first) & 0xFFFF, len(sent.unit.payloads)
        return (sent, index) if count - HISTORY_PACKETS <= index < count else None
