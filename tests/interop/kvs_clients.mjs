// Scenarios of the stock JavaScript SDK (amazon-kinesis-video-streams-webrtc) under node: argv[2] names one, standard
// input holds its configuration as JSON, the result goes to standard output as JSON. With `credentials` the SDK's own
// SigV4RequestSigner signs; with `token` a requestSigner puts the JWT into the query.

import WebSocket from "ws";

globalThis.WebSocket = WebSocket; // node 20 has none of its own; the SDK reads the global
const { Role, SignalingClient } = await import("amazon-kinesis-video-streams-webrtc");

const OFFER = { type: "offer", sdp: "v=0\r\ns=caf\u00e9\r\n" };
const ANSWER = { type: "answer", sdp: "v=0\r\ns=th\u00e9\r\n" };
const LIMIT_MS = 40_000; // as long as a machine stalls, and within what this program may take

const configuration = JSON.parse(await new Response(process.stdin).text());
const clients = [];

function candidate(number) {
  return { candidate: `candidate:${number} 1 udp 1 192.0.2.1 ${4000 + number} typ host`, sdpMid: "0", sdpMLineIndex: 0 };
}

function access({ token = configuration.token, credentials = configuration.credentials }) {
  if (credentials) return { credentials };
  const getSignedURL = async (url, query) => `${url}?${new URLSearchParams({ ...query, token })}`;
  return { requestSigner: { getSignedURL } };
}

/** A client of the SDK that keeps its events: `events` is a list of `{name, payload, clientId}`. */
function client(role, { clientId, channelARN = configuration.arn, ...options } = {}) {
  const made = new SignalingClient({
    role,
    clientId,
    channelARN,
    channelEndpoint: role === Role.MASTER ? configuration.masterEndpoint : configuration.viewerEndpoint,
    region: "us-west-2",
    ...access(options),
  });
  const events = [];
  const waiting = new Set();
  for (const name of ["open", "close", "error", "sdpOffer", "sdpAnswer", "iceCandidate", "statusResponse"]) {
    made.on(name, (payload, sender) => {
      events.push({ name, payload: payload instanceof Error ? String(payload) : (payload ?? null), clientId: sender ?? null });
      for (const check of waiting) check();
    });
  }
  const named = (name) => events.filter((event) => event.name === name);
  const wait = (name, count = 1) =>
    new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`${role} ${clientId}: no ${name} in time; came: ${events.map((event) => event.name)}`)), LIMIT_MS);
      timer.unref(); // nothing to wait for once the sockets are closed
      const check = () => {
        if (named(name).length < count) return;
        clearTimeout(timer);
        waiting.delete(check);
        resolve(named(name));
      };
      waiting.add(check);
      check();
    });
  const handle = { sdk: made, events, named, wait };
  clients.push(handle);
  return handle;
}

async function opened(role, options) {
  const made = client(role, options);
  made.sdk.open();
  await made.wait("open");
  return made;
}

/** Whether the socket opens; a refusal is an `error`, then a `close`. */
async function admitted(role, options) {
  const made = client(role, options);
  made.sdk.open();
  const outcome = await Promise.race([made.wait("open").then(() => "open"), made.wait("close").then(() => "close")]);
  return { isOpen: outcome === "open", names: made.events.map((event) => event.name), made };
}

const viewer = (clientId, options = {}) => ({ clientId, ...options });

const scenarios = {
  async exchange() {
    const master = await opened(Role.MASTER);
    const watching = await opened(Role.VIEWER, viewer("watching"));
    watching.sdk.sendIceCandidate(candidate(1)); // early: before the offer
    watching.sdk.sendSdpOffer(OFFER);
    watching.sdk.sendIceCandidate(candidate(2));
    const offers = await master.wait("sdpOffer");
    const early = await master.wait("iceCandidate", 2);
    master.sdk.sendIceCandidate(candidate(3), "watching");
    master.sdk.sendSdpAnswer(ANSWER, "watching");
    master.sdk.sendIceCandidate(candidate(4), "watching");
    const answers = await watching.wait("sdpAnswer");
    const back = await watching.wait("iceCandidate", 2);
    return { offers, early, answers, back, sent: { offer: OFFER, answer: ANSWER, candidates: [1, 2, 3, 4].map(candidate) } };
  },

  async ghost() {
    const master = await opened(Role.MASTER);
    master.sdk.sendSdpAnswer(ANSWER, "nobody"); // without a correlation id: no word comes back
    master.sdk.sendSdpAnswer(ANSWER, "nobody", "asked");
    await master.wait("statusResponse");
    return { statuses: master.named("statusResponse") };
  },

  async secondMaster() {
    const first = await opened(Role.MASTER);
    const watching = await opened(Role.VIEWER, viewer("watching"));
    const second = await opened(Role.MASTER);
    await first.wait("close");
    watching.sdk.sendSdpOffer(OFFER);
    await second.wait("sdpOffer");
    return { first: first.events.map((event) => event.name), second: second.events.map((event) => event.name) };
  },

  async sameViewer() {
    const first = await opened(Role.VIEWER, viewer("same"));
    const second = await opened(Role.VIEWER, viewer("same"));
    await first.wait("close");
    const master = await opened(Role.MASTER);
    second.sdk.sendSdpOffer(OFFER);
    const [offer] = await master.wait("sdpOffer");
    return { first: first.events.map((event) => event.name), offer };
  },

  async crowd() {
    const inside = await Promise.all(Array.from({ length: 10 }, (_, index) => admitted(Role.VIEWER, viewer(`viewer-${index}`))));
    const eleventh = await admitted(Role.VIEWER, viewer("eleventh"));
    inside[3].made.sdk.close();
    await inside[3].made.wait("close");
    const next = await admitted(Role.VIEWER, viewer("eleventh"));
    return { inside: inside.map(({ isOpen }) => isOpen), eleventh: eleventh.names, next: next.names };
  },

  async viewerFirst() {
    const watching = await opened(Role.VIEWER, viewer("early-bird"));
    watching.sdk.sendSdpOffer({ type: "offer", sdp: "stale" });
    watching.sdk.sendSdpOffer(OFFER); // replaces the undelivered one
    for (const number of [1, 2, 3]) watching.sdk.sendIceCandidate(candidate(number));
    await new Promise((resolve) => setTimeout(resolve, configuration.masterAfterMs ?? 0));
    const master = await opened(Role.MASTER);
    await master.wait("iceCandidate", 3);
    return { offers: master.named("sdpOffer"), candidates: master.named("iceCandidate"), sent: OFFER };
  },

  async tokens() {
    const { tokens } = configuration;
    const results = {};
    const attempts = {
      viewerAsMaster: [Role.MASTER, { token: tokens.viewer }],
      masterAsViewer: [Role.VIEWER, viewer("me", { token: tokens.master })],
      otherChannel: [Role.VIEWER, viewer("me", { token: tokens.otherChannel })],
      otherClientId: [Role.VIEWER, viewer("you", { token: tokens.bound })],
      noToken: [Role.VIEWER, viewer("me", { token: "" })],
      ownClientId: [Role.VIEWER, viewer("me", { token: tokens.bound })],
      master: [Role.MASTER, { token: tokens.master }],
    };
    for (const [name, [role, options]] of Object.entries(attempts)) results[name] = (await admitted(role, options)).names;
    return results;
  },

  /** Each of `several` (name -> credentials) as a viewer, and a channel that is not there. */
  async signatures() {
    const results = {};
    for (const [name, credentials] of Object.entries(configuration.several)) {
      results[name] = (await admitted(Role.VIEWER, viewer("me", { credentials }))).names;
    }
    const channelARN = `${configuration.arn.slice(0, -13)}1700000000000`;
    results.unknownChannel = (await admitted(Role.VIEWER, viewer("me", { channelARN }))).names;
    return results;
  },
};

try {
  console.log(JSON.stringify(await scenarios[process.argv[2]]()));
} finally {
  for (const { sdk } of clients) sdk.close();
}
