"""Tokens that were verified are remembered, within bounds, and no longer than they are good."""

import msgspec
import pytest

from channels.auth.grant import Grant, Statement
from channels.errors import UnrecognizedClientException
from tests.channels.auth.tokens import EC_2, HMAC, KEYS, NOW, ec_token, hmac_token, recalled, verifier


def test_verified_token_is_remembered_until_it_expires() -> None:
    judge, text = verifier(), ec_token()
    assert recalled(judge, text, NOW) is None
    first = judge.verify(text, NOW)
    assert judge.verify(text, NOW + 1) == first
    assert recalled(judge, text, NOW + 89.9) == first
    assert (judge.stats.verified, judge.stats.cached) == (1, 2)
    assert recalled(judge, text, NOW + 90) is None
    assert len(judge) == 0


def test_only_a_token_that_is_new_here_may_be_refused_unheard() -> None:
    judge, text, asked = verifier(), ec_token(), list[str]()

    def refuse() -> None:
        asked.append("")
        raise InterruptedError

    for other in (text, "a" * 9000):
        with pytest.raises(InterruptedError):
            judge.verify(other, NOW, refuse)
    assert judge.stats == type(judge.stats)()
    grant = judge.verify(text, NOW, lambda: None)
    assert judge.verify(text, NOW, refuse) == grant
    assert len(asked) == 2


def test_token_remembered_is_not_good_before_its_time() -> None:
    judge, text = verifier(), ec_token(nbf=int(NOW))
    assert judge.verify(text, NOW)
    assert recalled(judge, text, NOW - 31) is None  # the clock went back
    with pytest.raises(UnrecognizedClientException):
        judge.verify(text, NOW - 31)


def test_tokens_remembered_are_bounded_and_the_least_used_goes_first() -> None:
    judge = verifier(cache_entries=2)
    first, second, third = (hmac_token(sub=name) for name in ("a", "b", "c"))
    for text in (first, second, first, third):
        judge.verify(text, NOW)
    assert judge.stats.evicted == 1
    assert recalled(judge, second, NOW) is None
    assert recalled(judge, first, NOW)
    assert recalled(judge, third, NOW)


def test_removed_key_ends_its_tokens_at_once() -> None:
    judge, text = verifier(), ec_token()
    assert judge.verify(text, NOW)
    judge.replace_keys((HMAC, EC_2))
    assert recalled(judge, text, NOW) is None
    with pytest.raises(UnrecognizedClientException):
        judge.verify(text, NOW)
    assert judge.verify(hmac_token(), NOW)


def test_a_token_that_is_no_longer_admitted_is_refused_also_when_it_is_remembered() -> None:
    revoked: set[str] = set()

    def admit(grant: Grant) -> Grant:
        if revoked & set(grant.credential_ids):
            raise UnrecognizedClientException("it was revoked")
        return grant

    one = verifier(*KEYS, admit=admit)
    kept, ended = ec_token(jti="kept"), ec_token(jti="ended")
    assert [one.verify(text, NOW).token_id for text in (kept, ended)] == ["kept", "ended"]
    revoked.add("ended")
    assert recalled(one, ended, NOW) is None
    with pytest.raises(UnrecognizedClientException, match="it was revoked"):
        one.verify(ended, NOW)
    assert recalled(one, kept, NOW) is not None
    assert (one.stats.refused, len(one)) == (1, 1)
    with pytest.raises(UnrecognizedClientException, match="it was revoked"):
        verifier(*KEYS, admit=admit).verify(ended, NOW)


def test_a_grant_is_given_as_admitted_each_time() -> None:
    bounds = [(Statement(("a",), ("*",)),), (Statement(("b",), ("*",)),)]
    one = verifier(*KEYS, admit=lambda grant: msgspec.structs.replace(grant, boundary=bounds[0]))
    text = ec_token(jti="t")
    assert one.verify(text, NOW).boundary == bounds.pop(0)
    assert one.verify(text, NOW).boundary == bounds[0]
