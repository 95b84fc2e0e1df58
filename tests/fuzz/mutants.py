"""Bytes that are nearly right: valid messages, changed in the ways that parsers trip over."""

import hmac
import random
import zlib

from media.turn import stun

FIRST_BYTES = (0, 1, 3, 4, 19, 20, 22, 23, 25, 63, 64, 0x4F, 0x50, 0x7F, 0x80, 0xFF)
EDGES = (0, 1, 3, 4, 5, 7, 8, 0x7F, 0x80, 0xFF)
ATTRIBUTES = (*sorted(stun.UNDERSTOOD), 0x0002, 0x0042, 0x7FFF, 0x8042, 0xFFFF)

Attributes = list[tuple[int, bytes]]


class Mutator:
    """Changes bytes by chance; the same seed makes the same changes."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.roll = chance.random
        self.tickets: list[bytes] = []  # of all clients (RFC 8016): some try those of others
        self.connections: list[bytes] = []  # likewise (RFC 6062)

    def below(self, end: int) -> int:
        """A number from 0 to `end` - 1; 0 when there is none."""
        return int(self.roll() * end)

    def noise(self) -> bytes:
        """No message at all."""
        first = FIRST_BYTES[self.below(len(FIRST_BYTES))]
        return bytes((first,)) + self.chance.randbytes(self.below(80)) if self.roll() < 0.95 else b""

    def change(self, data: bytes) -> bytes:
        """Change some bytes, or cut, or lengthen; now and then nothing."""
        changed = bytearray(data)
        for _ in range((0, 1, 1, 1, 2, 5)[self.below(6)]):
            self._change_once(changed)
        return bytes(changed)

    def _change_once(self, changed: bytearray) -> None:
        at, kind = self.below(len(changed)), self.below(8)
        if kind == 0 and changed:
            changed[at] ^= 1 << self.below(8)
        elif kind == 1 and changed:
            changed[at] = EDGES[self.below(len(EDGES))]
        elif kind == 2:
            del changed[at : at + 1 + self.below(8)]
        elif kind == 3:
            changed[at:at] = self.chance.randbytes(1 + self.below(8))
        elif kind == 4:
            del changed[at:]
        elif kind == 5:
            changed += self.chance.randbytes(1 + self.below(32 if self.roll() < 0.95 else 1400))
        elif kind == 6 and len(changed) >= 4:
            at &= ~1
            changed[at : at + 2] = (0, 1, 4, len(changed), max(0, len(changed) - 20), 0xFFFF)[self.below(6)].to_bytes(2)
        else:
            start = self.below(len(changed))
            changed[at:at] = changed[start : start + self.below(24)]

    def change_attributes(self, attributes: Attributes) -> Attributes:
        """Swap, double, leave out, rename, shorten or lengthen attributes."""
        changed = list(attributes)
        for _ in range(1 + self.below(3)):
            kind, at = self.below(7), self.below(len(changed))
            if not changed or kind == 0:
                changed.insert(at, (ATTRIBUTES[self.below(len(ATTRIBUTES))], self.chance.randbytes(self.below(13))))
                continue
            name, value = changed[at]
            if kind == 1:
                other = self.below(len(changed))
                changed[at], changed[other] = changed[other], changed[at]
            elif kind == 2:
                changed.insert(self.below(len(changed)), changed[at])
            elif kind == 3:
                del changed[at]
            elif kind == 4:
                changed[at] = (ATTRIBUTES[self.below(len(ATTRIBUTES))], value)
            else:
                changed[at] = (name, self.change(value)[:600])
        return changed


def packed(attributes: Attributes) -> bytes:
    """The body of a message."""
    return b"".join(
        name.to_bytes(2) + len(value).to_bytes(2) + value + bytes(-len(value) % 4) for name, value in attributes
    )


def framed(method: int, kind: int, transaction_id: bytes, body: bytes, trailer_bytes: int = 0) -> bytes:
    """A message whose length counts a trailer that is to come."""
    header = stun.encode(stun.Message(method, kind, transaction_id, []))
    return header[:2] + (len(body) + trailer_bytes & 0xFFFC).to_bytes(2) + header[4:20] + body


def signed(method: int, transaction_id: bytes, body: bytes, key: bytes, *, is_sha256: bool = False) -> bytes:
    """A request that is signed whatever is in it, so that it gets past the credentials."""
    digest, size, name = ("sha256", 32, 0x001C) if is_sha256 else ("sha1", 20, stun.MESSAGE_INTEGRITY)
    covered = framed(method, stun.REQUEST, transaction_id, body, 4 + size)
    return covered + name.to_bytes(2) + size.to_bytes(2) + hmac.digest(key, covered, digest)


def with_fingerprint(message: bytes) -> bytes:
    """The message with a right FINGERPRINT."""
    covered = message[:2] + (len(message) - 20 + 8).to_bytes(2) + message[4:]
    return covered + b"\x80\x28\x00\x04" + (zlib.crc32(covered) ^ 0x5354554E).to_bytes(4)
