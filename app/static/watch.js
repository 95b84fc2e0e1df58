// A viewer of one channel: signaling and, over it, one player after another for as long as the page wants a picture.

import { Backoff } from "./backoff.js";
import { besidePicture, failures } from "./failures.js";
import { Player } from "./player.js";
import { Signaling } from "./signaling.js";

const ANSWER_HINT_MS = 3_000; // without an answer for this long, say that no master is there
const OFFER_AGAIN_MS = 50_000; // the service holds an offer for 60 s by default: renew it before
const STABLE_MS = 5_000;

/**
 * States: `connecting`, `negotiating`, `waiting` (no master), `playing`, `recovering`, `refused` (retries), `failed` (does not).
 * Events: `change`; `stream` (detail MediaStream).
 */
export class Watch extends EventTarget {
  #channel;
  #options;
  #signaling;
  #player = null;
  #prepared = null;
  #generation = 0;
  #backoff = new Backoff({ first: 1_000, most: 15_000 });
  #timers = new Set();
  #isStopped = false;
  #downs = 0;
  #refusal = null;

  /** `options` is `{relay, trickle, codec, expiresAt}`. */
  constructor(channel, options = {}) {
    super();
    this.#channel = channel;
    this.#options = { relay: false, trickle: true, codec: "", expiresAt: null, ...options };
    this.#signaling = new Signaling(channel, { expiresAt: this.#options.expiresAt });
    this.state = "connecting";
    this.failure = null;
    this.retryAt = null;
    this.signaling = "connecting";
    this.offers = 0;
    this.#listen();
  }

  get player() {
    return this.#player;
  }

  get isPlaying() {
    return Boolean(this.#player && !this.#player.isClosed && this.#player.connectedAt !== null);
  }

  get #playingState() {
    return this.#player.isPictured ? "playing" : "negotiating";
  }

  /** Connect and keep trying; ends only by `stop` or a final failure. */
  start() {
    this.#signaling.run();
    this.#prepare().catch(() => this.#prepared?.close()); // a failure shows when an offer is sent
  }

  // What the first offer takes is done while the socket opens.
  async #prepare() {
    this.#prepared = this.#newPlayer();
    await this.#prepared.prepare(this.#iceServers());
  }

  /** Told by the screen: the first frame of `player` is shown. */
  pictured(player) {
    if (player !== this.#player || player.isClosed) return;
    player.pictured();
    this.#change("playing", this.signaling === "open" ? null : this.failure);
    this.#after(STABLE_MS, () => this.#backoff.reset());
  }

  /** Skip the wait before the next try. */
  retryNow() {
    this.#signaling.retryNow();
    if (this.#signaling.isOpen && !this.isPlaying) this.#offer();
  }

  stop() {
    this.#isStopped = true;
    this.#clearTimers();
    this.#player?.close();
    this.#prepared?.close();
    this.#signaling.stop();
  }

  #listen() {
    const signaling = this.#signaling;
    signaling.addEventListener("open", () => {
      this.signaling = "open";
      this.#downs = 0;
      if (this.isPlaying) this.#change(this.#playingState);
      else this.#offer();
    });
    signaling.addEventListener("message", ({ detail }) => this.#receive(detail));
    signaling.addEventListener("down", ({ detail }) => {
      this.signaling = "down";
      this.#downs += 1;
      this.#signalingFailed(detail.failure, detail.waitMs, "refused");
    });
    signaling.addEventListener("refused", ({ detail }) => {
      this.signaling = "refused";
      this.#refusal = detail;
      this.#signalingFailed(detail, null, "failed");
    });
  }

  // The media outlives the signaling: a picture that plays goes on, with the failure beside it unless the first
  // reconnect mends it.
  #signalingFailed(failure, waitMs, state) {
    if (this.isPlaying) {
      const isTold = this.#downs > 1 || failure.isFinal;
      return this.#change(this.#playingState, isTold ? besidePicture(failure) : null, isTold ? waitMs : null);
    }
    this.#clearTimers();
    this.#player?.close();
    this.#prepared?.close();
    const isAway = ["signaling-lost", "unreachable"].includes(failure.kind);
    return this.#change(isAway && state === "refused" ? "connecting" : state, failure, waitMs);
  }

  #receive({ type, payload, status }) {
    const player = this.#player;
    if (type === "SDP_ANSWER" && payload) player?.answer(payload);
    if (type === "ICE_CANDIDATE" && payload) player?.addCandidate(payload);
    if (type === "STATUS_RESPONSE" && status?.correlationId === this.#correlationId && !player?.isAnswered) {
      this.#change("waiting", failures.noMaster(this.#channel.name, this.#channel.origin));
      this.#again(this.#backoff.next());
    }
  }

  get #correlationId() {
    return `offer-${this.#generation}`;
  }

  #offer() {
    this.#clearTimers();
    this.#player?.close();
    this.#generation += 1;
    if (this.state !== "waiting") this.#change(this.offers ? "recovering" : "negotiating", this.failure);
    const player = this.#prepared?.isClosed === false ? this.#prepared : this.#newPlayer();
    this.#prepared = null;
    this.#player = player;
    this.offers += 1;
    player.addEventListener("stream", ({ detail }) => this.dispatchEvent(new CustomEvent("stream", { detail })));
    player.addEventListener("answered", () => {
      this.#clearTimers();
      if (this.state === "waiting") this.#change("negotiating");
    });
    player.addEventListener("ended", ({ detail }) => this.#ended(detail));
    this.#after(ANSWER_HINT_MS, () => this.#change("waiting", failures.noMaster(this.#channel.name, this.#channel.origin)));
    this.#after(OFFER_AGAIN_MS, () => this.#offer());
    player.start(this.#iceServers());
  }

  #newPlayer() {
    const correlated = () => ({ correlationId: this.#correlationId });
    return new Player(this.#options, (type, payload) => this.#signaling.send(type, payload, type === "SDP_OFFER" ? correlated() : {}));
  }

  // Where a relay is not a must, a direct path may do without any.
  #iceServers() {
    return this.#channel.iceServers().catch((error) => {
      if (this.#options.relay) throw failures.noRelay(error.message);
      return [];
    });
  }

  // At once after a picture that played, then with back-off.
  #ended(failure) {
    this.#clearTimers();
    if (this.#refusal) return this.#change("failed", this.#refusal);
    const played = this.#player?.connectedAt;
    const lived = played ? performance.now() - played : 0;
    const waitMs = lived > STABLE_MS ? 0 : this.#backoff.next();
    this.#change("recovering", failure, waitMs);
    return this.#again(waitMs);
  }

  #again(waitMs) {
    this.#clearTimers();
    this.#after(waitMs, () => {
      if (this.#signaling.isOpen) this.#offer(); // else the next `open` does it
    });
  }

  #change(state, failure = null, waitMs = null) {
    if (this.#isStopped) return;
    this.state = state;
    this.failure = failure;
    this.retryAt = waitMs === null ? null : performance.now() + waitMs;
    this.dispatchEvent(new CustomEvent("change"));
  }

  #after(milliseconds, act) {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      act();
    }, milliseconds);
    this.#timers.add(timer);
  }

  #clearTimers() {
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
  }
}
