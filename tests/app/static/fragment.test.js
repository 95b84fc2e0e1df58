import assert from "node:assert/strict";
import test from "node:test";

import { readFragment, writeFragment } from "../../../app/static/fragment.js";

test("a fragment carries channel, token and switches", () => {
  assert.deepEqual(readFragment("#channel=demo&token=a.b.c&relay=1&trickle=0&codec=vp8&client=me"), {
    channel: "demo",
    token: "a.b.c",
    clientId: "me",
    relay: true,
    trickle: false,
    codec: "VP8",
  });
});

test("an empty fragment gives the defaults, unknown values are ignored", () => {
  const defaults = { channel: "", token: "", clientId: "", relay: false, trickle: true, codec: "" };
  assert.deepEqual(readFragment(""), defaults);
  assert.deepEqual(readFragment("#relay=yes&trickle=1&codec=AV1&x=y"), defaults);
});

test("what is written is read back", () => {
  const options = { channel: "a.b_c-1", token: "x.y-_.z", clientId: "me", relay: true, trickle: false, codec: "H264" };
  assert.deepEqual(readFragment(writeFragment(options)), options);
});

test("nothing to say is no fragment at all", () => {
  assert.equal(writeFragment({}), "");
});
