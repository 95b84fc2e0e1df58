import assert from "node:assert/strict";
import test from "node:test";

import { Control } from "../../../app/static/control.js";

/** A connection whose only channel remembers what was sent. */
function connected() {
  const channel = { readyState: "open", sent: [], send: (text) => channel.sent.push(JSON.parse(text)) };
  return { channel, control: new Control({ createDataChannel: () => channel }) };
}

function answer(channel, message) {
  channel.onmessage({ data: typeof message === "object" && !(message instanceof ArrayBuffer) ? JSON.stringify(message) : message });
}

test("the first pong makes it ready", async () => {
  const { channel, control } = connected();
  let ready = 0;
  control.addEventListener("ready", () => (ready += 1));
  channel.onopen();
  assert.equal(channel.sent[0].type, "ping");
  answer(channel, { type: "pong", id: channel.sent[0].id, data: 1 });
  await new Promise(setImmediate);
  const second = control.ping();
  answer(channel, { type: "pong", id: channel.sent[1].id });
  assert.ok((await second) >= 0);
  assert.equal(ready, 1);
});

test("a snapshot is put together from its pieces", async () => {
  const { channel, control } = connected();
  const picture = control.snapshot();
  answer(channel, { type: "snapshot", id: channel.sent[0].id, data: { mime: "image/jpeg", size: 3, pieces: 2 } });
  await new Promise(setImmediate);
  answer(channel, new Uint8Array([1, 2]).buffer);
  answer(channel, new Uint8Array([3]).buffer);
  const blob = await picture;
  assert.deepEqual([blob.type, blob.size], ["image/jpeg", 3]);
});

test("a refusal is told in the master's words, and strange answers are passed over", async () => {
  const { channel, control } = connected();
  const chosen = control.chooseLayer(7);
  assert.deepEqual(channel.sent[0], { type: "layer", id: 1, data: { layer: 7 } });
  answer(channel, { type: "layer", id: 99, data: {} });
  answer(channel, new Uint8Array([3]).buffer);
  answer(channel, { type: "error", id: 1, data: { reason: "no-such-layer", message: "there is no layer 7" } });
  await assert.rejects(chosen, /there is no layer 7/);
});

test("nothing is asked on a channel that is not open", async () => {
  const { channel, control } = connected();
  channel.readyState = "connecting";
  await assert.rejects(control.ping(), /cannot be asked/);
});
