// A video element as the screen of a Watch: shows its streams, times the first frame, reads the burnt-in counter of each picture.

import { CounterReader, LatencyWindow, latencyOf } from "./counter.js";

const TELL_EVERY_MS = 200;
const LOOK_EVERY_MS = 1_000; // for a counter in pictures that had none, and where reading one is dear

/** Events: `frame` (the first of each player); `counter` (a counter was read). */
export class Screen extends EventTarget {
  #video;
  #watch;
  #reader = new CounterReader();
  #player = null;
  #lookedAt = -Infinity;
  #toldAt = 0;
  #isReading = false;
  #window = new LatencyWindow();
  #isStopped = false;

  constructor(video, watch) {
    super();
    this.#video = video;
    this.#watch = watch;
    this.openedAt = performance.now();
    this.firstFrameMs = null; // from the offer of the current player
    this.firstFrameSinceOpenMs = null; // from the opening of this screen, all calls included
    this.frameNumber = null;
    this.latencyMs = null; // of the last picture: from the drawing of its counter to its display
    watch.addEventListener("stream", ({ detail }) => this.#show(detail));
  }

  /** Glass to glass over the last 300 pictures: `{min, p50, p95, max, pictures}` in milliseconds, or null. */
  get latency() {
    return this.#window.summary();
  }

  stop() {
    this.#isStopped = true;
    this.#video.srcObject = null;
  }

  #show(stream) {
    const player = this.#watch.player;
    this.#player = player;
    this.#window.clear();
    this.#video.srcObject = stream;
    this.#video.play().catch(() => {}); // muted autoplay is allowed; where not, the browser's own control starts it
    this.#video.requestVideoFrameCallback((now, metadata) => {
      if (this.#player !== player || this.#isStopped) return;
      const shownAt = Math.max(now, metadata.presentationTime ?? now);
      this.firstFrameMs = shownAt - player.offeredAt;
      this.firstFrameSinceOpenMs ??= shownAt - this.openedAt;
      this.#watch.pictured(player);
      this.#emit("frame");
      this.#follow(player);
    });
  }

  #follow(player) {
    this.#video.requestVideoFrameCallback((now, metadata) => {
      if (this.#player !== player || this.#isStopped) return;
      const isWorth = (this.frameNumber !== null && this.#reader.isCheap) || now - this.#lookedAt >= LOOK_EVERY_MS;
      if (isWorth && !this.#isReading) {
        this.#lookedAt = now;
        this.#read(player, Math.max(metadata.presentationTime, metadata.expectedDisplayTime));
      }
      this.#follow(player);
    });
  }

  async #read(player, displayedAt) {
    this.#isReading = true;
    const counter = await this.#reader.read(this.#video).catch(() => null);
    this.#isReading = false;
    if (this.#player !== player || this.#isStopped) return;
    this.frameNumber = counter?.frame ?? null;
    this.latencyMs = counter ? latencyOf(counter.clock, Date.now() - performance.now() + displayedAt) : null;
    if (this.latencyMs !== null) this.#window.add(this.latencyMs);
    if (counter && performance.now() - this.#toldAt >= TELL_EVERY_MS) {
      this.#toldAt = performance.now();
      this.#emit("counter");
    }
  }

  #emit(type) {
    this.dispatchEvent(new CustomEvent(type));
  }
}
