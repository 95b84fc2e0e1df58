// One viewer-side RTCPeerConnection, from offer to its end. It never retries: whoever made it decides what follows.

import { Control } from "./control.js";
import { failures } from "./failures.js";
import { Pulse } from "./pulse.js";

const GATHER_LIMIT_MS = 2_000; // without trickle: how long to wait for candidates
const CONNECT_LIMIT_MS = 12_000; // from the answer to a connected pair
const DISCONNECT_LIMIT_MS = 3_000;
const STALL_CHECK_MS = 500;

/** Events: `stream` (detail MediaStream); `answered`; `connected`; `ended` (detail Failure), once. */
export class Player extends EventTarget {
  #options;
  #send;
  #connection;
  #audio = null;
  #stream = new MediaStream();
  #early = [];
  #made = null;
  #applied = null;
  #isOffered = false;
  #unsent = [];
  #local = [];
  #remote = [];
  #errors = [];
  #timers = new Set();
  #whenGathered = () => {};
  #isClosed = false;
  #answered = false;

  /** `options` is `{relay, trickle, codec}`; `send(type, payload)` carries messages to the master. */
  constructor(options, send) {
    super();
    this.#options = options;
    this.#send = send;
    this.#connection = new RTCPeerConnection(this.#configuration);
    this.control = new Control(this.#connection);
    this.offeredAt = 0;
    this.answeredAt = null;
    this.connectedAt = null;
    this.isPictured = false;
    this.#listen();
  }

  get isAnswered() {
    return this.#answered;
  }

  get isClosed() {
    return this.#isClosed;
  }

  /** Whether the master takes sound. */
  get canTalk() {
    return ["sendrecv", "sendonly"].includes(this.#audio?.currentDirection);
  }

  /** Send this track of a microphone from now on, or nothing. */
  talk(track) {
    if (!this.#isClosed && this.canTalk) this.#audio.sender.replaceTrack(track).catch(() => {}); // closed meanwhile
  }

  getStats() {
    return this.#connection.getStats();
  }

  /** Make the offer and find candidates ahead, so that nothing is left but to send it; `servers` promises ICE servers. */
  prepare(servers) {
    servers.catch(() => {}); // told by `start`; of a second promise nobody hears, for the first servers stay
    this.#made ??= this.#make();
    this.#applied ??= this.#apply(servers);
    return this.#applied;
  }

  /** Send the offer; with trickle at once, without it when gathering is over. Relays alone need servers first. */
  async start(servers) {
    this.offeredAt = performance.now();
    try {
      const applied = this.prepare(servers);
      if (this.#options.relay || !this.#options.trickle) await applied;
      if (!this.#options.trickle) await this.#gathered();
      this.#offer(this.#connection.localDescription ?? (await this.#made));
      await applied;
    } catch (error) {
      this.#end(error.kind ? error : failures.negotiationFailed(error.message));
    }
  }

  #offer({ type, sdp }) {
    if (this.#isClosed) return;
    this.#isOffered = true;
    this.#send("SDP_OFFER", { type, sdp });
    for (const candidate of this.#unsent.splice(0)) {
      if (!sdp.includes(candidate.candidate)) this.#tell(candidate);
    }
  }

  get #configuration() {
    const iceTransportPolicy = this.#options.relay ? "relay" : "all";
    return { iceTransportPolicy, bundlePolicy: "max-bundle", rtcpMuxPolicy: "require" };
  }

  async #make() {
    const video = this.#connection.addTransceiver("video", { direction: "recvonly" });
    const audio = this.#connection.addTransceiver("audio", { direction: "sendrecv" }); // silent until somebody talks
    this.#audio = audio;
    preferCodec(video, this.#options.codec);
    for (const { receiver } of [video, audio]) {
      if ("jitterBufferTarget" in receiver) receiver.jitterBufferTarget = 0; // live: rather a late frame lost than all frames late
    }
    return this.#connection.createOffer();
  }

  async #apply(servers) {
    const [offer, iceServers] = await Promise.all([this.#made, servers]);
    if (this.#isClosed) return;
    this.#connection.setConfiguration({ ...this.#configuration, iceServers });
    await this.#connection.setLocalDescription(offer);
  }

  #tell(candidate) {
    if (this.#options.trickle) this.#send("ICE_CANDIDATE", candidate.toJSON());
  }

  /** Apply the master's answer. */
  async answer(description) {
    if (this.#isClosed || this.#answered) return;
    this.#answered = true;
    this.answeredAt = performance.now();
    this.#remote.push(...candidateTypes(description.sdp ?? ""));
    try {
      await this.#applied;
      await this.#connection.setRemoteDescription(description);
    } catch (error) {
      this.#end(failures.negotiationFailed(error.message));
      return;
    }
    for (const candidate of this.#early.splice(0)) await this.#add(candidate);
    this.#emit("answered");
    this.#after(CONNECT_LIMIT_MS, () => {
      if (this.connectedAt === null) this.#end(this.#iceFailure());
    });
  }

  /** Take a candidate of the master, also one that overtook the answer. */
  async addCandidate(candidate) {
    if (this.#isClosed || !candidate) return;
    this.#remote.push(...candidateTypes(candidate.candidate ?? ""));
    if (this.#connection.remoteDescription) await this.#add(candidate);
    else this.#early.push(candidate);
  }

  /** Told that a picture is shown, which is at times sooner than the browser's own word that it is connected. */
  pictured() {
    this.isPictured = true;
    this.#connected();
  }

  /** End without an event. */
  close() {
    this.#isClosed = true;
    for (const timer of this.#timers) clearTimeout(timer);
    this.#connection.close();
  }

  #listen() {
    const connection = this.#connection;
    connection.onicecandidate = ({ candidate }) => {
      if (!candidate?.candidate) return;
      this.#local.push(...candidateTypes(candidate.candidate));
      if (this.#isOffered) this.#tell(candidate);
      else this.#unsent.push(candidate); // the offer, which is made ahead, will name it
    };
    connection.onicecandidateerror = ({ url, errorCode, errorText }) => {
      this.#errors.push(`${url} ${errorCode === 701 ? "did not answer" : `answered ${errorCode} ${errorText}`}`);
    };
    connection.onicegatheringstatechange = () => this.#gatheringChanged(connection.iceGatheringState);
    connection.ontrack = ({ track, receiver }) => {
      this.#stream.addTrack(track);
      if (receiver.transport) receiver.transport.onstatechange = () => this.#transportChanged(receiver.transport.state);
      if (track.kind === "video") this.#emit("stream", this.#stream);
    };
    connection.onconnectionstatechange = () => this.#connectionChanged(connection.connectionState);
  }

  #connectionChanged(state) {
    if (this.#isClosed) return;
    if (state === "connected") this.#connected();
    if (state === "failed") this.#end(this.connectedAt === null ? this.#iceFailure() : failures.mediaStopped(DISCONNECT_LIMIT_MS / 1000));
    if (state === "closed") this.#end(failures.peerClosed());
    if (state === "disconnected") {
      this.#after(DISCONNECT_LIMIT_MS, () => {
        if (this.#connection.connectionState === "disconnected") this.#end(failures.mediaStopped(DISCONNECT_LIMIT_MS / 1000));
      });
    }
  }

  #connected() {
    if (this.connectedAt !== null) return;
    this.connectedAt = performance.now();
    this.#emit("connected");
    this.#watchMedia(new Pulse(this.connectedAt));
  }

  #transportChanged(state) {
    if (state === "closed" || state === "failed") this.#end(failures.peerClosed());
  }

  // A peer that vanished without a word: connected, but nothing comes any more.
  #watchMedia(pulse) {
    this.#after(STALL_CHECK_MS, async () => {
      const report = await this.#connection.getStats();
      if (this.#isClosed) return;
      const seconds = pulse.silentFor(report, performance.now());
      if (seconds === null) this.#watchMedia(pulse);
      else this.#end(pulse.hasBegun ? failures.mediaStopped(seconds) : failures.noMedia(seconds));
    });
  }

  #iceFailure() {
    return failures.iceFailed({ local: this.#local, remote: this.#remote, relayOnly: this.#options.relay, errors: this.#errors });
  }

  async #add(candidate) {
    try {
      await this.#connection.addIceCandidate(candidate);
    } catch {
      // of an earlier offer, or of a kind this browser does not know: the other candidates decide
    }
  }

  #gathered() {
    if (this.#connection.iceGatheringState === "complete") return Promise.resolve();
    return new Promise((resolve) => {
      this.#after(GATHER_LIMIT_MS, resolve);
      this.#whenGathered = resolve;
    });
  }

  // Nothing gathered: no answer of the master can help, so don't wait for one.
  #gatheringChanged(state) {
    if (state !== "complete") return;
    this.#whenGathered();
    if (!this.#local.length) this.#end(this.#iceFailure());
  }

  #end(failure) {
    if (this.#isClosed) return;
    this.close();
    this.#emit("ended", failure);
  }

  #after(milliseconds, act) {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      act();
    }, milliseconds);
    this.#timers.add(timer);
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** Types of all candidates in an SDP or a candidate line: "host", "srflx", "prflx" or "relay". */
export function candidateTypes(text) {
  return Array.from(text.matchAll(/candidate:\S.*? typ (host|srflx|prflx|relay)/g), (match) => match[1]);
}

// The chosen codec alone. Without a choice H.264 comes first, all others after it: masters go by the order of the
// offer, cameras and the AWS SDKs send H.264, and so one encoder of the master serves browsers and devices alike.
function preferCodec(transceiver, codec) {
  if (!transceiver.setCodecPreferences) return;
  const { codecs } = RTCRtpReceiver.getCapabilities("video");
  const isWanted = (entry) => entry.mimeType.toUpperCase() === `VIDEO/${codec || "H264"}`;
  const isCarrier = (entry) => /\/(rtx|red|ulpfec|flexfec-03)$/i.test(entry.mimeType);
  const others = codecs.filter((entry) => !isWanted(entry) && (!codec || isCarrier(entry)));
  transceiver.setCodecPreferences([...codecs.filter(isWanted), ...others]);
}
