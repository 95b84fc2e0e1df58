from hypothesis import given
from hypothesis import strategies as st

from media.rtp.history import HISTORY_PACKETS, History, Sent
from media.rtp.packetize import PacketizedUnit


def sent(first: int, count: int) -> Sent:
    payloads = tuple(b"%d" % ((first + index) & 0xFFFF) for index in range(count))
    return Sent(first, 0, b"", PacketizedUnit(payloads, 0, False, 0.0, count))


@given(st.integers(0, 65535), st.lists(st.integers(1, 700), min_size=1, max_size=12))
def test_the_last_packets_are_found_by_number_and_no_others(first: int, counts: list[int]) -> None:
    history, number = History(), first
    for count in counts:
        history.keep(sent(number & 0xFFFF, count))
        number += count
    oldest = max(first, number - HISTORY_PACKETS)
    for sequence in (oldest, (oldest + number) // 2, number - 1):
        found = history.find(sequence & 0xFFFF)
        assert found is not None
        assert found[0].unit.payloads[found[1]] == b"%d" % (sequence & 0xFFFF)
    assert history.find(number & 0xFFFF) is None
    assert history.find((number - HISTORY_PACKETS - 1) & 0xFFFF) is None


def test_a_unit_of_more_packets_than_there_is_room_for_keeps_its_end() -> None:
    history = History()
    history.keep(sent(5, HISTORY_PACKETS + 3))
    assert history.find(HISTORY_PACKETS + 7) is not None
    assert history.find(8) is not None
    assert history.find(7) is None  # SRTP refuses what is older than its window, and the viewer would end by that
