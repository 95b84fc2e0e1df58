// The player of recordings, on a media source that takes everything and a clock that the test moves.

import assert from "node:assert/strict";
import { test } from "node:test";

import { RecordingPlayer } from "../../../app/static/recording-player.js";

const START = 1_764_133_190_000;
const SECOND = 1_000;
const INIT = Uint8Array.from("....avcC\x01\x42\xc0\x1fdOps", (letter) => letter.charCodeAt(0)).buffer;

let now = 0;
let waiting = [];
globalThis.setTimeout = (call, milliseconds) => waiting.push({ call, at: now + milliseconds });
globalThis.HTMLMediaElement = { HAVE_FUTURE_DATA: 3 };
URL.createObjectURL = () => "blob:film";

class Buffer extends EventTarget {
  listening = 0;

  addEventListener(kind, listener, { signal }) {
    this.listening += 1;
    signal.addEventListener("abort", () => (this.listening -= 1));
    super.addEventListener(kind, listener, { signal });
  }

  appendBuffer() {
    queueMicrotask(() => this.dispatchEvent(new Event("updateend")));
  }
}

globalThis.MediaSource = class extends EventTarget {
  buffer = new Buffer();

  constructor() {
    super();
    MediaSource.last = this;
    queueMicrotask(() => this.dispatchEvent(new Event("sourceopen")));
  }

  addSourceBuffer() {
    return this.buffer;
  }
};

/** Eight segments of two seconds, the first number `first`; `failing(name)` says which cannot be had. */
class Service {
  first = 0;
  lists = 0;
  asked = [];

  constructor(failing) {
    this.failing = failing;
  }

  async playlist() {
    this.lists += 1;
    const lines = ["#EXTM3U", '#EXT-X-MAP:URI="init"', `#EXT-X-PROGRAM-DATE-TIME:${new Date(START + this.first * 2 * SECOND).toISOString()}`];
    for (let number = this.first; number < 8; number += 1) lines.push("#EXTINF:2.000,", `s${number}`);
    return { text: lines.join("\n"), base: "" };
  }

  async file(name) {
    if (name === "init") return INIT;
    this.asked.push(name);
    if (this.failing(name)) throw new Error(name);
    return new ArrayBuffer(8);
  }
}

/** What the player asks for in `seconds`; the page of `service` has nothing buffered, so all that there is is fetched. */
async function played(service, seconds) {
  const video = { currentTime: 0, buffered: { length: 0 }, readyState: 4, removeAttribute() {}, load() {} };
  const player = new RecordingPlayer(video, service, [{ start: START, end: START + 16 * SECOND }]);
  let failures = 0;
  player.addEventListener("failed", () => (failures += 1));
  for (let tick = 0; tick < seconds * 10; tick += 1) {
    await new Promise(setImmediate);
    now += 100;
    const due = waiting.filter(({ at }) => at <= now);
    waiting = waiting.filter(({ at }) => at > now);
    due.forEach(({ call }) => call());
  }
  player.stop();
  return failures;
}

test("a segment that failed once is asked for again, and nothing is left out", async () => {
  let isFailing = true;
  const service = new Service((name) => name === "s2" && isFailing && !(isFailing = false));
  assert.equal(await played(service, 6), 1);
  assert.deepEqual(service.asked, ["s0", "s1", "s2", "s2", "s3", "s4", "s5", "s6", "s7"]);
  assert.equal(MediaSource.last.buffer.listening, 0);
});

test("after the ring took segments one failure is enough to go on at the oldest that is left", async () => {
  const service = new Service((name) => {
    if (name !== "s0") return false;
    service.first = 5;
    return true;
  });
  assert.equal(await played(service, 6), 1);
  assert.deepEqual(service.asked, ["s0", "s5", "s6", "s7"]);
});

test("a segment that can never be had is left out after three times", async () => {
  const service = new Service((name) => name === "s1");
  assert.equal(await played(service, 12), 3);
  assert.deepEqual(service.asked, ["s0", "s1", "s1", "s1", "s2", "s3", "s4", "s5", "s6", "s7"]);
});
