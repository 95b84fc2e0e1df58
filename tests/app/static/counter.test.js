import assert from "node:assert/strict";
import test from "node:test";

import { LatencyWindow, counterArea, decodeCounter, decodeLuma, latencyOf, lumaArea } from "../../../app/static/counter.js";

// RGBA pixels of 32 by 4 cells of 4 pixels, as the sampling canvas gives them.
function picture(words, { one = 255, zero = 0 } = {}) {
  const pixels = new Uint8ClampedArray(128 * 16 * 4);
  for (let y = 0; y < 16; y += 1) {
    for (let x = 0; x < 128; x += 1) {
      const bit = (words[y >> 2] >>> (31 - (x >> 2))) & 1;
      pixels.fill(bit ? one : zero, 4 * (y * 128 + x), 4 * (y * 128 + x) + 4);
    }
  }
  return pixels;
}

function words(frame, clock) {
  return [frame, clock, (frame ^ clock ^ 0x5a5a5a5a) >>> 0, ~frame >>> 0];
}

test("frame number and clock are read, also with the highest bit set", () => {
  for (const [frame, clock] of [[0, 0], [1234, 0x89abcdef], [0xffffffff, 0xfedcba98]]) {
    assert.deepEqual(decodeCounter(picture(words(frame, clock))), { frame, clock });
  }
});

test("a washed-out picture still reads", () => {
  assert.deepEqual(decodeCounter(picture(words(7, 8), { one: 190, zero: 70 })), { frame: 7, clock: 8 });
});

test("a picture without a counter reads as none", () => {
  assert.equal(decodeCounter(picture([0, 0, 0, 0])), null);
  assert.equal(decodeCounter(picture([5, 6, 7, 8])), null);
});

test("one wrong bit makes it none", () => {
  const [frame, clock, check, inverted] = words(77, 99);
  for (const broken of [[frame ^ 1, clock, check, inverted], [frame, clock ^ 1, check, inverted], [frame, clock, check, inverted ^ 1]]) {
    assert.equal(decodeCounter(picture(broken)), null);
  }
});

test("the counter lies where the source draws it", () => {
  assert.deepEqual(counterArea(1280), { x: 128, y: 32, width: 1024, height: 128 });
});

test("latency is the difference of the clocks, across their wrap too", () => {
  const now = 5 * 2 ** 32 + 20;
  assert.equal(latencyOf(2 ** 32 - 30, now), 50);
  assert.equal(latencyOf(15, now), 5);
});

test("clocks of two machines give no latency", () => {
  assert.equal(latencyOf(1_000, 100), null);
});

// A luma plane of `width` pixels cut to the area of the counter, in lines of `stride` bytes.
function lumaOf(words, width, stride) {
  const area = lumaArea(width);
  const luma = new Uint8Array(stride * area.height).fill(128);
  for (let y = 0; y < 4 * area.cell; y += 1) {
    for (let x = 0; x < 32 * area.cell; x += 1) {
      const bit = (words[Math.floor(y / area.cell)] >>> (31 - Math.floor(x / area.cell))) & 1;
      luma[(area.top + y) * stride + x] = bit ? 225 : 30;
    }
  }
  return [luma, stride, area];
}

test("the counter is read from luma of any size, also where cells are odd", () => {
  for (const width of [160, 320, 854, 1280, 1920]) {
    assert.deepEqual(decodeLuma(...lumaOf(words(77, 0xfedcba98), width, 32 * Math.floor(width / 40) + 6)), { frame: 77, clock: 0xfedcba98 });
    assert.equal(decodeLuma(...lumaOf([1, 2, 3, 4], width, 2000)), null);
  }
});

test("what is copied of the luma plane lies on even borders, as the formats want it", () => {
  for (const width of [160, 320, 640, 854, 1280, 1366]) {
    const { x, y, width: across, height } = lumaArea(width);
    for (const value of [x, y, across, height]) assert.equal(value % 2, 0);
  }
});

test("latency may have a fraction and is told in whole milliseconds", () => {
  assert.equal(latencyOf(1_000, 1_033.4), 33);
});

test("the window tells quantiles of the last pictures only", () => {
  const recent = new LatencyWindow(100);
  assert.equal(recent.summary(), null);
  recent.add(5000);
  for (let latency = 1; latency <= 100; latency += 1) recent.add(latency);
  assert.deepEqual(recent.summary(), { min: 1, p50: 50, p95: 95, max: 100, pictures: 100 });
  recent.clear();
  assert.equal(recent.summary(), null);
});
