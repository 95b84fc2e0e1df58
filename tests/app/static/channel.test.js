import assert from "node:assert/strict";
import test from "node:test";

import { socketAddress } from "../../../app/static/channel.js";

test("a page that came over http stays with its own port", () => {
  const origin = "http://kvs.test:8080";
  for (const endpoint of ["wss://kvs.test:8443/viewer", "wss://v-0a1b2c3d.kvs.test"])
    assert.equal(socketAddress(endpoint, origin, "VIEWER"), "ws://kvs.test:8080/viewer");
  assert.equal(socketAddress("wss://[::1]:8443/master", "http://[::1]:8080", "MASTER"), "ws://[::1]:8080/master");
});

test("every other page goes where the answer says", () => {
  assert.equal(socketAddress("ws://kvs.test/viewer", "http://kvs.test", "VIEWER"), "ws://kvs.test/viewer");
  assert.equal(socketAddress("wss://v-0a1b2c3d.kvs.test", "https://kvs.test", "VIEWER"), "wss://v-0a1b2c3d.kvs.test");
});
