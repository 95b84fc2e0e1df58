from media import offers
from media.offers import OfferGate
from media.peer.description import PAYLOAD_LIMIT

USUAL = 4_000


def test_retries_and_ice_restarts_pass() -> None:
    gate = OfferGate(0.0)
    assert all(gate.admits("v1", USUAL, 0.1 * n) for n in range(10))
    assert all(gate.admits("v1", USUAL, 10.0 + 2.0 * n) for n in range(100))


def test_all_viewers_may_offer_at_once() -> None:
    gate = OfferGate(0.0)
    assert all(gate.admits(f"v{n}", USUAL, 0.0) for n in range(256))


def test_who_offers_without_end_is_refused_and_takes_nothing_from_others() -> None:
    gate = OfferGate(0.0)
    passed = sum(gate.admits("v1", PAYLOAD_LIMIT, n / 100) for n in range(1_000))
    assert passed == 2, "of 64 KiB each: one at once, one nine seconds later"
    assert sum(gate.admits(f"v{n}", USUAL, 10.0) for n in range(2, 200)) == 198


def test_many_that_offer_without_end_leave_room_for_small_offers() -> None:
    gate = OfferGate(0.0)
    passed = honest = 0
    for n in range(2_000):
        passed += gate.admits(f"hostile-{n}", 60_000, n / 200)
        honest += gate.admits(f"honest-{n}", USUAL, n / 200) if n % 40 == 0 else 0
    assert passed < (offers.AT_ONCE_IN_ALL + 10 * offers.IN_ALL_S) / 8
    assert honest > 45
    assert len(gate) <= 1_024


def test_an_offer_of_any_size_that_is_taken_passes_once() -> None:
    gate = OfferGate(0.0)
    assert gate.admits("v1", PAYLOAD_LIMIT * 10, 0.0)
    assert not gate.admits("v1", 1, 0.0)
