import pytest

from channels.errors import UnrecognizedClientException
from channels.signaling.revoked import Ended, Revoked


def test_a_credential_that_was_just_revoked_is_refused() -> None:
    revoked = Revoked()
    revoked.add(frozenset(("key", "token")), 10.0)

    with pytest.raises(UnrecognizedClientException, match="revoked"):
        revoked.refuse(("session", "key"))
    revoked.refuse(("session",))
    revoked.refuse(())


def test_what_ended_is_known_by_name() -> None:
    ended = Ended()
    ended.add(frozenset(("door",)), 10.0)
    assert "door" in ended
    assert "gate" not in ended


def test_what_is_long_over_is_forgotten() -> None:
    revoked = Revoked()
    revoked.add(frozenset(("key",)), 10.0)
    revoked.tidy(69.0)
    assert len(revoked) == 1
    revoked.tidy(70.0)

    assert len(revoked) == 0
