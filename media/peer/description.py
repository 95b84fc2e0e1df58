"""Session descriptions and candidates as they cross the wire: JSON of the JavaScript SDK, SDP text. No I/O.

RTCSessionDescriptionInit and RTCIceCandidateInit of W3C WebRTC; SDP of RFC 8829; fingerprints of RFC 8122.
"""

import contextlib
import re
from typing import Literal

import msgspec
from aiortc import RTCIceCandidate
from aiortc.sdp import SessionDescription, candidate_from_sdp, candidate_to_sdp

PAYLOAD_LIMIT = 64 * 1024
SECTIONS_LIMIT = 16
TRANSPORTS_LIMIT = 3
"""Without bundling sound, picture and data each cost sockets and an allocation of their own."""
VIDEO_CODECS = ("H264", "VP8")
_OTHER_CODECS = frozenset(("AV1", "H265", "VP9"))
_UFRAG = re.compile(r"^a=ice-ufrag:(\S+)\s*$", re.MULTILINE)
_VIDEO_CODEC = re.compile(r"^a=rtpmap:(\d+) (?:H264|VP8)/90000", re.MULTILINE)
_PARAMETERS = re.compile(r"^a=fmtp:(\d+) ", re.MULTILINE)
_CANDIDATE_TYPE = re.compile(r"^a=candidate:.* (\S+) (\d+) typ (\w+)", re.MULTILINE)

_SECTION = re.compile(r"^(?=m=)", re.MULTILINE)
_OURS = {"m=video": re.compile("H264/90000|VP8/90000"), "m=audio": re.compile("opus/48000/2")}
_CODEC = re.compile(r"^a=rtpmap:(\d+) (\S+)", re.MULTILINE)
_FORM = re.compile(r"^a=fmtp:(\d+) (.*)", re.MULTILINE)
_REPAIR = re.compile(r"^a=fmtp:(\d+) apt=(\d+)", re.MULTILINE)
_ABOUT = re.compile(r"a=(?:rtpmap|fmtp|rtcp-fb):(\d+) ")


class DescriptionError(Exception):
    """The other side sent what is no session description or candidate; the text says what is wrong with it."""


class Description(msgspec.Struct, frozen=True):
    """An offer or answer; `type` is `offer` or `answer`."""

    type: str
    sdp: str


class _CandidateInit(msgspec.Struct, rename="camel", omit_defaults=True):
    candidate: str = ""
    sdp_mid: str | None = None
    sdp_m_line_index: int | None = msgspec.field(default=None, name="sdpMLineIndex")
    username_fragment: str | None = None


class Candidate(msgspec.Struct, frozen=True):
    """A remote candidate; `candidate` is None for end-of-candidates, `ufrag` is None where it was not given."""

    candidate: RTCIceCandidate | None
    ufrag: str | None


class MediaPlan(msgspec.Struct, frozen=True):
    """One audio or video section of an offer, and whether we send into it and receive from it."""

    kind: str
    sends: bool
    receives: bool = False

    @property
    def direction(self) -> Literal["sendrecv", "sendonly", "recvonly", "inactive"]:
        """Ours, for the answer (RFC 8829, 5.3.1)."""
        if self.sends:
            return "sendrecv" if self.receives else "sendonly"
        return "recvonly" if self.receives else "inactive"


_description_decoder = msgspec.json.Decoder(Description)
_candidate_decoder = msgspec.json.Decoder(_CandidateInit)
_QUOTE = re.compile(r"['\":`]")
_REASON_LIMIT = 80


def reason(error: BaseException) -> str:
    """Say of which kind an error of a parser is, and what it says before it quotes the other side; short, for logs."""
    text = _QUOTE.split(str(error), maxsplit=1)[0].strip()
    words = f"{type(error).__name__}: {text}" if text.isascii() and text.isprintable() else type(error).__name__
    return words.removesuffix(": ")[:_REASON_LIMIT]


def read_description(payload: bytes, expected: str) -> Description:
    """Decode `{"type": expected, "sdp": ...}` of at most 64 KiB. Raises: DescriptionError."""
    if len(payload) > PAYLOAD_LIMIT:
        raise DescriptionError(f"the {expected} is longer than {PAYLOAD_LIMIT} bytes")
    try:
        description = _description_decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DescriptionError(f"the {expected} is not JSON of type and sdp: {reason(error)}") from error
    if description.type != expected:
        raise DescriptionError(f"expected type {expected}, got {description.type!r:.40}")
    return description


def write_description(description: Description) -> bytes:
    """Encode as `JSON.stringify(RTCSessionDescription)` does."""
    return msgspec.json.encode(description)


def read_candidate(payload: bytes) -> Candidate:
    """Decode RTCIceCandidateInit; an empty candidate line is end-of-candidates. Raises: DescriptionError."""
    if len(payload) > PAYLOAD_LIMIT:
        raise DescriptionError("the candidate is too long")
    try:
        init = _candidate_decoder.decode(payload)
        line = init.candidate.strip().removeprefix("a=").removeprefix("candidate:")
        if not line:
            return Candidate(None, init.username_fragment)
        candidate = candidate_from_sdp(line)
    except (ValueError, RecursionError, IndexError, AssertionError) as error:
        raise DescriptionError(f"the candidate cannot be read: {reason(error)}") from error
    candidate.sdpMid = init.sdp_mid
    candidate.sdpMLineIndex = init.sdp_m_line_index
    if candidate.sdpMid is None and candidate.sdpMLineIndex is None:
        candidate.sdpMLineIndex = 0
    return Candidate(candidate, init.username_fragment)


def write_candidate(candidate: RTCIceCandidate, mid: str, index: int, ufrag: str) -> bytes:
    """Encode a candidate of ours as RTCIceCandidateInit."""
    return msgspec.json.encode(_CandidateInit("candidate:" + candidate_to_sdp(candidate), mid, index, ufrag))


def _filter(sdp: str, is_wanted: "re.Pattern[str]") -> str:
    return "".join(line for line in sdp.splitlines(keepends=True) if not is_wanted.match(line))


_OTHER_FINGERPRINT = re.compile(r"a=fingerprint:(?!sha-256 )", re.IGNORECASE)
_END_OF_CANDIDATES = re.compile(r"a=end-of-candidates")


def sha256_only(sdp: str) -> str:
    """Leave out every fingerprint but sha-256: the KVS C SDK keeps the last one and knows no other."""
    return _filter(sdp, _OTHER_FINGERPRINT)


def without_end_of_candidates(sdp: str) -> str:
    """Leave out end-of-candidates: more may still follow."""
    return _filter(sdp, _END_OF_CANDIDATES)


def with_start_bitrate(sdp: str, bitrate_bps: int) -> str:
    """Tell a browser that sends H.264 or VP8 the rate to begin with: else it begins small, at 300 kbit/s.

    The parameter is Google's own; others pass over it.
    """
    word = f"x-google-start-bitrate={bitrate_bps // 1000}"
    numbers = set(_VIDEO_CODEC.findall(sdp))
    with_parameters = set(_PARAMETERS.findall(sdp))
    lines = []
    for line in sdp.splitlines():
        codec, parameters = _VIDEO_CODEC.match(line), _PARAMETERS.match(line)
        lines.append(f"{line};{word}" if parameters and parameters[1] in numbers else line)
        if codec and codec[1] not in with_parameters:
            lines.append(f"a=fmtp:{codec[1]} {word}")
    return "".join(f"{line}\r\n" for line in lines)


def split_candidates(sdp: str) -> tuple[str, list[Candidate]]:
    """Take the candidates out of a description, with their end at the end where it is told; broken ones are lost.

    Handled like those that come by trickle they are bounded, and no name among them that must be looked up holds
    the description back.
    """
    rest: list[str] = []
    found: list[Candidate] = []
    has_end = False
    index = -1
    for line in sdp.splitlines(keepends=True):
        if line.startswith("a=candidate:"):
            with contextlib.suppress(ValueError, IndexError, AssertionError):
                candidate = candidate_from_sdp(line.strip().removeprefix("a=candidate:"))
                candidate.sdpMLineIndex = max(index, 0)
                found.append(Candidate(candidate, None))
        elif _END_OF_CANDIDATES.match(line):
            has_end = True
        else:
            index += line.startswith("m=")
            rest.append(line)
    return "".join(rest), found + [Candidate(None, None)] * has_end


def without_other_codecs(sdp: str) -> str:
    """Leave out what no answer of ours can take of each section: a browser offers 20 forms of codecs, we know three.

    Parsing and comparing them costs more than all the rest of an answer. A section without a codec of ours stays whole.
    """
    return "".join(map(_without_others, _SECTION.split(sdp)))


def _without_others(section: str) -> str:
    lines = section.splitlines(keepends=True)
    words = lines[0].split() if lines else []
    is_ours = _OURS.get(words[0]) if words else None
    if is_ours is None:
        return section
    forms = dict(_FORM.findall(section))
    ours = {number for number, codec in _CODEC.findall(section) if is_ours.fullmatch(codec)}.intersection(words[3:])
    ours = {number for number in ours if _is_ours_by_form(forms.get(number, ""))}
    if not ours:
        return section
    ours |= {number for number, repaired in _REPAIR.findall(section) if repaired in ours}
    kept = (line for line in lines[1:] if (about := _ABOUT.match(line)) is None or about[1] in ours)
    return " ".join((*words[:3], *(word for word in words[3:] if word in ours))) + "\r\n" + "".join(kept)


def _is_ours_by_form(form: str) -> bool:
    """Whether the parameters are not those of a form of H.264 that we do not send (RFC 6184, 8.1)."""
    if "profile-level-id=" not in form:
        return True
    return "packetization-mode=1" in form and "profile-level-id=42" in form


def ufrag(sdp: str) -> str | None:
    """The first ICE user name fragment: a changed one in an offer is an ICE restart (RFC 8839, 4.4.1.1)."""
    match = _UFRAG.search(sdp)
    return match[1] if match else None


def candidate_addresses(sdp: str) -> list[str]:
    """Candidates of a description as `host 192.0.2.1:5000`, for the sentence about a failed connection."""
    return [f"{kind} {address}:{port}" for address, port, kind in _CANDIDATE_TYPE.findall(sdp)]


def plan(sdp: str, *, has_audio: bool, hears: bool = False) -> tuple[MediaPlan, ...]:
    """What to do with each audio and video section of an offer: we send into the first of each kind we can fill.

    With `hears` we take the sound of the first section that offers Opus.
    Raises: DescriptionError when the text is no SDP, has too many sections or offers no video codec of ours.
    """
    try:
        offer = SessionDescription.parse(sdp)
    except Exception as error:  # aiortc's parser raises whatever broken text makes it raise
        raise DescriptionError(f"the offer is not SDP: {type(error).__name__}") from error
    sections = offer.media
    if not sections:
        raise DescriptionError("the offer has no media section")
    if len(sections) > SECTIONS_LIMIT:
        raise DescriptionError(f"the offer has {len(sections)} media sections, the limit is {SECTIONS_LIMIT}")
    transports = _transports(offer)
    if transports > TRANSPORTS_LIMIT:
        raise DescriptionError(f"the offer wants {transports} transports, the limit is {TRANSPORTS_LIMIT}: bundle them")
    found: list[MediaPlan] = []
    filled: set[str] = set()
    for section in sections:
        if section.kind not in ("audio", "video"):
            continue
        names = {codec.name for codec in section.rtp.codecs}
        wanted = section.direction in ("recvonly", "sendrecv")
        can = bool(names & set(VIDEO_CODECS)) if section.kind == "video" else has_audio and "opus" in names
        sends = wanted and can and section.kind not in filled
        if section.kind == "video" and wanted and not can:
            others = ", ".join(sorted(names & _OTHER_CODECS))
            raise DescriptionError(f"the offer has no video codec of ours (H264, VP8), only {others or 'unknown ones'}")
        if sends:
            filled.add(section.kind)
        offers_sound = section.kind == "audio" and section.direction in ("sendonly", "sendrecv") and "opus" in names
        found.append(MediaPlan(section.kind, sends, hears and offers_sound))
        hears = hears and not offers_sound
    return tuple(found)


def _transports(offer: SessionDescription) -> int:
    """How many the sections need: one for each group of BUNDLE, and one for each section that is in none (RFC 9143)."""
    groups = [group for group in offer.group if group.semantic == "BUNDLE"]
    bundled = {str(mid) for group in groups for mid in group.items}
    return len(groups) + sum(str(section.rtp.muxId) not in bundled for section in offer.media)


def sent_codec(sdp: str) -> str | None:
    """The first video codec of an answer: what its sender sends."""
    for section in SessionDescription.parse(sdp).media:
        if section.kind == "video" and section.rtp.codecs:
            return section.rtp.codecs[0].name
    return None
