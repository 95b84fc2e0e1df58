"""Nonces that need no memory: an HMAC over client address, port and time behind the nonce cookie. No clock, no chance.

RFC 8489, 9.2: the cookie tells what the server offers. An attacker who changes it makes the nonce a stale one.
"""

import binascii
import functools

from media.turn import mac

SLOT_S = 1800
"""A nonce is accepted in its own slot and the next: it lives 30 to 60 minutes (RFC 8656, 5: an hour at most)."""

NONCE_BYTES = 28
PASSWORD_ALGORITHMS_BIT, USERNAME_ANONYMITY_BIT = 1, 2
"""Bit 0 and bit 1 of the security features (RFC 8489, 18.1): bit 0 is the last one of the 24 (erratum 6290)."""

REMEMBERED = 256
"""Nonces that need not be made again: a client that begins shows the one that it got two times soon after."""

_COOKIE = b"obMatJos2"
_COOKIE_BYTES = 13
_MARK_AT = _COOKIE_BYTES
_MAC_CHARS = NONCE_BYTES - _MARK_AT - 1  # 84 bits
_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_WITH_LAST_BIT = _ALPHABET[PASSWORD_ALGORITHMS_BIT::2]


class Nonces:
    """Makes and knows the nonces of one server; `features` are the bits that the cookie tells."""

    def __init__(self, secret: bytes, features: int) -> None:
        self._secret = secret
        self._cookie = _COOKIE + binascii.b2a_base64(features.to_bytes(3), newline=False)
        self._make = functools.lru_cache(REMEMBERED)(self._made)

    def make(self, host: str, port: int, now: float) -> bytes:
        """Return the nonce that this client shall use now."""
        return self._make(host, port, int(now // SLOT_S))

    def is_fresh(self, nonce: bytes, client: tuple[str, int], now: float) -> bool:
        """Tell whether this client was given the nonce, in this time slot or the one before."""
        slot = int(now // SLOT_S)
        if nonce[_MARK_AT : _MARK_AT + 1] == _mark(slot - 1):
            slot -= 1
        return mac.is_same(nonce, self._make(*client, slot))

    def _made(self, host: str, port: int, slot: int) -> bytes:
        head = self._cookie + _mark(slot)
        digest = mac.sha256(self._secret, b"%b %d %d %b" % (head, slot, port, host.encode()))
        return head + binascii.b2a_base64(digest[:12])[:_MAC_CHARS]


def tells_password_algorithms(nonce: bytes) -> bool:
    """Tell whether the nonce cookie says that PASSWORD-ALGORITHMS came with it (RFC 8489, 9.2.4)."""
    if len(nonce) < _COOKIE_BYTES or not nonce.startswith(_COOKIE):
        return False
    return nonce[_COOKIE_BYTES - 1] in _WITH_LAST_BIT


def _mark(slot: int) -> bytes:
    """Return the character by which a nonce tells its slot, so that one HMAC is enough to check it."""
    at = slot & 63
    return _ALPHABET[at : at + 1]
