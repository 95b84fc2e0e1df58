"""Answers to Binding requests of 20 bytes over IPv4, written where the request lies. No I/O, no clock.

All other requests are the server's.
"""

import struct
import sys
from collections.abc import Callable, Hashable

from media.turn import address, stun
from media.turn.address import SocketAddress
from media.turn.slots import HALVES, WORDS, Slots, in_memory

MOST_REMEMBERED = 4096
"""Clients whose XOR-MAPPED-ADDRESS is remembered; one more, and remembering begins anew."""

NOT_COMMON, SILENT = -1, 0
REQUEST = in_memory(stun.BINDING)
_RESPONSE = in_memory(stun.BINDING | 0x0100)
_COOKIE = int.from_bytes(stun.COOKIE.to_bytes(4), sys.byteorder)
_IPV4_BYTES, _MAPPED_BYTES = 4, 12
_MAPPED_LENGTH = in_memory(_MAPPED_BYTES)
_MAPPED_HEAD = struct.pack("!HH", stun.XOR_MAPPED_ADDRESS, 8)
_END = stun.HEADER_BYTES + _MAPPED_BYTES

MayAnswer = Callable[[bytes, float], bool]
"""Whether an address may have an answer now, which is counted then."""


class Bindings:
    """Answers in slots; `may_answer` decides for each."""

    def __init__(self, slots: Slots, may_answer: MayAnswer) -> None:
        self._slots = slots
        self._may_answer = may_answer
        self._mapped: dict[Hashable, tuple[bytes, bytes]] = {}

    def answer(
        self, index: int, length: int, client: Hashable, address_of: Callable[[int], SocketAddress], now: float
    ) -> int:
        """Return the length of the answer that lies in the slot now, SILENT without one, NOT_COMMON for the server.

        `client` is a key of the client's address. The type of the message is that of a Binding request.
        """
        half, at = self._slots.half, index * HALVES
        if length != stun.HEADER_BYTES or half[at + 1] != 0 or self._slots.word[index * WORDS + 1] != _COOKIE:
            return NOT_COMMON
        known = self._mapped.get(client)
        if known is None:
            ip, port = address.pack(address_of(index)[0]), address_of(index)[1]
            if len(ip) != _IPV4_BYTES:
                return NOT_COMMON
            known = self._remember(client, ip, _MAPPED_HEAD + stun.xor_address(ip, port, bytes(12)))
        if not self._may_answer(known[0], now):
            return SILENT
        half[at], half[at + 1] = _RESPONSE, _MAPPED_LENGTH
        self._slots.views[index][stun.HEADER_BYTES : _END] = known[1]
        return _END

    def _remember(self, client: Hashable, ip: bytes, mapped: bytes) -> tuple[bytes, bytes]:
        if len(self._mapped) >= MOST_REMEMBERED:
            self._mapped.clear()
        self._mapped[client] = ip, mapped
        return ip, mapped
