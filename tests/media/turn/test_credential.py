"""Credentials on their own: the challenge, the keys of both algorithms, the cache of accounts."""

import pytest

from media.turn import credential, stun
from media.turn.credential import PASSWORD_ALGORITHMS, CredentialError, Credentials, Keys

CLIENT = ("203.0.113.5", 40000)
SECRET = bytes(32)
SHA256 = bytes((0, stun.SHA256, 0, 0))
MD5 = bytes((0, stun.MD5, 0, 0))
ROOM = 1000

Attributes = list[tuple[int, bytes]]


class Book:
    """Finds keys and counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.hashes: dict[bytes, str] = {}

    def key_for(self, username: str) -> Keys | None:
        self.asked += 1
        return Keys(("pass " + username,), username[:1].encode(), 100.0)

    def username_for(self, userhash: bytes) -> str | None:
        return self.hashes.get(userhash)


def nonce_of(credentials: Credentials, now: float = 0.0) -> bytes:
    challenge = credentials.challenge(CLIENT, now, ROOM)
    assert challenge is not None
    return dict(challenge)[stun.NONCE]


def signed(
    credentials: Credentials,
    username: str,
    now: float = 0.0,
    extra: Attributes | None = None,
    *,
    algorithm: int = stun.MD5,
    is_hashed: bool = False,
) -> stun.Message:
    identity = (stun.USERHASH, stun.userhash(username, "realm")) if is_hashed else (stun.USERNAME, username.encode())
    attributes = [identity, (stun.REALM, b"realm"), (stun.NONCE, nonce_of(credentials, now)), *(extra or [])]
    message = stun.Message(stun.ALLOCATE, stun.REQUEST, bytes(12), attributes)
    key = stun.integrity_key(username, "realm", "pass " + username, algorithm)
    return stun.decode(stun.encode(message, key, is_sha256=algorithm == stun.SHA256))


def offer(chosen: bytes = SHA256, offered: bytes = PASSWORD_ALGORITHMS) -> Attributes:
    return [(stun.PASSWORD_ALGORITHM, chosen), (stun.PASSWORD_ALGORITHMS, offered)]


def refusal(credentials: Credentials, message: stun.Message, now: float = 0.0) -> tuple[int, str]:
    with pytest.raises(CredentialError) as caught:
        credentials.check(message, CLIENT, now)
    return caught.value.code, caught.value.reason


def test_challenge_offers_sha_256_before_md5_where_there_is_room() -> None:
    credentials = Credentials(Book().key_for, "realm", SECRET)
    whole = credentials.challenge(CLIENT, 0.0, 12 + 32 + 12)
    cut = credentials.challenge(CLIENT, 0.0, 12 + 32 + 11)
    assert whole is not None
    assert whole[2] == (stun.PASSWORD_ALGORITHMS, bytes.fromhex("0002000000010000"))
    assert cut == whole[:2]
    assert [key for key, _ in whole] == [stun.REALM, stun.NONCE, stun.PASSWORD_ALGORITHMS]
    assert credentials.challenge(CLIENT, 0.0, 12 + 32) == cut
    assert credentials.challenge(CLIENT, 0.0, 12 + 31) is None


def test_account_is_remembered_only_after_it_proved_itself() -> None:
    book = Book()
    credentials = Credentials(book.key_for, "realm", SECRET)
    good = signed(credentials, "ann")
    forged = stun.decode(good.raw[:-1] + bytes((good.raw[-1] ^ 1,)))
    for _ in range(3):
        assert refusal(credentials, forged) == (401, "wrong-integrity")
    assert book.asked == 3
    account = credentials.check(good, CLIENT, 0.0)
    assert credentials.check(good, CLIENT, 0.0) == account
    assert (book.asked, account.username, account.quota_key) == (4, "ann", b"a")


def test_remembered_accounts_are_bounded_and_the_oldest_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credential, "REMEMBERED_ACCOUNTS", 3)
    book = Book()
    credentials = Credentials(book.key_for, "realm", SECRET)
    for username in ("ann", "bob", "cat", "ann", "dan"):
        credentials.check(signed(credentials, username), CLIENT, 0.0)
    assert book.asked == 4
    credentials.check(signed(credentials, "ann"), CLIENT, 0.0)
    assert book.asked == 4
    credentials.check(signed(credentials, "bob"), CLIENT, 0.0)
    assert book.asked == 5


def test_forgotten_quota_key_is_asked_for_again() -> None:
    book = Book()
    credentials = Credentials(book.key_for, "realm", SECRET)
    for username in ("ann", "bob"):
        credentials.check(signed(credentials, username), CLIENT, 0.0)
    credentials.forget(lambda account: account.quota_key == b"a")
    for username in ("ann", "bob"):
        credentials.check(signed(credentials, username), CLIENT, 0.0)
    assert book.asked == 3


def test_owner_is_known_without_the_book_and_after_its_end() -> None:
    book = Book()
    credentials = Credentials(book.key_for, "realm", SECRET)
    owner = credentials.check(signed(credentials, "ann"), CLIENT, 99.0)
    credentials.forget(lambda account: True)
    late = signed(credentials, "ann", now=5000.0)
    assert credentials.is_signed_by(late, owner)
    assert credentials.is_fresh(late, CLIENT, 5000.0)
    assert book.asked == 1
    assert refusal(credentials, late, 5000.0) == (401, "expired")
    assert not credentials.is_signed_by(signed(credentials, "bob"), owner)
    assert not credentials.is_signed_by(stun.Message(stun.REFRESH, stun.REQUEST, bytes(12), []), owner)


@pytest.mark.parametrize("nonce", [b"", b"-", "é".encode() * 10, b"\xff", b"x" * 700, b"obMatJos2AAAB"])
def test_nonce_of_any_bytes_is_only_stale(nonce: bytes) -> None:
    credentials = Credentials(Book().key_for, "realm", SECRET)
    attributes = [(stun.USERNAME, b"ann"), (stun.REALM, b"realm"), (stun.NONCE, nonce)]
    message = stun.Message(stun.ALLOCATE, stun.REQUEST, bytes(12), attributes)
    assert refusal(credentials, stun.decode(stun.encode(message, b"key"))) == (438, "stale-nonce")


@pytest.mark.parametrize("algorithm", [stun.MD5, stun.SHA256])
def test_key_is_made_by_the_algorithm_that_was_chosen(algorithm: int) -> None:
    credentials = Credentials(Book().key_for, "realm", SECRET)
    chosen = offer(bytes((0, algorithm, 0, 0)))
    account = credentials.check(signed(credentials, "ann", extra=chosen, algorithm=algorithm), CLIENT, 0.0)
    assert account.algorithm == algorithm
    assert account.key == stun.integrity_key("ann", "realm", "pass ann", algorithm)
    other = stun.MD5 if algorithm == stun.SHA256 else stun.SHA256
    wrong = signed(credentials, "ann", extra=chosen, algorithm=other)
    assert refusal(credentials, wrong) == (401, "wrong-integrity")
    assert not credentials.is_signed_by(signed(credentials, "ann", extra=offer(SHA256), algorithm=other), account)


def test_both_algorithms_of_one_user_are_remembered() -> None:
    book = Book()
    credentials = Credentials(book.key_for, "realm", SECRET)
    for _ in range(2):
        credentials.check(signed(credentials, "ann"), CLIENT, 0.0)
        credentials.check(signed(credentials, "ann", extra=offer(), algorithm=stun.SHA256), CLIENT, 0.0)
    assert book.asked == 2


@pytest.mark.parametrize(
    "extra",
    [
        [(stun.PASSWORD_ALGORITHM, SHA256)],
        [(stun.PASSWORD_ALGORITHMS, PASSWORD_ALGORITHMS)],
        offer(MD5, MD5),
        offer(SHA256, PASSWORD_ALGORITHMS[::-1]),
        offer(SHA256, b""),
        offer(b"\0\3\0\0"),
        offer(b"\0\2\0\4abcd"),
        offer(b"\0\2"),
        offer(b""),
    ],
)
def test_offer_that_is_not_ours_is_a_bid_down(extra: Attributes) -> None:
    credentials = Credentials(Book().key_for, "realm", SECRET)
    assert refusal(credentials, signed(credentials, "ann", extra=extra, algorithm=stun.SHA256)) == (400, "bid-down")


def test_offer_under_a_nonce_without_the_bit_is_not_judged_but_stale() -> None:
    credentials = Credentials(Book().key_for, "realm", SECRET)
    for cookie in (b"obMatJos2AAAC", b"4f2b"):
        attributes = [(stun.USERNAME, b"ann"), (stun.REALM, b"realm"), (stun.NONCE, cookie), *offer(b"\0\3\0\0", b"")]
        message = stun.Message(stun.ALLOCATE, stun.REQUEST, bytes(12), attributes)
        assert refusal(credentials, stun.decode(stun.encode(message, b"key"))) == (438, "stale-nonce")


@pytest.mark.parametrize("length", [16, 28])
def test_integrity_that_is_cut_short_is_refused(length: int) -> None:
    credentials = Credentials(Book().key_for, "realm", SECRET)
    whole = signed(credentials, "ann", extra=offer(), algorithm=stun.SHA256).raw
    cut = whole[: len(whole) - 32 + length]
    cut = cut[:2] + (len(cut) - 20).to_bytes(2) + cut[4 : -length - 2] + length.to_bytes(2) + cut[-length:]
    assert refusal(credentials, stun.decode(cut)) == (400, "malformed")


def test_userhash_is_unknown_where_names_cannot_be_looked_up() -> None:
    credentials = Credentials(Book().key_for, "realm", SECRET)
    assert nonce_of(credentials)[:13] == b"obMatJos2AAAB"
    account = credentials.check(signed(credentials, "ann"), CLIENT, 0.0)
    hashed = signed(credentials, "ann", is_hashed=True)
    assert refusal(credentials, hashed) == (401, "unknown-userhash")
    assert not credentials.is_signed_by(hashed, account)


def test_userhash_is_looked_up_and_remembered_once_proven(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credential, "REMEMBERED_ACCOUNTS", 1)
    book = Book()
    credentials = Credentials(book.key_for, "realm", SECRET, book.username_for)
    assert nonce_of(credentials)[:13] == b"obMatJos2AAAD"
    hashed = signed(credentials, "ann", is_hashed=True)
    assert refusal(credentials, hashed) == (401, "unknown-userhash")
    book.hashes[stun.userhash("ann", "realm")] = "ann"
    account = credentials.check(hashed, CLIENT, 0.0)
    assert account.username == "ann"
    assert credentials.is_signed_by(hashed, account)
    book.hashes.clear()
    assert credentials.check(hashed, CLIENT, 0.0) == account
    credentials.check(signed(credentials, "bob"), CLIENT, 0.0)
    assert refusal(credentials, hashed) == (401, "unknown-userhash")
    credentials.forget(lambda account: account.username == "bob")
    assert refusal(credentials, signed(credentials, "bob", is_hashed=True)) == (401, "unknown-userhash")


@pytest.mark.parametrize("userhash", [b"", bytes(31), bytes(33)])
def test_userhash_of_another_length_is_malformed(userhash: bytes) -> None:
    credentials = Credentials(Book().key_for, "realm", SECRET)
    attributes = [(stun.USERHASH, userhash), (stun.REALM, b"realm"), (stun.NONCE, nonce_of(credentials))]
    message = stun.Message(stun.ALLOCATE, stun.REQUEST, bytes(12), attributes)
    assert refusal(credentials, stun.decode(stun.encode(message, b"key"))) == (400, "malformed")
