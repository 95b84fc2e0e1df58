import assert from "node:assert/strict";
import test from "node:test";

import { counterArea, decodeCounter, latencyOf } from "../../../app/static/counter.js";

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
