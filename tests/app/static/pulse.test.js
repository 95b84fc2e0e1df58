import assert from "node:assert/strict";
import test from "node:test";

import { Pulse } from "../../../app/static/pulse.js";

function report({ video = 0, audio = 0, ...told } = {}) {
  const entries = [
    { id: "V", type: "inbound-rtp", kind: "video", bytesReceived: video },
    { id: "A", type: "inbound-rtp", kind: "audio", bytesReceived: audio },
    { id: "S", type: "remote-outbound-rtp", kind: "video", ...told },
  ];
  return new Map(entries.map((entry) => [entry.id, entry]));
}

test("a picture that stops is told after three seconds", () => {
  const pulse = new Pulse(1000);
  assert.equal(pulse.silentFor(report({ video: 10 }), 5000), null);
  assert.equal(pulse.silentFor(report({ video: 10 }), 8000), null);
  assert.equal(pulse.silentFor(report({ video: 20 }), 8001), null);
  assert.equal(pulse.silentFor(report({ video: 20 }), 11_002), 3);
  assert.ok(pulse.hasBegun);
});

test("a master that pauses the picture lives by its reports or its sound", () => {
  for (const sign of ["reportsSent", "packetsSent", "remoteTimestamp", "audio"]) {
    const pulse = new Pulse(0);
    for (let second = 0; second < 60; second += 2) {
      assert.equal(pulse.silentFor(report({ video: 10, [sign]: second }), 1000 * second), null, sign);
    }
    assert.equal(pulse.silentFor(report({ video: 10, [sign]: 58 }), 61_001), 3, sign);
  }
});

test("the first picture has as long as a camera with seldom key frames takes, sound or not", () => {
  const pulse = new Pulse(1000);
  for (let second = 2; second <= 31; second += 1) assert.equal(pulse.silentFor(report({ audio: second }), 1000 * second), null);
  assert.equal(pulse.silentFor(report({ audio: 32 }), 31_001), 30);
  assert.equal(pulse.hasBegun, false);
  assert.equal(pulse.silentFor(report({ video: 1 }), 40_000), null);
});
