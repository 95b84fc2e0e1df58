"""What each quota key used, kept after its allocations and bounded."""

import pytest

from media.turn import usage
from media.turn.usage import Usage, Usages


def test_allocations_of_a_key_share_their_usage_and_it_outlives_them() -> None:
    usages = Usages()
    first, second = usages.begin(b"red"), usages.begin(b"red")
    assert first is second
    first.bytes_to_peers += 5
    assert usages.all() == {b"red": Usage(2, 5, 0)}
    usages.end(b"red")
    usages.end(b"red")
    assert usages.all() == {b"red": Usage(0, 5, 0)}
    usages.begin(b"red").bytes_to_clients += 7
    assert usages.all() == {b"red": Usage(1, 5, 7)}


def test_key_that_was_used_least_lately_is_forgotten_and_a_live_one_never(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "REMEMBERED", 2)
    usages = Usages()
    usages.begin(b"live")
    for key in (b"a", b"b", b"a", b"c"):
        usages.begin(key)
        usages.end(key)
    assert list(usages.all()) == [b"a", b"c", b"live"]
