import assert from "node:assert/strict";
import test from "node:test";

import { Backoff } from "../../../app/static/backoff.js";

test("the bound doubles up to the most, the wait is a share of it", () => {
  const backoff = new Backoff({ first: 100, most: 350, random: () => 0.5 });
  assert.deepEqual([backoff.next(), backoff.next(), backoff.next(), backoff.next()], [50, 100, 175, 175]);
});

test("after a reset it starts anew", () => {
  const backoff = new Backoff({ first: 100, most: 1000, random: () => 1 });
  backoff.next();
  backoff.next();
  backoff.reset();
  assert.equal(backoff.next(), 100);
});
