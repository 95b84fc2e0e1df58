"""Our sender and receiver in the place of aiortc's: the private names of aiortc and aioice that they and stats need.

aiortc keeps SDP, ICE and DTLS. `RTCRtpSender.send` and `RTCRtpReceiver.receive` are called once, after DTLS connects,
with what was negotiated: there our streams start instead of aiortc's encoder loop and decoder thread. A test holds
every private name used here to the library.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec
from aioice import Connection
from aiortc import (
    RTCBundlePolicy,
    RTCConfiguration,
    RTCDtlsTransport,
    RTCIceServer,
    RTCPeerConnection,
    RTCRtpTransceiver,
    rtcrtpreceiver,
)
from aiortc.codecs import is_rtx
from aiortc.rtcconfiguration import RTCIceTransportPolicy
from aiortc.rtcrtpparameters import RTCRtpReceiveParameters, RTCRtpSendParameters

from channels.ice import IceServer
from media.peer.identity import in_place_of
from media.rtp.receive import Incoming, IncomingCodec


class Negotiated(msgspec.Struct, frozen=True):
    """What a stream may send: the first codec both sides have, its RTX, and the header extensions by URI.

    `codec` is the RTP name (`H264`, `VP8`, `opus`), `rtx` is (payload type, ssrc) or None.
    """

    kind: str
    codec: str
    payload_type: int
    clock_rate: int
    ssrc: int
    rtx: tuple[int, int] | None
    cname: str
    mid: str
    extensions: dict[str, int]


def configuration(servers: Sequence[IceServer], *, is_relay_only: bool, is_offering: bool = False) -> RTCConfiguration:
    """What aiortc gathers by itself: with no servers host candidates alone, and never its default, a foreign server.

    Who offers puts all media on one transport at once; who answers must wait for what the offer bundles.
    """
    return RTCConfiguration(
        iceServers=[
            RTCIceServer(urls=list(server.uris), username=server.username, credential=server.password)
            for server in servers
        ],
        iceTransportPolicy=RTCIceTransportPolicy.RELAY if is_relay_only else RTCIceTransportPolicy.ALL,
        bundlePolicy=RTCBundlePolicy.MAX_BUNDLE if is_offering else RTCBundlePolicy.BALANCED,
    )


def add_transceiver(peer: RTCPeerConnection, kind: str, direction: str) -> RTCRtpTransceiver:
    """A transceiver whose receiver estimates no bandwidth: 1,000 objects that nobody would ask."""
    with in_place_of(rtcrtpreceiver, "RemoteBitrateEstimator", _nothing):
        return peer.addTransceiver(kind, direction)


def _nothing() -> None:
    return


def replace_sender(transceiver: RTCRtpTransceiver, start: Callable[[Negotiated, RTCDtlsTransport], None]) -> None:
    """Call `start` once when DTLS is up and the transceiver may send; aiortc's own sender never runs."""
    sender = transceiver.sender
    has_started = False

    async def send(parameters: RTCRtpSendParameters) -> None:
        nonlocal has_started
        if not has_started:
            has_started = True
            start(_negotiated(transceiver, parameters), sender.transport)

    sender.send = send  # type: ignore[method-assign]


def accept_extension(peer: RTCPeerConnection, transceiver: RTCRtpTransceiver, uri: str) -> None:
    """Answer with a header extension that the offer has for this section and aiortc does not know."""
    index = transceiver._get_mline_index()
    remote = peer._RTCPeerConnection__remoteDescription()  # type: ignore[attr-defined]
    if index is not None and remote is not None:
        offered = remote.media[index].rtp.headerExtensions
        transceiver._headerExtensions += [extension for extension in offered if extension.uri == uri]


def _negotiated(transceiver: RTCRtpTransceiver, parameters: RTCRtpSendParameters) -> Negotiated:
    codec = parameters.codecs[0]
    if codec.payloadType is None:
        raise ValueError("the negotiated codec has no payload type")
    repair = (c.payloadType for c in parameters.codecs if is_rtx(c) and c.parameters.get("apt") == codec.payloadType)
    rtx = next(repair, None)
    return Negotiated(
        kind=transceiver.kind,
        codec=codec.name,
        payload_type=codec.payloadType,
        clock_rate=codec.clockRate,
        ssrc=transceiver.sender._ssrc,
        rtx=(rtx, transceiver.sender._rtx_ssrc) if rtx is not None else None,
        cname=parameters.rtcp.cname or "",
        mid=parameters.muxId,
        extensions={extension.uri: extension.id for extension in parameters.headerExtensions},
    )


def replace_receiver(transceiver: RTCRtpTransceiver, start: Callable[[Incoming, RTCDtlsTransport], None]) -> None:
    """Call `start` once when DTLS is up and the transceiver may receive; aiortc's own receiver never runs."""
    receiver = transceiver.receiver
    has_started = False

    async def receive(parameters: RTCRtpReceiveParameters) -> None:
        nonlocal has_started
        if not has_started:
            has_started = True
            start(_incoming(transceiver, parameters), receiver.transport)

    receiver.receive = receive  # type: ignore[method-assign]


def _incoming(transceiver: RTCRtpTransceiver, parameters: RTCRtpReceiveParameters) -> Incoming:
    codecs = {codec.payloadType: codec for codec in parameters.codecs if codec.payloadType is not None}
    repairs = {number: codec.parameters.get("apt") for number, codec in codecs.items() if is_rtx(codec)}
    return Incoming(
        kind=transceiver.kind,
        ssrc=transceiver.sender._ssrc,
        cname=f"{transceiver.sender._ssrc:08x}",
        codecs={
            number: IncomingCodec(codec.name, codec.clockRate)
            for number, codec in codecs.items()
            if number not in repairs
        },
        repairs={number: apt for number, apt in repairs.items() if isinstance(apt, int) and apt in codecs},
    )


def first_codec(transceiver: RTCRtpTransceiver) -> str | None:
    """RTP name of the codec that a negotiated transceiver will send, before DTLS is up."""
    return transceiver._codecs[0].name if transceiver._codecs else None


def hear_rtcp(dtls: RTCDtlsTransport, receive: Callable[[bytes], None]) -> None:
    """Give every decrypted RTCP packet of the transport to `receive` instead of aiortc's parser."""

    async def handle(data: bytes) -> None:
        receive(data)

    dtls._handle_rtcp_data = handle  # type: ignore[method-assign]


class _Hearers:
    """In the place of aiortc's RTP parser and router: each packet goes to who takes its payload type."""

    def __init__(self) -> None:
        self.by_payload_type: dict[int, Callable[[bytes], None]] = {}

    async def __call__(self, data: bytes, arrival_time_ms: int) -> None:
        receive = self.by_payload_type.get(data[1] & 0x7F)
        if receive is not None:
            receive(data)


def hear_rtp(dtls: RTCDtlsTransport, payload_types: Iterable[int], receive: Callable[[bytes], None]) -> None:
    """Give every decrypted RTP packet of these payload types to `receive`, which must not raise; others are dropped.

    Several streams of one transport each call this; within a bundle no payload type is of two of them.
    """
    handler: Any = dtls._handle_rtp_data
    if not isinstance(handler, _Hearers):
        handler = _Hearers()
        dtls._handle_rtp_data = handler  # type: ignore[method-assign]
    handler.by_payload_type.update(dict.fromkeys(payload_types, receive))


def ice_connections(peer: RTCPeerConnection) -> list[tuple[Connection, str, int]]:
    """Each ICE connection once, with the mid and index of the first media section on it."""
    found: dict[int, tuple[Connection, str, int]] = {}
    for transceiver in peer.getTransceivers():
        connection = transceiver.receiver.transport.transport._connection
        found.setdefault(id(connection), (connection, transceiver.mid or "0", transceiver._get_mline_index() or 0))
    if peer.sctp is not None:
        connection = peer.sctp.transport.transport._connection
        found.setdefault(id(connection), (connection, peer.sctp.mid or "0", len(found)))
    return list(found.values())


def is_one_machine(peer: RTCPeerConnection) -> bool:
    """Whether the selected pair surely ends on this machine at both sides."""
    for connection, _, _ in ice_connections(peer):
        pair = connection._nominated.get(1)
        if pair is not None:
            return pair.remote_addr[0] in {c.host for c in connection.local_candidates if c.type == "host"}
    return False


def selected_types(peer: RTCPeerConnection) -> tuple[str, str] | None:
    """Candidate types (local, remote) of the selected pair: host, srflx, prflx or relay; None before there is one."""
    for connection, _, _ in ice_connections(peer):
        pair = connection._nominated.get(1)
        if pair is not None:
            return pair.local_candidate.type, pair.remote_candidate.type
    return None


async def close(peer: RTCPeerConnection, limit_s: float) -> bool:
    """Close within `limit_s`; False when it goes on behind us, as with a TURN server that does not answer.

    Shielded: a cancelled wait for a close that aiortc began itself would break that one.
    """
    try:
        async with asyncio.timeout(limit_s):
            await asyncio.shield(_close(peer))
    except TimeoutError:
        return False
    return True


async def _close(peer: RTCPeerConnection) -> None:
    await peer.close()
    # They hold each other in circles: what is heavy is freed here, not when a collector comes by.
    for transceiver in peer.getTransceivers():
        dtls: Any = transceiver.receiver.transport
        dtls._ssl = dtls._tx_srtp = dtls._rx_srtp = None
        dtls.remove_all_listeners()
        dtls.transport.remove_all_listeners()
    peer.remove_all_listeners()
