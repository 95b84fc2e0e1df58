import assert from "node:assert/strict";
import test from "node:test";

import { ServiceError, UnreachableError } from "../../../app/static/api.js";
import { besidePicture, countTypes, failureOf, failureOfCamera, failureOfClose, failures } from "../../../app/static/failures.js";

const CONTEXT = { origin: "http://host:1", channel: "demo", role: "VIEWER", clientId: "me", expiresAt: null };

function refused(code, status = 400, limit = null) {
  return failureOf(new ServiceError(code, "said the service.", status, limit), CONTEXT);
}

test("each refusal of the service has its kind", () => {
  const kinds = {
    MissingAuthenticationTokenException: "no-token",
    ExpiredTokenException: "token-expired",
    UnrecognizedClientException: "token-refused",
    AccessDeniedException: "not-allowed",
    NotAuthorizedException: "not-allowed",
    ResourceNotFoundException: "no-channel",
    InvalidArgumentException: "invalid",
    InternalFailureException: "service-failed",
  };
  for (const [code, kind] of Object.entries(kinds)) assert.equal(refused(code).kind, kind, code);
});

test("a recording that is not there is waited for, with the command that makes it", () => {
  const error = new ServiceError("ResourceNotFoundException", "there is no recording of demo", 404, null);
  const failure = failureOf(error, { ...CONTEXT, role: "RECORDING" });
  assert.equal(failure.kind, "no-recording");
  assert.equal(failure.isFinal, false);
  assert.equal(failure.command, "heliograph master --channel demo --endpoint http://host:1 --record DIR");
});

test("a full channel names the limit and when to come back", () => {
  const failure = refused("ClientLimitExceededException", 400, { name: "viewers_per_channel", value: 10, retryAfterSeconds: 5 });
  assert.equal(failure.kind, "full");
  assert.equal(failure.sentence, "Channel “demo” is full: the limit viewers_per_channel is 10.");
  assert.equal(failure.retryAfterMs, 5000);
  assert.equal(failure.isFinal, false);
});

test("a rate is a limit, but does not make the channel full", () => {
  const failure = refused("ClientLimitExceededException", 400, { name: "viewer_connects_per_second", value: 3, retryAfterSeconds: 1 });
  assert.equal(failure.kind, "limited");
  assert.match(failure.sentence, /viewer_connects_per_second is 3/);
});

test("a refused token that has run out is called expired", () => {
  const error = new ServiceError("UnrecognizedClientException", "", 403);
  assert.equal(failureOf(error, { ...CONTEXT, expiresAt: Date.now() - 1 }).kind, "token-expired");
});

test("a service that does not answer is tried again, a missing channel is not", () => {
  const unreachable = failureOf(new UnreachableError("http://host:1"), CONTEXT);
  assert.equal(unreachable.isFinal, false);
  assert.match(unreachable.sentence, /http:\/\/host:1/);
  assert.equal(refused("ResourceNotFoundException", 404).isFinal, true);
});

test("a socket closed for a newer one is final, any other close is not", () => {
  const replaced = failureOfClose({ code: 1000, reason: "replaced by a newer master" }, { ...CONTEXT, role: "MASTER" });
  assert.deepEqual([replaced.kind, replaced.isFinal], ["replaced", true]);
  const sameId = failureOfClose({ code: 1000, reason: "replaced by a newer connection of this client id" }, CONTEXT);
  assert.match(sameId.sentence, /“me”/);
  assert.equal(failureOfClose({ code: 1001, reason: "going away" }, CONTEXT).isFinal, false);
  assert.equal(failureOfClose({ code: 1006, reason: "" }, CONTEXT).kind, "signaling-lost");
});

test("a token that is needed again is asked for with the reason", () => {
  assert.match(failures.noToken().sentence, /needs a token.*memory only/);
  assert.equal(failures.noToken("reload").sentence, "This page needs its token again: it keeps the token in memory only, so a reload forgets it.");
  assert.match(failures.noToken("back_forward").sentence, /leaving the page forgets it/);
  assert.match(failures.noToken().next, /heliograph demo.*heliograph token/);
});

test("a failure beside a picture that plays says both", () => {
  const beside = besidePicture(failures.unreachable("http://host:1"));
  assert.equal(beside.sentence, "The picture goes on, but the service at http://host:1 does not answer.");
  assert.deepEqual([beside.kind, beside.isFinal], ["unreachable", false]);
  assert.equal(besidePicture(failures.tokenExpired(null)).isFinal, true);
});

test("commands name this service and are whole", () => {
  assert.equal(failures.noMaster("demo", "http://host:1").command, "heliograph master --channel demo --endpoint http://host:1");
  assert.equal(refused("ResourceNotFoundException", 404).command, "heliograph channel create demo --endpoint http://host:1");
  assert.equal(failures.insecureContext("http://host:9000").command, "ssh -N -L 9000:127.0.0.1:9000 host");
  assert.equal(failures.insecureContext("http://[2001:db8::1]").command, "ssh -N -L 8080:127.0.0.1:80 2001:db8::1");
});

test("a failed ICE names the candidates tried and what to do", () => {
  const none = failures.iceFailed({ local: ["host", "host"], remote: ["host"], relayOnly: false, errors: ["turn:h:1 did not answer"] });
  assert.match(none.sentence, /tried 2 host here, 1 host there/);
  assert.match(none.next, /TURN port.*turn:h:1 did not answer/s);
  const relayed = failures.iceFailed({ local: ["relay"], remote: ["host"], relayOnly: true, errors: [] });
  assert.match(relayed.next, /automatic path/);
});

test("every failure says what happened and what to do next", () => {
  const made = [
    failures.noToken(), failures.noChannelGiven(), failures.tokenExpired(null), failures.tokenRefused("why."), failures.notAllowed("demo", "MASTER"),
    failures.noChannel("demo", "http://h"), failures.limitReached("demo", null, "too many"), failures.unreachable("http://h"), failures.serviceFailed("X", ""),
    failures.signalingLost(1006, ""), failures.replacedViewer("me"), failures.replacedMaster("demo"), failures.noMaster("demo", "http://h"), failures.noRelay(""),
    failures.mediaStopped(3), failures.noMedia(30), failures.peerClosed(), failures.negotiationFailed("why"), failures.insecureContext("http://h:1"),
    failures.cameraDenied(), failures.cameraMissing(), failures.cameraBusy(""),
  ];
  for (const failure of made) {
    assert.match(failure.sentence, /^[A-Z].*\.$/s, failure.kind);
    assert.match(failure.next, /^[A-Z].*[.:]$/s, failure.kind);
    assert.doesNotMatch(failure.sentence + failure.next, /undefined|null|\.\./, failure.kind);
    if (failure.next.endsWith(":")) assert.ok(failure.command, failure.kind);
  }
});

test("errors of the camera are told apart", () => {
  const kinds = { NotAllowedError: "camera-denied", NotFoundError: "camera-missing", NotReadableError: "camera-busy" };
  for (const [name, kind] of Object.entries(kinds)) assert.equal(failureOfCamera({ name, message: "" }).kind, kind);
});

test("candidates are counted by type", () => {
  assert.equal(countTypes(["relay", "host", "host"]), "2 host, 1 relay");
  assert.equal(countTypes([]), "no candidate");
});
