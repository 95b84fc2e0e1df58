from media.rtp.packet import Packet
from media.rtp.reception import LEAST_BPS, MOST_BPS, Reception, WantedRate


def packet(sequence: int, timestamp: int = 0) -> Packet:
    return Packet(96, False, sequence, timestamp, 7, b"x")


def test_the_wanted_rate_is_the_most_at_once_and_goes_down_on_loss_only() -> None:
    rate = WantedRate()
    assert rate.bitrate_bps == MOST_BPS
    rate.observe(100, 5)
    rate.observe(5, 5)  # too few to tell
    assert rate.bitrate_bps == MOST_BPS
    rate.observe(100, 11)
    assert rate.bitrate_bps == int(MOST_BPS * 0.85)
    for _ in range(40):
        rate.observe(100, 50)
    assert rate.bitrate_bps == LEAST_BPS
    for _ in range(60):
        rate.observe(100, 0)
    assert rate.bitrate_bps == MOST_BPS


def test_loss_is_of_the_time_since_the_last_report() -> None:
    reception = Reception(packet(10), 90000, WantedRate())
    for sequence in (10, 11, 13, 12, 17):
        reception.arrived(packet(sequence), 0.0)
    first = reception.block(1.0)
    assert (first.fraction_lost, first.packets_lost, first.highest) == (int(256 * 3 / 8), 3, 17)
    for sequence in range(18, 24):
        reception.arrived(packet(sequence), 0.0)
    assert (reception.block(2.0).fraction_lost, reception.packets_lost) == (0, 3)
    assert reception.block(3.0).fraction_lost == 0  # nothing came


def test_jitter_is_that_of_rfc_3550() -> None:
    reception = Reception(packet(0), 1000, WantedRate())
    reception.arrived(packet(0, 0), 0.0)
    reception.arrived(packet(1, 0), 0.9)  # the same picture
    reception.arrived(packet(2, 100), 0.1)
    assert reception.jitter == 0
    reception.arrived(packet(3, 200), 0.232)
    assert round(reception.jitter, 6) == 2
    assert round(reception.jitter_s, 6) == 0.002


def test_the_last_sender_report_and_the_time_since_it_are_told() -> None:
    reception = Reception(packet(0), 90000, WantedRate())
    assert (reception.block(1.0).last_report, reception.block(1.0).delay) == (0, 0)
    reception.reported(0x11112222_33334444, 2.0)
    block = reception.block(2.5)
    assert (block.last_report, block.delay) == (0x22223333, 32768)
