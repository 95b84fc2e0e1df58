import contextlib
import json

import msgspec
import pytest
from aiortc import RTCPeerConnection, RTCSessionDescription
from hypothesis import given
from hypothesis import strategies as st

from media.peer import description
from media.peer.description import Candidate, Description, DescriptionError, MediaPlan

LINE = "candidate:842163049 1 udp 1677729535 203.0.113.7 46154 typ srflx raddr 192.0.2.9 rport 40000 generation 0"


async def offer_of(**directions: str) -> str:
    connection = RTCPeerConnection()
    for kind, direction in directions.items():
        connection.addTransceiver(kind, direction)
    text: str = (await connection.createOffer()).sdp
    await connection.close()
    return text


DEEP = b'{"x":' + b"[" * 10_000
"""Deeper than a decoder goes, in a key that nobody asked for."""


def test_a_description_crosses_the_wire_as_the_javascript_sdk_writes_it() -> None:
    payload = json.dumps({"sdp": "v=0\r\n", "type": "offer"}).encode()
    offer = description.read_description(payload, "offer")
    assert offer == Description("offer", "v=0\r\n")
    assert json.loads(description.write_description(offer)) == {"type": "offer", "sdp": "v=0\r\n"}


@pytest.mark.parametrize(
    "payload",
    [b"", b"null", b"[]", b'{"type":"offer"}', b'{"type":"answer","sdp":""}', b'{"type":1,"sdp":2}', b"\xff", DEEP],
)
def test_what_is_no_offer_is_refused(payload: bytes) -> None:
    with pytest.raises(DescriptionError):
        description.read_description(payload, "offer")


def test_an_offer_over_the_bound_is_refused() -> None:
    payload = msgspec.json.encode(Description("offer", "x" * description.PAYLOAD_LIMIT))
    with pytest.raises(DescriptionError, match="longer than"):
        description.read_description(payload, "offer")


@given(st.binary(max_size=200))
def test_any_bytes_are_a_description_or_refused(payload: bytes) -> None:
    with pytest.raises(DescriptionError):
        description.read_description(payload, "offer")


def test_a_candidate_of_a_browser_is_read_whole() -> None:
    payload = {"candidate": LINE, "sdpMid": "video", "sdpMLineIndex": 1, "usernameFragment": "abcd"}
    read = description.read_candidate(json.dumps(payload).encode())
    assert read.ufrag == "abcd"
    candidate = read.candidate
    assert candidate is not None
    assert (candidate.ip, candidate.port, candidate.type, candidate.relatedPort) == (
        "203.0.113.7",
        46154,
        "srflx",
        40000,
    )
    assert (candidate.sdpMid, candidate.sdpMLineIndex) == ("video", 1)


def test_a_candidate_without_its_section_belongs_to_the_first() -> None:
    candidate = description.read_candidate(json.dumps({"candidate": LINE}).encode()).candidate
    assert candidate is not None
    assert candidate.sdpMLineIndex == 0


@pytest.mark.parametrize("payload", [b'{"candidate":""}', b"{}", b'{"candidate":"","sdpMid":"0"}'])
def test_an_empty_candidate_is_the_end_of_candidates(payload: bytes) -> None:
    assert description.read_candidate(payload) == Candidate(None, None)


def test_a_candidate_that_is_nested_too_deep_is_refused() -> None:
    with pytest.raises(DescriptionError):
        description.read_candidate(DEEP)


@given(
    st.one_of(st.binary(max_size=100), st.text(max_size=80).map(lambda text: json.dumps({"candidate": text}).encode()))
)
def test_any_bytes_are_a_candidate_or_refused(payload: bytes) -> None:
    with contextlib.suppress(DescriptionError):
        description.read_candidate(payload)


def test_a_candidate_of_ours_can_be_read_again() -> None:
    candidate = description.read_candidate(json.dumps({"candidate": LINE}).encode()).candidate
    assert candidate is not None
    payload = json.loads(description.write_candidate(candidate, "0", 0, "ufrg"))
    assert set(payload) == {"candidate", "sdpMid", "sdpMLineIndex", "usernameFragment"}
    assert payload["candidate"].startswith("candidate:842163049 1 udp 1677729535 203.0.113.7 46154 typ srflx")


async def test_only_sha256_fingerprints_stay() -> None:
    offer = await offer_of(video="recvonly", audio="recvonly")
    assert offer.count("a=fingerprint:") == 6
    kept = description.sha256_only(offer)
    assert kept.count("a=fingerprint:sha-256 ") == kept.count("a=fingerprint:") == 2
    assert kept.count("\r\n") == offer.count("\r\n") - 4


def test_the_end_of_candidates_can_be_left_out() -> None:
    assert description.without_end_of_candidates("v=0\r\na=end-of-candidates\r\na=mid:0\r\n") == "v=0\r\na=mid:0\r\n"


def test_candidates_are_taken_out_with_their_section_and_their_end() -> None:
    sdp = f"v=0\r\nm=audio 9\r\na={LINE}\r\na=candidate:broken\r\na=mid:0\r\nm=video 9\r\na={LINE}\r\n"
    rest, candidates = description.split_candidates(sdp + "a=end-of-candidates\r\na=mid:1\r\n")
    assert rest == "v=0\r\nm=audio 9\r\na=mid:0\r\nm=video 9\r\na=mid:1\r\n"
    assert [each.candidate and each.candidate.sdpMLineIndex for each in candidates] == [0, 1, None]
    assert description.split_candidates(rest) == (rest, [])


MANY_CODECS = """\
m=video 9 UDP/TLS/RTP/SAVPF 102 103 104 105 39 98 99 96 97 118\r
a=mid:0\r
a=rtpmap:102 H264/90000\r
a=rtcp-fb:102 nack pli\r
a=fmtp:102 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f\r
a=rtpmap:103 rtx/90000\r
a=fmtp:103 apt=102\r
a=rtpmap:104 H264/90000\r
a=fmtp:104 level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=42001f\r
a=rtpmap:105 rtx/90000\r
a=fmtp:105 apt=104\r
a=rtpmap:39 H264/90000\r
a=fmtp:39 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=4d001f\r
a=rtpmap:98 VP9/90000\r
a=rtcp-fb:98 nack pli\r
a=rtpmap:99 rtx/90000\r
a=fmtp:99 apt=98\r
a=rtpmap:96 VP8/90000\r
a=rtpmap:97 rtx/90000\r
a=fmtp:97 apt=96\r
a=rtpmap:118 red/90000\r
a=recvonly\r
m=audio 9 UDP/TLS/RTP/SAVPF 111 63 0\r
a=rtpmap:111 opus/48000/2\r
a=rtpmap:63 red/48000/2\r
a=rtpmap:0 PCMU/8000\r
m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r
a=sctp-port:5000\r
"""


def test_only_what_we_can_answer_is_left_of_an_offer_and_its_repair() -> None:
    begin = "v=0\r\ns=-\r\n"
    left = description.without_other_codecs(begin + MANY_CODECS)
    assert left.startswith(begin)
    video, audio, data = left.removeprefix(begin).split("m=")[1:]
    assert video.splitlines()[0] == "video 9 UDP/TLS/RTP/SAVPF 102 103 96 97"
    assert {line.partition(":")[2].split()[0] for line in video.splitlines() if ":1" in line or ":9" in line} == {
        "102",
        "103",
        "96",
        "97",
    }
    assert "a=rtcp-fb:102 nack pli" in video
    assert "a=mid:0" in video
    assert audio.splitlines() == ["audio 9 UDP/TLS/RTP/SAVPF 111", "a=rtpmap:111 opus/48000/2"]
    assert data == MANY_CODECS.split("m=")[-1]


async def test_an_answer_is_the_same_with_and_without_what_it_cannot_take() -> None:
    sections = (await offer_of(video="recvonly")).split("m=")
    formats, rest = MANY_CODECS.split("m=")[1].split("a=mid:0\r\n")
    attributes = "".join(
        line for line in sections[1].splitlines(True)[1:] if "rtpmap" not in line and "fmtp" not in line
    )
    whole = f"{sections[0]}m={formats}{attributes}{rest}"
    answers = []
    for offered in (whole, description.without_other_codecs(whole)):
        connection = RTCPeerConnection()
        connection.addTransceiver("video", "sendonly")
        await connection.setRemoteDescription(RTCSessionDescription(offered, "offer"))
        answer = (await connection.createAnswer()).sdp
        answers.append(
            [line for line in answer.splitlines() if line.startswith(("m=", "a=rtpmap", "a=fmtp", "a=rtcp-fb"))]
        )
        await connection.close()
    assert answers[0] == answers[1]
    assert len(answers[0]) > 5


@pytest.mark.parametrize(
    "section",
    [
        "m=video 9 X 98\r\na=rtpmap:98 VP9/90000\r\n",
        "m=video\r\n",
        "m=audio 9 X 0\r\n",
        "m=video 9 X 1\na=rtpmap:2 VP8/90000\n",
    ],
)
def test_a_section_without_a_codec_of_ours_stays_whole(section: str) -> None:
    assert description.without_other_codecs("v=0\r\n" + section) == "v=0\r\n" + section


@given(st.text(st.sampled_from("m=video audio 9 a=rtpmap:96VP8/90000fmtp apt=\r\n"), max_size=200))
def test_any_text_can_be_looked_through_for_codecs(text: str) -> None:
    assert len(description.without_other_codecs(text)) <= len(text) + 2 * text.count("m=")


def test_the_user_name_fragment_tells_a_restart() -> None:
    assert description.ufrag("v=0\r\na=ice-ufrag:Ab+/\r\na=ice-ufrag:other\r\n") == "Ab+/"
    assert description.ufrag("v=0\r\n") is None


def test_candidates_are_told_in_words() -> None:
    assert description.candidate_addresses(f"v=0\r\na={LINE}\r\n") == ["srflx 203.0.113.7:46154"]


async def test_we_send_into_the_sections_that_want_it() -> None:
    offer = await offer_of(audio="recvonly", video="sendrecv")
    assert description.plan(offer, has_audio=True) == (MediaPlan("audio", True), MediaPlan("video", True))
    assert description.plan(offer, has_audio=False) == (MediaPlan("audio", False), MediaPlan("video", True))


@pytest.mark.parametrize(
    ("offered", "has_audio", "hears", "ours"),
    [
        ("sendrecv", True, True, "sendrecv"),
        ("sendrecv", False, True, "recvonly"),
        ("sendonly", True, True, "recvonly"),
        ("recvonly", True, True, "sendonly"),
        ("sendrecv", True, False, "sendonly"),
        ("sendonly", True, False, "inactive"),
    ],
)
async def test_the_sound_of_the_first_section_is_heard(offered: str, has_audio: bool, hears: bool, ours: str) -> None:
    offer = await offer_of(audio=offered, video="sendrecv")
    sound, picture = description.plan(offer, has_audio=has_audio, hears=hears)
    assert (sound.direction, picture.direction) == (ours, "sendonly")
    section = offer[offer.index("m=audio") : offer.index("m=video")]
    assert not description.plan(offer + section, has_audio=True, hears=True)[2].receives


async def test_we_send_nothing_where_the_viewer_wants_none() -> None:
    offer = await offer_of(audio="sendonly", video="inactive")
    assert description.plan(offer, has_audio=True) == (MediaPlan("audio", False), MediaPlan("video", False))


async def test_an_offer_without_a_video_codec_of_ours_is_refused_by_name() -> None:
    offer = (await offer_of(video="recvonly")).replace("H264", "H265").replace("VP8", "AV1")
    with pytest.raises(DescriptionError, match="AV1"):
        description.plan(offer, has_audio=True)


async def test_an_offer_that_wants_a_transport_for_each_of_many_sections_is_refused() -> None:
    offer = (await offer_of(video="recvonly", audio="recvonly")).replace("a=group:BUNDLE 0 1\r\n", "")
    section = offer[offer.index("m=audio") :]
    assert len(description.plan(offer + section, has_audio=True)) == 3
    with pytest.raises(DescriptionError, match="wants 4 transports, the limit is 3: bundle them"):
        description.plan(offer + section * 2, has_audio=True)


async def test_an_offer_with_very_many_sections_is_refused() -> None:
    offer = await offer_of(video="recvonly")
    section = offer[offer.index("m=") :]
    assert len(description.plan(offer + section * 15, has_audio=True)) == 16
    with pytest.raises(DescriptionError, match="17 media sections, the limit is 16"):
        description.plan(offer + section * 16, has_audio=True)


@pytest.mark.parametrize("sdp", ["", "nonsense", "v=0\r\nm=video", "m=video 9 UDP/TLS/RTP/SAVPF x\r\n"])
def test_what_is_no_session_description_is_refused(sdp: str) -> None:
    with pytest.raises(DescriptionError):
        description.plan(sdp, has_audio=True)


async def test_the_codec_of_an_answer_is_its_first() -> None:
    assert description.sent_codec(await offer_of(audio="recvonly", video="recvonly")) == "VP8"
    assert description.sent_codec(await offer_of(audio="recvonly")) is None


async def test_browsers_are_told_the_rate_to_begin_with_for_each_video_codec_of_ours() -> None:
    plain = await offer_of(video="recvonly", audio="recvonly")
    told = description.with_start_bitrate(plain, 2_500_000)
    added = [line for line in told.splitlines() if "x-google-start-bitrate=2500" in line]
    assert len(added) == plain.count("H264/90000") + plain.count("VP8/90000")
    assert all(line.startswith("a=fmtp:") for line in added)
    assert (
        told.replace(";x-google-start-bitrate=2500", "").replace("a=fmtp:97 x-google-start-bitrate=2500\r\n", "")
        == plain
    )


SECRET = "192.0.2.77" * 6_000


@pytest.mark.parametrize(
    "error",
    [ValueError(f"no number: '{SECRET}'"), KeyError(SECRET), ValueError("é" + SECRET), ValueError("x" * 60_000)],
)
def test_the_reason_of_an_error_is_short_and_quotes_nothing(error: Exception) -> None:
    told = description.reason(error)
    assert len(told) <= 80
    assert told.startswith(type(error).__name__)
    assert "192" not in told


def test_the_reason_of_an_error_says_what_is_wrong() -> None:
    error = ValueError("ICE username fragment or password is missing")
    assert description.reason(error) == "ValueError: ICE username fragment or password is missing"


@pytest.mark.parametrize("line", [f"candidate:1 1 udp {SECRET} 203.0.113.7 9 typ host", "candidate:x"])
def test_a_refused_candidate_is_not_quoted(line: str) -> None:
    with pytest.raises(DescriptionError) as refused:
        description.read_candidate(json.dumps({"candidate": line}).encode())
    assert len(str(refused.value)) < 120
    assert "192" not in str(refused.value)


async def test_names_of_codecs_that_nobody_knows_are_not_quoted() -> None:
    offer = (await offer_of(video="recvonly")).replace("H264/", "VP9/").replace("VP8/", f"{SECRET}/")
    with pytest.raises(DescriptionError, match=r"\(H264, VP8\), only VP9$"):
        description.plan(offer, has_audio=True)
