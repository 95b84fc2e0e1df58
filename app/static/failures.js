// Every way a page can fail, each with one sentence that says what happened and one that says what to do next.

import { ServiceError, UnreachableError } from "./api.js";

/** What went wrong: `kind` for programs; `sentence` and `next` for people; `command` to copy; final ones are not retried. */
export class Failure extends Error {
  constructor(kind, sentence, next, { command = "", isFinal = false, retryAfterMs = null } = {}) {
    super(sentence);
    this.name = "Failure";
    Object.assign(this, { kind, sentence, next, command, isFinal, retryAfterMs });
  }
}

const ROLES = {
  MASTER: { may: "be the master of", action: "ConnectAsMaster" },
  VIEWER: { may: "watch", action: "ConnectAsViewer" },
  RECORDING: { may: "see the recording of", action: "GetRecording" },
};
const FORGOTTEN = { reload: "a reload forgets it", back_forward: "leaving the page forgets it" };

export const failures = {
  // `navigation` is how the page was come to, as PerformanceNavigationTiming.type says it.
  noToken: (navigation = "navigate") => {
    const forgotten = FORGOTTEN[navigation];
    const reason = "it keeps the token in memory only, so";
    return new Failure(
      "no-token",
      forgotten ? `This page needs its token again: ${reason} ${forgotten}.` : `This page needs a token at each opening: ${reason} a reload forgets it.`,
      "Paste a token here, or a link that holds one: `heliograph demo` prints such links, and for `heliograph serve` the command `heliograph token` makes a token.",
      { isFinal: true },
    );
  },
  noChannelGiven: () =>
    new Failure("no-channel-given", "This page was opened without a channel.", "Give its name here, or choose one on the page of channels.", {
      isFinal: true,
    }),
  tokenExpired: (expiresAt) =>
    new Failure(
      "token-expired",
      expiresAt !== null && expiresAt < Date.now() ? `The token expired at ${timeOfDay(expiresAt)}.` : "The token has expired.",
      "Make a new one with `heliograph token` and paste it here.",
      { isFinal: true },
    ),
  tokenRefused: (reason) =>
    new Failure("token-refused", `The service does not accept this token${reason ? `: ${asClause(reason)}` : ""}.`, "Paste one that this service made: a token is valid only where its key is known.", {
      isFinal: true,
    }),
  notAllowed: (channel, role) =>
    new Failure(
      "not-allowed",
      `This token may not ${ROLES[role].may} channel “${channel}”.`,
      `Ask for a token whose scope has ${ROLES[role].action} on this channel, and paste it here. A token may also be bound to another client id.`,
      { isFinal: true },
    ),
  noChannel: (channel, origin) =>
    new Failure("no-channel", `There is no channel “${channel}”.`, "Check the name, or create the channel, with a token of the role admin in `HELIOGRAPH_TOKEN`:", {
      command: `heliograph channel create ${channel} --endpoint ${origin}`,
      isFinal: true,
    }),
  noRecording: (channel, origin) =>
    new Failure("no-recording", `There is no recording of channel “${channel}” yet.`, "This page shows it as soon as there is one. To record it, with a token of the role master in `HELIOGRAPH_TOKEN`:", {
      command: `heliograph master --channel ${channel} --endpoint ${origin} --record DIR`,
    }),
  recordingsOff: () =>
    new Failure("recordings-off", "This service shows no recordings.", "Start it with the folder that masters of its machine record into:", {
      command: "heliograph serve --recordings DIR",
      isFinal: true,
    }),
  limitReached: (channel, limit, message) => {
    const seconds = limit?.retryAfterSeconds ?? null;
    const isFull = /viewers/i.test(limit?.name ?? message);
    const named = limit ? `the limit ${limit.name} is ${limit.value}` : asClause(message) || "a limit is reached";
    return new Failure(
      isFull ? "full" : "limited",
      isFull ? `Channel “${channel}” is full: ${named}.` : `The service holds back: ${named}.`,
      isFull ? "This page enters by itself as soon as a viewer leaves." : "This page tries again by itself.",
      { retryAfterMs: seconds === null ? null : seconds * 1000 },
    );
  },
  unreachable: (origin) =>
    new Failure("unreachable", `The service at ${origin} does not answer.`, "Check that it runs and that this machine can reach it; this page tries again by itself."),
  serviceFailed: (code, message) =>
    new Failure("service-failed", `The service answered ${code}${message ? `: ${asClause(message)}` : ""}.`, "Its log says more; this page tries again by itself."),
  signalingLost: (code, reason) =>
    new Failure("signaling-lost", `The connection to the service ended (${code}${reason ? `, ${asClause(reason)}` : ""}).`, "This page reconnects by itself."),
  replacedViewer: (clientId) =>
    new Failure("replaced", `Another page connected with the client id “${clientId}”.`, "Two viewers can't share one: close one of them, or choose another client id below.", {
      isFinal: true,
    }),
  replacedMaster: (channel) =>
    new Failure("replaced", `A newer master took over channel “${channel}” at ${timeOfDay(Date.now())}.`, "This camera has stopped. Start it again to take the channel back.", {
      isFinal: true,
    }),
  noMaster: (channel, origin) =>
    new Failure("no-master", `No master answers on channel “${channel}” yet.`, "The picture starts by itself as soon as one does. To start one, with a token of the role master in `HELIOGRAPH_TOKEN`:", {
      command: `heliograph master --channel ${channel} --endpoint ${origin}`,
    }),
  noRelay: (reason) =>
    new Failure("no-relay", `The service names no relay to this token: ${asClause(reason) || "no answer"}.`, "Choose the automatic path below, or ask for a token whose scope has GetIceServerConfig."),
  iceFailed: ({ local, remote, relayOnly, errors }) =>
    new Failure("ice-failed", `No path to the master worked: tried ${countTypes(local)} here, ${countTypes(remote)} there.`, iceAdvice(local, remote, relayOnly, errors)),
  mediaStopped: (seconds) =>
    new Failure("media-stopped", `The picture stopped: nothing came for ${seconds} s.`, "This page asks the master again by itself. If that lasts, check that the master still runs."),
  noMedia: (seconds) =>
    new Failure("no-media", `The master is connected, but no picture came within ${seconds} s.`, "This page asks it again by itself. If that lasts, look into the master's log: its source may have no key frame for longer."),
  peerClosed: () => new Failure("peer-closed", "The master ended this connection.", "This page asks for a new one by itself."),
  negotiationFailed: (reason) =>
    new Failure("negotiation-failed", `The master's answer can't be used: ${asClause(reason)}.`, "Try another codec below; this page tries again by itself."),
  insecureContext: (origin) =>
    new Failure("insecure-context", `A browser gives the camera only to a secure page, and ${origin} is plain HTTP.`, "Open this page over HTTPS, or as localhost through a tunnel:", {
      command: tunnelTo(origin),
      isFinal: true,
    }),
  cameraDenied: () =>
    new Failure("camera-denied", "The browser was not allowed to use the camera.", "Allow it by the camera symbol in the address bar, then start again.", { isFinal: true }),
  cameraMissing: () => new Failure("camera-missing", "No camera was found.", "Plug one in, then start again.", { isFinal: true }),
  cameraBusy: (reason) =>
    new Failure("camera-busy", `The camera did not start${reason ? `: ${asClause(reason)}` : ""}.`, "Close other programs that use it, or choose another camera or resolution.", {
      isFinal: true,
    }),
};

/** A failure of the signaling beside a picture that plays: the same, said so that both are understood. */
export function besidePicture({ kind, sentence, next, ...rest }) {
  const clause = sentence[0].toLowerCase() + sentence.slice(1);
  return new Failure(kind, `The picture goes on, but ${clause}`, next, rest);
}

/** The Failure behind an error of the REST surface; `context` is `{origin, channel, role, clientId, expiresAt}`. */
export function failureOf(error, { origin = "", channel = "", role = "VIEWER", expiresAt = null } = {}) {
  if (error instanceof Failure) return error;
  if (error instanceof UnreachableError) return failures.unreachable(error.origin);
  if (!(error instanceof ServiceError)) return failures.serviceFailed("nothing usable", String(error?.message ?? error));
  switch (error.code) {
    case "MissingAuthenticationTokenException":
      return failures.noToken();
    case "ExpiredTokenException":
      return failures.tokenExpired(expiresAt);
    case "UnrecognizedClientException":
    case "InvalidSignatureException":
      return expiresAt !== null && expiresAt < Date.now() ? failures.tokenExpired(expiresAt) : failures.tokenRefused(error.message);
    case "AccessDeniedException":
    case "NotAuthorizedException":
      return failures.notAllowed(channel, role);
    case "UnknownOperationException":
      return role === "RECORDING" ? failures.recordingsOff() : failures.serviceFailed(error.code, error.message);
    case "ResourceNotFoundException":
      if (role === "RECORDING" && /recording/.test(error.message)) return failures.noRecording(channel, origin);
      return failures.noChannel(channel, origin);
    case "ClientLimitExceededException":
      return failures.limitReached(channel, error.limit, error.message);
    case "InvalidArgumentException":
      return new Failure("invalid", `The service refused the request: ${asClause(error.message)}.`, "Correct the channel or client id and connect again.", { isFinal: true });
    default:
      return failures.serviceFailed(error.code, error.message);
  }
}

/** The Failure behind the end of a signaling socket. */
export function failureOfClose({ code, reason }, { channel, role, clientId }) {
  if (code === 1000 && /replaced by a newer/.test(reason)) {
    return role === "MASTER" ? failures.replacedMaster(channel) : failures.replacedViewer(clientId);
  }
  return failures.signalingLost(code, reason);
}

/** The Failure behind an error of getUserMedia. */
export function failureOfCamera(error) {
  switch (error?.name) {
    case "NotAllowedError":
    case "SecurityError":
      return failures.cameraDenied();
    case "NotFoundError":
      return failures.cameraMissing();
    default:
      return failures.cameraBusy(error?.message ?? "");
  }
}

/** "2 host, 1 relay" or "no candidate". */
export function countTypes(types) {
  const counts = new Map();
  for (const type of types) counts.set(type, (counts.get(type) ?? 0) + 1);
  const parts = ["host", "srflx", "prflx", "relay"].filter((type) => counts.has(type)).map((type) => `${counts.get(type)} ${type}`);
  return parts.length ? parts.join(", ") : "no candidate";
}

function iceAdvice(local, remote, relayOnly, errors) {
  const because = errors.length ? ` The relay said: ${asClause(errors[0])}.` : "";
  if (!local.includes("relay")) {
    return `No relay candidate was made here: check that the TURN port of the service is reachable by UDP from this machine.${because}`;
  }
  if (!remote.length) return "The master sent no candidate: check its network, then connect again.";
  if (relayOnly) return `The relay could not reach the master: switch to the automatic path, or check the peer rules of TURN.${because}`;
  return "Switch to relay only below; if that fails as well, a firewall stops UDP on one side.";
}

function asClause(text) {
  return text.trim().replace(/[.!]+$/, "");
}

function timeOfDay(milliseconds) {
  return new Date(milliseconds).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
}

// The page at the far end of this tunnel is one of localhost, at the service's own port where this machine may bind it.
function tunnelTo(origin) {
  const { hostname, port } = new URL(origin);
  const far = port || "80";
  return `ssh -N -L ${Number(far) < 1024 ? 8080 : far}:127.0.0.1:${far} ${hostname.replace(/^\[|\]$/g, "")}`;
}
