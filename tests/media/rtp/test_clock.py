from media.rtp.clock import ntp_now


def test_ntp_counts_from_1900() -> None:
    assert 0xE0000000 < ntp_now() >> 32 < 0x1_0000_0000
