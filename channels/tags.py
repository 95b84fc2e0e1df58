"""Rules for tags of a channel: which keys and values are allowed, and how many. Pure."""

import unicodedata
from collections.abc import Iterable, Mapping

from channels.errors import InvalidArgumentException, Limit, TagsPerResourceExceededLimitException

TAG_LIMIT = 50
KEY_LIMIT = 128
VALUE_LIMIT = 256
_MARKS = frozenset("_.:/=+-@")
_CATEGORIES = frozenset("LZN")  # letters, separators, numbers: \p{L} \p{Z} \p{N} of the service model


def parse_tags(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the tags of a request as a mapping (KVS API: Tag).

    Raises: InvalidArgumentException for a key or value that is not allowed, or a key given twice;
    TagsPerResourceExceededLimitException for more than 50.
    """
    tags: dict[str, str] = {}
    for key, value in pairs:
        parse_tag_key(key)
        if len(value) > VALUE_LIMIT or not _is_allowed(value):
            raise InvalidArgumentException(f"Value of a tag must be at most {VALUE_LIMIT} {_ALLOWED}")
        if key in tags:
            raise InvalidArgumentException("Key of a tag must not be given twice")
        tags[key] = value
    _check_count(tags)
    return tags


def parse_tag_key(key: str) -> str:
    """Return `key` when it may be the key of a tag. Raises: InvalidArgumentException."""
    if not 1 <= len(key) <= KEY_LIMIT or not _is_allowed(key):
        raise InvalidArgumentException(f"Key of a tag must be 1 to {KEY_LIMIT} {_ALLOWED}")
    return key


def merge(old: Mapping[str, str], new: Mapping[str, str]) -> dict[str, str]:
    """Return `old` with `new` written over it (KVS API: TagResource).

    Raises: TagsPerResourceExceededLimitException.
    """
    merged = {**old, **new}
    _check_count(merged)
    return merged


_ALLOWED = "letters, digits, spaces and _ . : / = + - @"


def _is_allowed(text: str) -> bool:
    return all(c in _MARKS or unicodedata.category(c)[0] in _CATEGORIES for c in text)


def _check_count(tags: Mapping[str, str]) -> None:
    if len(tags) > TAG_LIMIT:
        raise TagsPerResourceExceededLimitException(
            f"a channel carries at most {TAG_LIMIT} tags, this would make {len(tags)}",
            Limit("tags_per_resource", TAG_LIMIT),
        )
