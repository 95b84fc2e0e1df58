"""Where a listing goes on: an opaque token in standard base64, bound to the listing that it belongs to. Pure.

The token holds nothing secret (the last name the caller has seen) and grants nothing; its digest tells a damaged token,
or one of another listing, from a good one. It needs no key, so every node and every restart understands it.
"""

import base64
import binascii
import hashlib

from channels.errors import InvalidArgumentException, ServiceError
from channels.names import parse_channel_name

_DIGEST_BYTES = 12
_LIMIT = 1024  # KVS API: NextToken


def encode(listing: str, after: str) -> str:
    """Return the token that continues `listing` after the channel name `after`."""
    return base64.b64encode(_digest(listing, after) + after.encode()).decode()


def decode(listing: str, token: str) -> str:
    """Return the name after which `listing` goes on.

    Raises: InvalidArgumentException for any text that `encode` did not give for this listing.
    """
    wrong = InvalidArgumentException("NextToken must be the token of the previous page of this very listing")
    if len(token) > _LIMIT:
        raise wrong
    try:
        data = base64.b64decode(token.encode("ascii"), validate=True)
        after = parse_channel_name(data[_DIGEST_BYTES:].decode("ascii"))
    except (binascii.Error, UnicodeError, ServiceError):
        raise wrong from None
    if encode(listing, after) != token:
        raise wrong
    return after


def _digest(listing: str, after: str) -> bytes:
    return hashlib.sha256(f"{listing}\n{after}".encode()).digest()[:_DIGEST_BYTES]
