import assert from "node:assert/strict";
import test from "node:test";

import { selectedPair, summariseInbound, summariseOutbound } from "../../../app/static/statistics.js";

function report({ local = "host", remote = "host", at = 1000, frames = 30, bytes = 1000, lost = 0, packets = 100 } = {}) {
  const entries = [
    { id: "T", type: "transport", selectedCandidatePairId: "P" },
    { id: "P", type: "candidate-pair", localCandidateId: "L", remoteCandidateId: "R", currentRoundTripTime: 0.0125 },
    { id: "L", type: "local-candidate", candidateType: local, protocol: "udp", relayProtocol: local === "relay" ? "udp" : undefined },
    { id: "R", type: "remote-candidate", candidateType: remote },
    { id: "C", type: "codec", mimeType: "video/H264" },
    { id: "A", type: "inbound-rtp", kind: "audio", bytesReceived: 7 },
    {
      id: "V", type: "inbound-rtp", kind: "video", codecId: "C", timestamp: at, framesDecoded: frames, bytesReceived: bytes,
      packetsReceived: packets, packetsLost: lost, frameWidth: 1280, frameHeight: 720, totalDecodeTime: 0.3,
      jitterBufferDelay: 1, jitterBufferEmittedCount: 50, nackCount: 2, pliCount: 1, firCount: 0,
    },
    { id: "O", type: "outbound-rtp", kind: "video", codecId: "C", timestamp: at, framesSent: frames, bytesSent: bytes },
  ];
  return new Map(entries.map((entry) => [entry.id, entry]));
}

test("the less direct end of the pair names the path", () => {
  for (const [local, remote, path] of [["host", "host", "host"], ["host", "srflx", "srflx"], ["prflx", "host", "prflx"], ["host", "relay", "relay"], ["relay", "prflx", "relay"], ["prflx", "srflx", "prflx"]]) {
    assert.equal(selectedPair(report({ local, remote })).path, path);
  }
});

test("no pair yet is null", () => {
  assert.equal(selectedPair(new Map()), null);
  assert.equal(summariseInbound(new Map()), null);
});

test("rates are over the time between two reports", () => {
  const first = summariseInbound(report());
  const second = summariseInbound(report({ at: 3000, frames: 90, bytes: 251_000 }), first);
  assert.deepEqual([first.fps, first.bitrateBps], [null, null]);
  assert.equal(second.fps, 30);
  assert.equal(second.bitrateBps, 1_000_000);
  assert.deepEqual([second.codec, second.width, second.height, second.rttMs, second.jitterBufferMs], ["H264", 1280, 720, 12.5, 20]);
});

test("loss is that of the last interval", () => {
  const first = summariseInbound(report({ lost: 50, packets: 50 }));
  assert.equal(first.lossPercent, 50);
  assert.equal(summariseInbound(report({ at: 2000, lost: 51, packets: 149 }), first).lossPercent, 1);
});

test("a master's side is summed up as well", () => {
  const first = summariseOutbound(report());
  const second = summariseOutbound(report({ at: 2000, frames: 55, bytes: 126_000 }), first);
  assert.deepEqual([second.fps, second.bitrateBps, second.path], [25, 1_000_000, "host"]);
});
