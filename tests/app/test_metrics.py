from prometheus_client.parser import text_string_to_metric_families

from app.metrics import Metrics, Sources
from app.request_counter import SECONDS, RequestStats
from channels.auth.ticket import TicketStats
from channels.owners import Slot
from channels.signaling.stats import DELIVERY_BOUNDS_S, HubStats

TURN = {
    "allocations": 2.0,
    "transports.udp": 1.0,
    "transports.tls": 1.0,
    "connections.tls": 3.0,
    "connections_total.tls": 8.0,
    "connections_refused.full": 1.0,
    "handshake_failures.protocol": 2.0,
    "send_errors": 4.0,
    "certificates.loaded": 1.0,
    "names_forgotten": 2.0,
    "dropped.silenced": 5.0,
    "allocations_total": 5.0,
    "bytes_to_peers": 100.0,
    "bytes_to_clients": 200.0,
    "auth_failures.stale": 3.0,
    "refused_peers.private": 4.0,
    "refused_allocations.no-port": 6.0,
}
MASTER = {
    "viewers": 1.0,
    "relays_in_use": 2.0,
    "encoder_sessions.libx264": 2.0,
    "feed.encoders.H264/0.frames": 30.0,
    "feed.encoders.H264/0.key_frames": 3.0,
    "feed.encoders.H264/0.encode_seconds": 0.5,
    "feed.encoders.H264/0.target_bitrate_bps": 2e6,
    "feed.encoders.H264/0.keyframe_requests": 4.0,
    "feed.encoders.VP8/1.frames": 10.0,
    "feed.passed.VP8/0.units": 11.0,
    "feed.passed.VP8/0.keyframe_requests": 2.0,
    "feed.fallbacks.h264_nvenc/libx264/session limit": 1.0,
    "steering.layers_down": 2.0,
    "sent.packets": 100.0,
    "sent.payload_bytes": 5000.0,
    "sent.retransmitted_packets": 7.0,
    "sent.send_delay_s": 0.125,
    "sent.nacks": 6.0,
    "sent.plis": 5.0,
    "master.ends.left": 2.0,
}


def scraped(hub: HubStats | None = None) -> dict[str, float]:
    """Return every sample of a scrape as `name{label=value}` -> value."""
    requests = RequestStats(
        requests={("CreateSignalingChannel", "OK"): 7},
        counts={"CreateSignalingChannel": [0] * (len(SECONDS) - 1) + [7, 0]},
        seconds={"CreateSignalingChannel": 0.7},
    )
    parts = {"auth_tickets": TicketStats(issued=9, expired=1)}
    sources = Sources("1.2.3", hub or HubStats(), requests, lambda: TURN, lambda: MASTER, lambda: 0.25, parts)
    text = Metrics(sources).text().decode()
    samples = {}
    for family in text_string_to_metric_families(text):
        assert family.name.startswith("heliograph_")
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            samples[f"{sample.name}{{{labels}}}"] = sample.value
    return samples


def test_what_a_part_counts_is_explained_by_its_own_sentence() -> None:
    parts = {"auth_tickets": TicketStats()}
    sources = Sources("1.2.3", HubStats(), RequestStats(), lambda: {}, None, lambda: 0.25, parts)
    told = (
        "# HELP heliograph_auth_tickets_total tickets issued, redeemed, unknown, too old, and refused for want of room"
    )
    assert told in Metrics(sources).text().decode().splitlines()


def test_every_metric_of_the_manual_is_there() -> None:
    hub = HubStats(masters=1, viewers=3, lease_lost=1, publish_unreachable=2)
    hub.count_message("viewer", "SDP_OFFER", "relayed")
    hub.count_admission("viewer", "full")
    samples = scraped(hub)
    expected = {
        "heliograph_build_info{version=1.2.3}": 1,
        "heliograph_event_loop_lag_seconds{}": 0.25,
        "heliograph_signaling_connections{role=master}": 1,
        "heliograph_signaling_connections{role=viewer}": 3,
        "heliograph_signaling_messages_total{action=SDP_OFFER,result=relayed,role=viewer}": 1,
        "heliograph_signaling_admission_total{result=full,role=viewer}": 1,
        "heliograph_control_requests_total{code=OK,operation=CreateSignalingChannel}": 7,
        "heliograph_control_request_seconds_sum{operation=CreateSignalingChannel}": 0.7,
        "heliograph_control_request_seconds_count{operation=CreateSignalingChannel}": 7,
        "heliograph_auth_tickets_total{result=issued}": 9,
        "heliograph_auth_tickets_total{result=expired}": 1,
        "heliograph_turn_allocations{transport=udp}": 1,
        "heliograph_turn_allocations{transport=tls}": 1,
        "heliograph_turn_connections{transport=tls}": 3,
        "heliograph_turn_connections_opened_total{transport=tls}": 8,
        "heliograph_turn_connections_refused_total{reason=full}": 1,
        "heliograph_turn_handshake_failures_total{reason=protocol}": 2,
        "heliograph_turn_send_errors_total{}": 4,
        "heliograph_turn_certificate_changes_total{result=loaded}": 1,
        "heliograph_turn_names_forgotten_total{}": 2,
        "heliograph_turn_dropped_total{reason=silenced}": 5,
        "heliograph_turn_allocate_total{}": 5,
        "heliograph_turn_relayed_bytes_total{direction=peers}": 100,
        "heliograph_turn_relayed_bytes_total{direction=clients}": 200,
        "heliograph_turn_auth_failures_total{reason=stale}": 3,
        "heliograph_turn_denied_peers_total{reason=private}": 4,
        "heliograph_turn_refused_allocations_total{reason=no-port}": 6,
        "heliograph_media_viewers{}": 1,
        "heliograph_webrtc_relay_in_use{}": 2,
        "heliograph_encoder_sessions{backend=libx264}": 2,
        "heliograph_encoder_fallbacks_total{from=h264_nvenc,reason=session limit,to=libx264}": 1,
        "heliograph_encoder_frame_seconds_sum{encoder=H264/0}": 0.5,
        "heliograph_encoder_frame_seconds_count{encoder=H264/0}": 30,
        "heliograph_media_keyframe_requests_total{}": 6,
        "heliograph_media_orders_total{order=layers_down}": 2,
        "heliograph_media_passed_frames_total{encoder=VP8/0}": 11,
        "heliograph_webrtc_frames_encoded_total{encoder=H264/0}": 30,
        "heliograph_webrtc_frames_encoded_total{encoder=VP8/1}": 10,
        "heliograph_webrtc_key_frames_encoded_total{encoder=H264/0}": 3,
        "heliograph_webrtc_total_encode_time_seconds_total{encoder=H264/0}": 0.5,
        "heliograph_webrtc_target_bitrate_bps{encoder=H264/0}": 2e6,
        "heliograph_webrtc_packets_sent_total{}": 100,
        "heliograph_webrtc_bytes_sent_total{}": 5000,
        "heliograph_webrtc_retransmitted_packets_sent_total{}": 7,
        "heliograph_webrtc_total_packet_send_delay_seconds_total{}": 0.125,
        "heliograph_webrtc_nack_count_total{}": 6,
        "heliograph_webrtc_pli_count_total{}": 5,
        "heliograph_media_peer_ends_total{reason=left}": 2,
        "heliograph_presence_lease_lost_total{}": 1,
        "heliograph_bus_publish_unreachable_total{}": 2,
    }
    assert {name: samples.get(name) for name in expected} == expected


def test_a_node_without_a_master_shows_no_media() -> None:
    assert b"heliograph_media" not in Metrics(Sources("1.2.3", HubStats(), RequestStats())).text()


def test_delivery_buckets_add_up() -> None:
    hub = HubStats()
    for seconds in (0.00001, 0.0002, 5.0):
        hub.count_relayed("viewer", "SDP_OFFER", seconds)
    samples = scraped(hub)
    name = "heliograph_signaling_delivery_seconds_bucket{le=%s}"
    assert [samples[name % bound] for bound in (DELIVERY_BOUNDS_S[0], DELIVERY_BOUNDS_S[2], 0.1, "+Inf")] == [
        1,
        2,
        2,
        3,
    ]
    assert samples["heliograph_signaling_delivery_seconds_count{}"] == 3


def test_no_label_could_hold_a_channel_or_a_client() -> None:
    names = {part.split("=")[0] for sample in scraped() for part in sample.partition("{")[2].rstrip("}").split(",")}
    assert names <= {
        "",
        "version",
        "role",
        "action",
        "result",
        "code",
        "operation",
        "le",
        "direction",
        "reason",
        "encoder",
        "backend",
        "order",
        "from",
        "to",
        "transport",
    }


def test_the_memory_of_the_process_is_there() -> None:
    assert scraped()["heliograph_process_resident_memory_bytes{}"] > 0


def test_slots_are_told_by_one_of_several_processes_alone() -> None:
    def lines(found: tuple[int | None, tuple[Slot, ...]] | None) -> list[str]:
        sources = Sources("1", HubStats(), RequestStats(), slots=lambda: found)
        text = Metrics(sources).text().decode()
        return [line for line in text.splitlines() if line.startswith("heliograph_slot")]

    known = (Slot(3, "a"), Slot(4, "b", is_draining=True), Slot(5, "c"))
    counts = ['heliograph_slots{state="serving"} 2.0', 'heliograph_slots{state="draining"} 1.0']
    assert lines((3, known)) == ['heliograph_slot_info{slot="3"} 1.0', *counts]
    assert lines((None, known)) == counts
    assert lines(None) == []
