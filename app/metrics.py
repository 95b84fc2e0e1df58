"""Plain counters of all parts -> Prometheus text, read at scrape time. No label names a channel or a client."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate

import msgspec
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
    SummaryMetricFamily,
)

from app.request_counter import SECONDS, RequestStats
from channels.owners import Slot
from channels.signaling.stats import DELIVERY_BOUNDS_S, HubStats

Flat = Mapping[str, float]


class Sources(msgspec.Struct, frozen=True):
    """Where the numbers are: `turn` and `master` give the last counters of those processes; None without a master.

    `redis` gives the numbers of the link between nodes, None without one.
    `slots` gives those of all processes, and the number of this one; None without others.
    `parts` are plain counters by the name of their metric; each field is a result.
    """

    version: str
    hub: HubStats
    requests: RequestStats
    turn: Callable[[], Flat] = dict
    master: Callable[[], Flat] | None = None
    loop_lag_s: Callable[[], float] = float
    parts: Mapping[str, msgspec.Struct] = {}
    redis: Callable[[], Flat] | None = None
    slots: Callable[[], tuple[int | None, Sequence[Slot]] | None] = lambda: None


class Metrics:
    """The metrics of one process and of the processes it started."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(namespace="heliograph", registry=self._registry)

    def text(self) -> bytes:
        """Return the Prometheus text form."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Give every metric family; called by prometheus_client."""
        yield InfoMetricFamily("heliograph_build", "version of the program", {"version": self._sources.version})
        yield from _slots(self._sources.slots())
        yield _gauge("event_loop_lag_seconds", "how late the event loop is", self._sources.loop_lag_s())
        yield from _signaling(self._sources.hub)
        yield from _control(self._sources.requests)
        yield from _turn(self._sources.turn())
        for name, stats in self._sources.parts.items():
            results = [((result,), value) for result, value in msgspec.structs.asdict(stats).items()]
            yield _counters(name, _help(name, stats), ["result"], results)
        if self._sources.redis is not None:
            yield from _redis(self._sources.redis())
        if self._sources.master is not None:
            yield from _media(self._sources.master())


def _help(name: str, stats: msgspec.Struct) -> str:
    """What the results mean: the sentence of the Struct, which has them in their order."""
    meaning = " ".join((type(stats).__doc__ or "").split()).removeprefix("Plain counters: ")
    return meaning.removesuffix(".") or f"{name.replace('_', ' ')} by result"


def _slots(found: tuple[int | None, Sequence[Slot]] | None) -> Iterator[Metric]:
    if found is None:
        return
    own, known = found
    if own is not None:
        yield InfoMetricFamily("heliograph_slot", "number of this process among all", {"slot": str(own)})
    draining = sum(slot.is_draining for slot in known)
    family = GaugeMetricFamily("heliograph_slots", "processes that this one knows to live", labels=["state"])
    family.add_metric(["serving"], len(known) - draining)
    family.add_metric(["draining"], draining)
    yield family


def _signaling(stats: HubStats) -> Iterator[Metric]:
    connections = GaugeMetricFamily("heliograph_signaling_connections", "open websockets", labels=["role"])
    connections.add_metric(["master"], stats.masters)
    connections.add_metric(["viewer"], stats.viewers)
    yield connections
    labels = ["role", "action", "result"]
    yield _counters("signaling_messages", "messages by outcome", labels, stats.messages.items())
    yield _counters(
        "signaling_admission", "attempts to connect by outcome", ["role", "result"], stats.admissions.items()
    )
    delivery = HistogramMetricFamily("heliograph_signaling_delivery_seconds", "frame in to recipient's queue, one node")
    delivery.add_metric([], _buckets(DELIVERY_BOUNDS_S, stats.delivery_counts), stats.delivery_seconds)
    yield delivery
    yield _counter("signaling_slow_closed", "connections closed for not reading", stats.slow_closed)
    yield _counter("presence_lease_lost", "leases lost to another node", stats.lease_lost)
    yield _counter("bus_publish_unreachable", "messages no node took", stats.publish_unreachable)


def _control(stats: RequestStats) -> Iterator[Metric]:
    yield _counters("control_requests", "HTTP requests", ["operation", "code"], stats.requests.items())
    seconds = HistogramMetricFamily("heliograph_control_request_seconds", "time to answer", labels=["operation"])
    for operation, counts in list(stats.counts.items()):
        seconds.add_metric([operation], _buckets(SECONDS, counts), stats.seconds.get(operation, 0.0))
    yield seconds


def _turn(flat: Flat) -> Iterator[Metric]:
    for name, field, words in _TURN_NOW:
        family = GaugeMetricFamily(f"heliograph_{name}", words, labels=["transport"])
        for labels, value in _under(flat, field):
            family.add_metric(list(labels), value)
        yield family
    for unit in ("bytes", "packets"):
        directions = [((to,), flat.get(f"{unit}_to_{to}", 0.0)) for to in ("peers", "clients")]
        yield _counters(f"turn_relayed_{unit}", f"relayed {unit}", ["direction"], directions)
    for name, field, label, words in _TURN:
        yield _counters(name, words, [label] if label else [], _under(flat, field))


def _redis(flat: Flat) -> Iterator[Metric]:
    yield _gauge("redis_away_seconds", "for how long no message has gone between nodes", flat["red_s"])
    yield _gauge("redis_lag_seconds", "of a heartbeat through Redis and back", flat["lag_s"])
    yield _counter("redis_gap_seconds", "without a subscription, in total", flat["gap_s"])
    events = [((name,), value) for name, value in flat.items() if not name.endswith("_s")]
    yield _counters("redis_link", "what befell the link between nodes, and messages that it lost", ["event"], events)


def _media(flat: Flat) -> Iterator[Metric]:
    yield _gauge("media_viewers", "peers that receive", flat.get("viewers", 0.0))
    yield _gauge("webrtc_relay_in_use", "viewers whose way goes through TURN", flat.get("relays_in_use", 0.0))
    sessions = GaugeMetricFamily("heliograph_encoder_sessions", "encoders that are open", labels=["backend"])
    for labels, value in _under(flat, "encoder_sessions"):
        sessions.add_metric(list(labels), value)
    yield sessions
    asked = sum(
        value for name, value in flat.items() if name.startswith("feed.") and name.endswith("keyframe_requests")
    )
    yield _counter("media_keyframe_requests", "wishes for a key frame, before they are answered together", asked)
    for name, field, label, words in (*_MEDIA, *_SENT):
        yield _counters(name, words, [label] if label else [], _under(flat, field))
    fallbacks = [(labels[0].split("/"), value) for labels, value in _under(flat, "feed.fallbacks") if labels]
    words = "encoders that another one took over from"
    yield _counters("encoder_fallbacks", words, ["from", "to", "reason"], fallbacks)
    yield from _lines(flat)


def _lines(flat: Flat) -> Iterator[Metric]:
    """By codec and layer, as `H264/0`: encoders, and what a source gives encoded."""
    encoded = {place: dict(_under_line(flat, place)) for place in ("feed.encoders", "feed.passed")}
    for name, place, field, words in _LINE:
        values = [((line,), value) for (line, kind), value in encoded[place].items() if kind == field]
        yield _counters(name, words, ["encoder"], values)
    found = encoded["feed.encoders"]
    target = GaugeMetricFamily("heliograph_webrtc_target_bitrate_bps", "rate aimed at", labels=["encoder"])
    seconds = SummaryMetricFamily("heliograph_encoder_frame_seconds", "time inside the codec", labels=["encoder"])
    for (line, kind), value in found.items():
        if kind == "target_bitrate_bps":
            target.add_metric([line], value)
        elif kind == "encode_seconds":
            seconds.add_metric([line], int(found.get((line, "frames"), 0)), value)
    yield target
    yield seconds


def _under_line(flat: Flat, place: str) -> Iterator[tuple[tuple[str, str], float]]:
    for (name,), value in _under(flat, place):
        line, _, field = name.rpartition(".")
        yield (line, field), value


# metric, counter of the process, label of what is below it, help
_TURN = (
    ("turn_allocate", "allocations_total", "", "allocations made"),
    ("turn_bindings", "bindings_total", "", "STUN Binding answers"),
    ("turn_auth_failures", "auth_failures", "reason", "requests without a valid credential"),
    ("turn_denied_peers", "refused_peers", "reason", "peers no relay may reach"),
    ("turn_refused_allocations", "refused_allocations", "reason", "allocations that were not given"),
    ("turn_dropped", "dropped", "reason", "messages and data that went no further; silenced: strangers not answered"),
    ("turn_connections_opened", "connections_total", "transport", "connections that clients opened"),
    ("turn_connections_refused", "connections_refused", "reason", "connections that we closed"),
    ("turn_handshake_failures", "handshake_failures", "reason", "TLS and DTLS handshakes that came to nothing"),
    ("turn_send_errors", "send_errors", "", "packets that the system did not take"),
    ("turn_receive_errors", "receive_errors", "", "errors of a socket, such as an unreachable peer told by ICMP"),
    ("turn_names_forgotten", "names_forgotten", "", "user names not known by their hash any more, for want of room"),
    ("turn_certificate_changes", "certificates", "result", "changes of the certificate files by what came of them"),
)
_TURN_NOW = (
    ("turn_allocations", "transports", "allocations now, by how their clients came"),
    ("turn_connections", "connections", "connections that are open"),
)
_MEDIA = (
    ("media_offers", "master.offers", "", "offers of viewers"),
    ("media_offers_refused", "master.offers_refused", "", "offers that were refused"),
    ("media_offers_too_many", "master.offers_too_many", "", "offers beyond what a viewer, or all of them, may make"),
    ("media_packets_refused", "master.packets_refused", "", "packets of viewers beyond their share of time"),
    ("media_peer_ends", "master.ends", "reason", "peers by the reason of their end"),
    ("media_orders", "steering", "order", "what was done for slow viewers, and changes of the bit rate"),
    ("media_reconnects", "master.reconnects", "", "signaling connections opened again"),
    ("recording_segments", "recorder.segments", "", "segments recorded"),
    ("recording_bytes", "recorder.segment_bytes", "", "bytes of segments recorded"),
    ("recording_removed", "recorder.removed", "", "segments removed by age, by size or for room on a full disk"),
    ("recording_lost", "recorder.lost", "reason", "segments not recorded: the disk was too slow, or failed"),
)
# The names of a known streamer, so that its dashboards can be used; over all viewers, those that left too.
_SENT = (
    ("webrtc_packets_sent", "sent.packets", "", "RTP packets to viewers, without repetitions"),
    ("webrtc_bytes_sent", "sent.payload_bytes", "", "payload of those packets"),
    ("webrtc_retransmitted_packets_sent", "sent.retransmitted_packets", "", "packets sent again"),
    ("webrtc_retransmitted_bytes_sent", "sent.retransmitted_bytes", "", "payload of packets sent again"),
    ("webrtc_total_packet_send_delay_seconds", "sent.send_delay_s", "", "from packetized to handed over, all packets"),
    ("webrtc_nack_count", "sent.nacks", "", "NACK messages of viewers"),
    ("webrtc_pli_count", "sent.plis", "", "PLI messages of viewers"),
    ("webrtc_fir_count", "sent.firs", "", "FIR messages of viewers"),
    ("media_wishes_refused", "sent.wishes_refused", "", "wishes for key frames that came too often"),
    ("media_units_skipped", "sent.units_skipped", "", "pictures that did not fit into a viewer's way"),
    ("media_units_left_out", "sent.units_left_out", "", "pictures left out for viewers that are slow"),
)
# metric, where the lines are, counter of a line, help
_LINE = (
    ("webrtc_frames_encoded", "feed.encoders", "frames", "frames encoded"),
    ("webrtc_key_frames_encoded", "feed.encoders", "key_frames", "key frames encoded"),
    ("webrtc_total_encode_time_seconds", "feed.encoders", "encode_seconds", "time inside the codec"),
    ("media_encoded_bytes", "feed.encoders", "encoded_bytes", "bytes encoded"),
    ("media_encoder_failures", "feed.encoders", "failures", "encoders that broke"),
    ("media_dropped_frames", "feed.encoders", "dropped_frames", "frames for which the encoder was too slow"),
    ("media_passed_frames", "feed.passed", "units", "frames passed on as the source encoded them"),
    ("media_passed_bytes", "feed.passed", "passed_bytes", "bytes passed on"),
)


def _under(flat: Flat, field: str) -> Iterator[tuple[tuple[str, ...], float]]:
    """Give (labels, value) of a flat field, or of every field below it."""
    for name, value in flat.items():
        if name == field:
            yield (), value
        elif name.startswith(field + "."):
            yield (name.removeprefix(field + "."),), value


def _gauge(name: str, words: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"heliograph_{name}", words, value)


def _counter(name: str, words: str, value: float) -> CounterMetricFamily:
    return CounterMetricFamily(f"heliograph_{name}", words, value)


def _counters(
    name: str, words: str, labels: Sequence[str], values: Iterable[tuple[Sequence[str], float]]
) -> CounterMetricFamily:
    family = CounterMetricFamily(f"heliograph_{name}", words, labels=labels)
    for label_values, value in list(values):
        family.add_metric(list(label_values), value)
    return family


def _buckets(bounds: Sequence[float], counts: Sequence[int]) -> list[tuple[str, float]]:
    edges = [*(str(bound) for bound in bounds), "+Inf"]
    return list(zip(edges, map(float, accumulate(counts)), strict=True))
