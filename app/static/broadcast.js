// A browser as the master of a channel: one peer connection per viewer, all fed by one camera stream.

import { failureOf } from "./failures.js";
import { Signaling } from "./signaling.js";
import { summariseOutbound } from "./statistics.js";

const DISCONNECT_LIMIT_MS = 10_000;
const EARLY_LIMIT = 64; // candidates kept per viewer before its offer
const VIEWER_LIMIT = 64;

/**
 * States: `connecting`, `open`, `down` (reconnects, viewers stay), `ended` (replaced or refused).
 * Events: `change`; `viewers` (the list changed).
 */
export class Broadcast extends EventTarget {
  #channel;
  #stream;
  #signaling;
  #peers = new Map();
  #early = new Map();

  constructor(channel, stream, { expiresAt = null } = {}) {
    super();
    this.#channel = channel;
    this.#stream = stream;
    this.#signaling = new Signaling(channel, { expiresAt });
    this.state = "connecting";
    this.failure = null;
    this.retryAt = null;
    this.#listen();
  }

  start() {
    this.#channel.iceServers().catch(() => {});
    this.#signaling.run();
  }

  /** Leave the channel and end all peers. */
  stop() {
    this.#signaling.stop();
    this.#closePeers();
  }

  retryNow() {
    this.#signaling.retryNow();
  }

  /** Send another stream to all viewers without a new negotiation. */
  async replaceStream(stream) {
    this.#stream = stream;
    for (const { connection } of this.#peers.values()) {
      for (const sender of connection.getSenders()) {
        const track = stream.getTracks().find((candidate) => candidate.kind === sender.track?.kind);
        if (track) await sender.replaceTrack(track);
      }
    }
  }

  /** `[{clientId, state, summary | null}]`, oldest first. */
  async viewers() {
    const rows = [];
    for (const [clientId, peer] of this.#peers) {
      peer.summary = summariseOutbound(await peer.connection.getStats(), peer.summary) ?? peer.summary;
      rows.push({ clientId, state: peer.connection.connectionState, summary: peer.summary });
    }
    return rows;
  }

  #listen() {
    this.#signaling.addEventListener("open", () => this.#change("open"));
    this.#signaling.addEventListener("message", ({ detail }) => this.#receive(detail));
    this.#signaling.addEventListener("down", ({ detail }) => this.#change("down", detail.failure, detail.waitMs));
    this.#signaling.addEventListener("refused", ({ detail }) => {
      this.#closePeers();
      this.#change("ended", detail);
    });
  }

  #receive({ type, payload, sender }) {
    if (!sender || !payload) return;
    if (type === "SDP_OFFER") this.#accept(sender, payload);
    if (type === "ICE_CANDIDATE") this.#candidate(sender, payload);
  }

  // An offer of a known client id starts that viewer anew.
  async #accept(clientId, offer) {
    this.#drop(clientId);
    if (this.#peers.size >= VIEWER_LIMIT) return;
    const connection = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
    const peer = { connection, summary: null, candidates: this.#early.get(clientId) ?? [], isReady: false };
    this.#early.delete(clientId);
    this.#peers.set(clientId, peer);
    this.#follow(clientId, peer);
    try {
      connection.setConfiguration({ bundlePolicy: "max-bundle", iceServers: await this.#channel.iceServers().catch(() => []) });
      await connection.setRemoteDescription(offer);
      this.#addTracks(connection);
      const answer = await connection.createAnswer();
      const applied = connection.setLocalDescription(answer);
      this.#signaling.send("SDP_ANSWER", { type: "answer", sdp: answer.sdp }, { recipient: clientId });
      await applied;
      peer.isReady = true;
      for (const candidate of peer.candidates.splice(0)) await this.#add(connection, candidate);
    } catch (error) {
      console.warn("viewer refused", clientId, failureOf(error).kind);
      this.#drop(clientId);
    }
  }

  // Tracks go into the transceivers that the offer made, so no further negotiation follows.
  #addTracks(connection) {
    for (const track of this.#stream.getTracks()) {
      const isOffered = connection.getTransceivers().some(({ receiver }) => receiver.track.kind === track.kind);
      if (isOffered) connection.addTrack(track, this.#stream);
    }
    for (const transceiver of connection.getTransceivers()) {
      if (transceiver.direction === "sendrecv") transceiver.direction = "sendonly"; // a camera page plays nothing
    }
  }

  #follow(clientId, { connection }) {
    connection.onicecandidate = ({ candidate }) => {
      if (candidate?.candidate) this.#signaling.send("ICE_CANDIDATE", candidate.toJSON(), { recipient: clientId });
    };
    connection.onconnectionstatechange = () => {
      const state = connection.connectionState;
      if (state === "failed" || state === "closed") this.#dropIf(clientId, connection);
      if (state === "disconnected") setTimeout(() => this.#dropIf(clientId, connection, "disconnected"), DISCONNECT_LIMIT_MS);
      this.#emit("viewers");
    };
    this.#emit("viewers");
  }

  #candidate(clientId, candidate) {
    const peer = this.#peers.get(clientId);
    if (peer?.isReady) {
      this.#add(peer.connection, candidate);
      return;
    }
    const waiting = peer?.candidates ?? this.#early.get(clientId) ?? [];
    if (waiting.length < EARLY_LIMIT) waiting.push(candidate);
    if (!peer && (this.#early.has(clientId) || this.#early.size < VIEWER_LIMIT)) this.#early.set(clientId, waiting);
  }

  async #add(connection, candidate) {
    try {
      await connection.addIceCandidate(candidate);
    } catch {
      // of an offer that was replaced meanwhile
    }
  }

  #dropIf(clientId, connection, state = null) {
    const isCurrent = this.#peers.get(clientId)?.connection === connection;
    if (isCurrent && (state === null || connection.connectionState === state)) this.#drop(clientId);
  }

  #drop(clientId) {
    this.#peers.get(clientId)?.connection.close();
    if (this.#peers.delete(clientId)) this.#emit("viewers");
  }

  #closePeers() {
    for (const clientId of [...this.#peers.keys()]) this.#drop(clientId);
  }

  #change(state, failure = null, waitMs = null) {
    this.state = state;
    this.failure = failure;
    this.retryAt = waitMs === null ? null : performance.now() + waitMs;
    this.#emit("change");
  }

  #emit(type) {
    this.dispatchEvent(new CustomEvent(type));
  }
}
