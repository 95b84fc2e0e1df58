// Statistics of a peer connection boiled down to what people read: pure, from a getStats report and the one before.

const ORDER = ["relay", "prflx", "srflx", "host"]; // the least direct end names the path

/** The selected pair: `{path, local, remote, relayProtocol, transport, rttMs}`; null before one is selected. */
export function selectedPair(report) {
  const entries = byId(report);
  const transport = [...entries.values()].find((entry) => entry.type === "transport" && entry.selectedCandidatePairId);
  const pair = entries.get(transport?.selectedCandidatePairId);
  if (!pair) return null;
  const local = entries.get(pair.localCandidateId);
  const remote = entries.get(pair.remoteCandidateId);
  const types = [local?.candidateType, remote?.candidateType];
  return {
    path: ORDER.find((type) => types.includes(type)) ?? "",
    local: local?.candidateType ?? "",
    remote: remote?.candidateType ?? "",
    relayProtocol: local?.relayProtocol ?? "",
    transport: local?.protocol ?? "",
    rttMs: pair.currentRoundTripTime === undefined ? null : pair.currentRoundTripTime * 1000,
  };
}

/** What a viewer receives; rates are over the time since `previous` (a summary made earlier), null without one. */
export function summariseInbound(report, previous = null) {
  const entries = byId(report);
  const video = [...entries.values()].find((entry) => entry.type === "inbound-rtp" && entry.kind === "video");
  if (!video) return null;
  const rate = rateSince(video.timestamp, previous);
  const emitted = video.jitterBufferEmittedCount ?? 0;
  return {
    ...selectedPair(report),
    timestamp: video.timestamp,
    codec: codecName(entries.get(video.codecId)),
    decoder: video.decoderImplementation ?? "",
    width: video.frameWidth ?? 0,
    height: video.frameHeight ?? 0,
    frames: video.framesDecoded ?? 0,
    dropped: video.framesDropped ?? 0,
    bytes: video.bytesReceived ?? 0,
    packets: video.packetsReceived ?? 0,
    lost: video.packetsLost ?? 0,
    fps: rate((value) => value.frames, video.framesDecoded ?? 0),
    bitrateBps: rate((value) => value.bytes * 8, (video.bytesReceived ?? 0) * 8),
    lossPercent: lossPercent(video, previous),
    jitterMs: (video.jitter ?? 0) * 1000,
    jitterBufferMs: emitted ? ((video.jitterBufferDelay ?? 0) / emitted) * 1000 : 0,
    decodeMs: video.framesDecoded ? ((video.totalDecodeTime ?? 0) / video.framesDecoded) * 1000 : 0,
    freezes: video.freezeCount ?? 0,
    pli: video.pliCount ?? 0,
    fir: video.firCount ?? 0,
    nack: video.nackCount ?? 0,
  };
}

/** What a master sends to one viewer: `{path, codec, width, height, frames, fps, bitrateBps, ...}`; null before it sends. */
export function summariseOutbound(report, previous = null) {
  const entries = byId(report);
  const video = [...entries.values()].find((entry) => entry.type === "outbound-rtp" && entry.kind === "video");
  if (!video) return null;
  const rate = rateSince(video.timestamp, previous);
  return {
    ...selectedPair(report),
    timestamp: video.timestamp,
    codec: codecName(entries.get(video.codecId)),
    width: video.frameWidth ?? 0,
    height: video.frameHeight ?? 0,
    frames: video.framesSent ?? 0,
    bytes: video.bytesSent ?? 0,
    fps: rate((value) => value.frames, video.framesSent ?? 0),
    bitrateBps: rate((value) => value.bytes * 8, (video.bytesSent ?? 0) * 8),
    limitedBy: video.qualityLimitationReason ?? "none",
  };
}

function byId(report) {
  return new Map(Array.from(report.values(), (entry) => [entry.id, entry]));
}

function codecName(codec) {
  return codec?.mimeType?.split("/")[1] ?? "";
}

function rateSince(timestamp, previous) {
  const seconds = previous ? (timestamp - previous.timestamp) / 1000 : 0;
  return (pick, now) => (seconds > 0 ? Math.max(0, now - pick(previous)) / seconds : null);
}

function lossPercent(video, previous) {
  const lost = Math.max(0, (video.packetsLost ?? 0) - (previous?.lost ?? 0));
  const received = Math.max(0, (video.packetsReceived ?? 0) - (previous?.packets ?? 0));
  return lost + received ? (100 * lost) / (lost + received) : 0;
}
