import pytest
from aiortc import RTCPeerConnection, rtcpeerconnection
from aiortc.rtcdtlstransport import SRTP_PROFILES, RTCCertificate
from OpenSSL import SSL

from media.peer import attach
from media.peer.identity import RENEW_S, Identities, Identity, in_place_of, open_connection


def test_one_certificate_serves_a_day() -> None:
    identities = Identities()
    first = identities.current(100.0)
    assert identities.current(100.0 + RENEW_S - 1) is first
    second = identities.current(100.0 + RENEW_S)
    assert second is not first
    assert second.getFingerprints() != first.getFingerprints()


def test_its_fingerprint_is_that_of_sha256_alone() -> None:
    identity = Identity.new()
    (fingerprint,) = identity.getFingerprints()
    stock = RTCCertificate(identity._key, identity._cert).getFingerprints()
    assert fingerprint == next(each for each in stock if each.algorithm == "sha-256")


def test_all_its_connections_share_a_context_that_remembers_nobody() -> None:
    identity = Identity.new()
    context = identity._create_ssl_context(SRTP_PROFILES)
    assert identity._create_ssl_context(SRTP_PROFILES) is context
    assert context.get_session_cache_mode() == SSL.SESS_CACHE_OFF


async def test_a_connection_is_made_with_the_identity_given_and_others_as_ever() -> None:
    identity = Identity.new()
    ours = open_connection(attach.configuration((), is_relay_only=False), identity)
    stock = RTCPeerConnection(attach.configuration((), is_relay_only=False))
    for connection, is_ours in ((ours, True), (stock, False)):
        connection.addTransceiver("video", "recvonly")
        offer = (await connection.createOffer()).sdp
        assert (identity.getFingerprints()[0].value in offer) is is_ours
        await connection.close()
    assert rtcpeerconnection.RTCCertificate is RTCCertificate


def test_a_name_is_put_back_after_an_error() -> None:
    with pytest.raises(ValueError, match="wrong"), in_place_of(rtcpeerconnection, "RTCCertificate", None):
        raise ValueError("wrong")
    assert rtcpeerconnection.RTCCertificate is RTCCertificate
