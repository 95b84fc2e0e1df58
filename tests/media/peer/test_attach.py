import ast
import asyncio
import inspect
from collections.abc import Callable
from pathlib import Path

import aioice
import aiortc
import pylibsrtp
import pytest
from aioice import candidate, ice, stun, turn
from aiortc import (
    rtcdtlstransport,
    rtcicetransport,
    rtcpeerconnection,
    rtcrtpsender,
    rtcrtptransceiver,
    rtcsctptransport,
)

from media.peer import attach
from media.rtp.header import PLAYOUT_DELAY
from media.rtp.receive import Incoming

Send = Callable[[stun.Message, tuple[str, int]], None]
MEDIA = Path(attach.__file__).parent.parent
ALLOWED = {"identity.py", "attach.py", "gather.py", "checks.py", "association.py", "path.py"}
HOMES = {
    "_connection": rtcicetransport.RTCIceTransport,
    "_nominated": ice.Connection,
    "_closing": ice.Connection,
    "_check_list": ice.Connection,
    "_protocols": ice.Connection,
    "_local_candidates": ice.Connection,
    "_remote_candidates": ice.Connection,
    "_pair_remote_candidate": ice.Connection,
    "_network_host": candidate.Candidate,
    "_srtp": pylibsrtp.Session,
    "_ssl": rtcdtlstransport.RTCDtlsTransport,
    "_rx_srtp": rtcdtlstransport.RTCDtlsTransport,
    "_query_consent_task": ice.Connection,
    "_check_list_state": ice.Connection,
    "_check_periodic": ice.Connection,
    "_early_checks": ice.Connection,
    "_early_checks_done": ice.Connection,
    "_local_candidates_end": ice.Connection,
    "_unfreeze_initial": ice.Connection,
    "_tx_srtp": rtcdtlstransport.RTCDtlsTransport,
    "_handle_rtp_data": rtcdtlstransport.RTCDtlsTransport,
    "_handle_rtcp_data": rtcdtlstransport.RTCDtlsTransport,
    "_create_ssl_context": rtcdtlstransport.RTCCertificate,
    "_ssrc": rtcrtpsender.RTCRtpSender,
    "_rtx_ssrc": rtcrtpsender.RTCRtpSender,
    "_codecs": rtcrtptransceiver.RTCRtpTransceiver,
    "_headerExtensions": rtcrtptransceiver.RTCRtpTransceiver,
    "_RTCPeerConnection__remoteDescription": rtcpeerconnection.RTCPeerConnection,
    "_get_mline_index": rtcrtptransceiver.RTCRtpTransceiver,
    "_TurnTransport__inner_protocol": turn.TurnTransport,
    "_handle_data": rtcsctptransport.RTCSctpTransport,
    "_data_channel_receive": rtcsctptransport.RTCSctpTransport,
    "_get_inbound_stream": rtcsctptransport.RTCSctpTransport,
    "_inbound_streams": rtcsctptransport.RTCSctpTransport,
    "_sack_misordered": rtcsctptransport.RTCSctpTransport,
    "_data_channels": rtcsctptransport.RTCSctpTransport,
}
UNDERSCORED_BY_US = {"_create"}


def private_names(path: Path) -> set[str]:
    """Private attributes of anything but `self`."""
    return {
        node.attr
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and node.attr.startswith("_")
        and not node.attr.endswith("__")
        and not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"))
    }


def test_every_private_name_we_touch_still_exists() -> None:
    used = set[str]().union(*(private_names(MEDIA / "peer" / name) for name in ALLOWED))
    assert used == set(HOMES)
    sources = {home: inspect.getsource(home) for home in set(HOMES.values())}
    for name, home in HOMES.items():
        plain = name.rpartition("__")[2] if "__" in name else name
        assert plain in sources[home], f"{home.__name__} has no {name} any more"


@pytest.mark.parametrize("name", ["send", "receive", "_handle_rtcp_data", "_handle_rtp_data", "_create_ssl_context"])
def test_what_we_replace_is_still_called_on_the_object(name: str) -> None:
    callers = (
        inspect.getsource(rtcpeerconnection) + inspect.getsource(rtcdtlstransport),
        (
            "sender.send(",
            "receiver.receive(",
            "self._handle_rtcp_data(",
            "self._handle_rtp_data(",
            "_create_ssl_context(",
        ),
    )
    assert any(name in call and call in callers[0] for call in callers[1])


def test_no_other_file_touches_private_names() -> None:
    offenders = {
        str(path): names
        for folder in ("peer", "rtp", ".")
        for path in (MEDIA / folder).glob("*.py")
        if path.name not in ALLOWED and (names := private_names(path))
    }
    assert not offenders


def test_the_versions_are_the_ones_this_was_written_for() -> None:
    assert aiortc.__version__.startswith("1.16.")
    assert aioice.__version__.startswith("0.13.")


async def test_packets_go_to_who_takes_their_payload_type() -> None:
    connection = aiortc.RTCPeerConnection(attach.configuration((), is_relay_only=False))
    dtls = connection.addTransceiver("video").receiver.transport
    heard: dict[str, list[bytes]] = {"video": [], "audio": []}
    attach.hear_rtp(dtls, (96, 97), heard["video"].append)
    attach.hear_rtp(dtls, (111,), heard["audio"].append)
    for payload_type in (96, 97, 111, 50):
        await dtls._handle_rtp_data(bytes((0x80, payload_type | 0x80)), arrival_time_ms=0)
    assert [data[1] & 0x7F for data in heard["video"]] == [96, 97]
    assert [data[1] & 0x7F for data in heard["audio"]] == [111]
    await connection.close()


async def test_a_replaced_receiver_starts_once_with_what_was_negotiated() -> None:
    ours, theirs = (aiortc.RTCPeerConnection(attach.configuration((), is_relay_only=False)) for _ in range(2))
    started: asyncio.Future[Incoming] = asyncio.get_running_loop().create_future()
    transceiver = ours.addTransceiver("video", "recvonly")
    attach.replace_receiver(transceiver, lambda incoming, _: started.set_result(incoming))
    theirs.addTransceiver("video", "sendonly")
    await ours.setLocalDescription(await ours.createOffer())
    await theirs.setRemoteDescription(ours.localDescription)
    await theirs.setLocalDescription(await theirs.createAnswer())
    await ours.setRemoteDescription(theirs.localDescription)
    async with asyncio.timeout(15):
        incoming = await started
    assert incoming.kind == "video"
    assert {codec.name for codec in incoming.codecs.values()} == {"VP8", "H264"}
    assert set(incoming.repairs.values()) == set(incoming.codecs)
    assert incoming.payload_types == set(incoming.repairs) | set(incoming.codecs)
    await ours.close()
    await theirs.close()


async def test_a_receiver_that_nobody_asks_estimates_nothing() -> None:
    ours = aiortc.RTCPeerConnection(attach.configuration((), is_relay_only=False))
    receiver = attach.add_transceiver(ours, "video", "sendonly").receiver
    assert vars(receiver)["_RTCRtpReceiver__remote_bitrate_estimator"] is None
    stock = ours.addTransceiver("video").receiver
    assert vars(stock)["_RTCRtpReceiver__remote_bitrate_estimator"] is not None
    await ours.close()


async def test_an_extension_of_the_offer_is_answered_with_its_number() -> None:
    theirs, ours = (aiortc.RTCPeerConnection(attach.configuration((), is_relay_only=False)) for _ in range(2))
    theirs.addTransceiver("video", "recvonly")
    await theirs.setLocalDescription(await theirs.createOffer())
    offered = theirs.localDescription.sdp.replace("a=mid:0", f"a=extmap:9 {PLAYOUT_DELAY}\r\na=mid:0")
    transceiver = ours.addTransceiver("video", "sendonly")
    await ours.setRemoteDescription(aiortc.RTCSessionDescription(offered, "offer"))
    attach.accept_extension(ours, transceiver, PLAYOUT_DELAY)
    attach.accept_extension(ours, transceiver, "urn:none")
    assert f"a=extmap:9 {PLAYOUT_DELAY}" in (await ours.createAnswer()).sdp
    await ours.close()
    await theirs.close()


async def test_no_server_is_asked_that_was_not_given() -> None:
    connection = aiortc.RTCPeerConnection(attach.configuration((), is_relay_only=False))
    connection.addTransceiver("video")
    ((found, _, _),) = attach.ice_connections(connection)
    assert found.stun_server is None
    assert found.turn_server is None
    await connection.close()
