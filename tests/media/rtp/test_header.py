from aiortc.rtcrtpparameters import RTCRtpHeaderExtensionParameters, RTCRtpSendParameters
from aiortc.rtp import HeaderExtensionsMap, RtpPacket

from media.rtp.header import ABS_SEND_TIME, AUDIO_LEVEL, MID, ExtensionIds, HeaderTemplate, abs_send_time

NTP = 0xE000_0001_8000_0000


def foreign(data: bytes, ids: dict[str, int]) -> RtpPacket:
    extensions = HeaderExtensionsMap()
    parameters = RTCRtpSendParameters()
    parameters.headerExtensions = [RTCRtpHeaderExtensionParameters(id=number, uri=uri) for uri, number in ids.items()]
    extensions.configure(parameters)
    return RtpPacket.parse(data, extensions)


def test_a_foreign_parser_reads_every_field_and_the_negotiated_extensions() -> None:
    ids = {MID: 9, ABS_SEND_TIME: 2, AUDIO_LEVEL: 14}
    template = HeaderTemplate(0xDEADBEEF, 109, "video0", ExtensionIds.of(ids))
    block = template.extensions(NTP, audio_level=42)
    packet = foreign(template.packet(65535, 0xFFFFFFFF, True, (block, b"payload")), ids)
    assert (packet.ssrc, packet.payload_type, packet.marker) == (0xDEADBEEF, 109, 1)
    assert (packet.sequence_number, packet.timestamp, packet.payload) == (65535, 0xFFFFFFFF, b"payload")
    assert packet.extensions.mid == "video0"
    assert packet.extensions.abs_send_time == abs_send_time(NTP)
    assert packet.extensions.audio_level == (False, 42)


def test_the_packets_of_a_unit_are_numbered_over_the_wrap_and_only_the_last_is_marked() -> None:
    ids = {MID: 1, ABS_SEND_TIME: 2}
    template = HeaderTemplate(7, 96, "0", ExtensionIds.of(ids))
    block = template.extensions(NTP)
    heads = template.heads(65534, 9, block, 3)
    assert list(heads) == [
        template.packet(65534, 9, False, (block, b"")),
        template.packet(65535, 9, False, (block, b"")),
        template.packet(0, 9, True, (block, b"")),
    ]
    packet = foreign(heads[0] + b"payload", ids)
    assert (packet.extensions.mid, packet.extensions.abs_send_time) == ("0", abs_send_time(NTP))


def test_what_was_not_negotiated_is_not_written() -> None:
    template = HeaderTemplate(1, 96, "0", ExtensionIds())
    block = template.extensions(NTP, audio_level=42)
    assert block == b""
    data = template.packet(1, 2, False, (block, b"x"))
    assert len(data) == 13
    assert data[0] == 0x80


def test_an_unmeasured_level_is_left_out() -> None:
    ids = {AUDIO_LEVEL: 3}
    template = HeaderTemplate(1, 96, "0", ExtensionIds.of(ids))
    assert template.extensions(NTP) == b""


def test_ids_that_need_the_two_byte_form_are_left_out() -> None:
    assert ExtensionIds.of({MID: 15, ABS_SEND_TIME: 0, AUDIO_LEVEL: 14}) == ExtensionIds(audio_level=14)


def test_a_media_id_that_does_not_fit_one_byte_form_is_left_out() -> None:
    assert HeaderTemplate(1, 96, "m" * 17, ExtensionIds(mid=1)).extensions(NTP) == b""


def test_send_time_is_six_bits_of_seconds_and_18_of_fraction() -> None:
    assert abs_send_time(1 << 32) == 1 << 18
    assert abs_send_time(64 << 32) == 0
