import assert from "node:assert/strict";
import test from "node:test";

import { newClientId, readClaims } from "../../../app/static/token.js";

function token(claims) {
  return ["{}", JSON.stringify(claims), "signature"].map((part) => Buffer.from(part).toString("base64url")).join(".");
}

test("claims name the client id, the end and the channels", () => {
  const claims = { cid: "küche", exp: 1_700_000_000, channels: ["arn:aws:kinesisvideo:us-west-2:000000000000:channel/demo/*"] };
  assert.deepEqual(readClaims(token(claims)), { clientId: "küche", expiresAt: 1_700_000_000_000, channels: ["demo"] });
});

test("a pattern with a wildcard in the name names no channel", () => {
  assert.deepEqual(readClaims(token({ channels: ["*", "arn:aws:kinesisvideo:*:*:channel/cam-*/*"] })).channels, []);
});

test("what is no JWT has no claims", () => {
  for (const text of ["", "a.b", "a.!!!.c", "a.bm90IGpzb24.c"]) assert.equal(readClaims(text), null);
});

test("client ids are accepted by the service and differ", () => {
  assert.match(newClientId(), /^web-[0-9a-f]{12}$/);
  assert.notEqual(newClientId(), newClientId());
});
