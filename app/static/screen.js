// A video element as the screen of a Watch: shows its streams, times the first frame, reads the burnt-in counter.

import { CounterReader, latencyOf } from "./counter.js";

const COUNTER_EVERY_MS = 200;

/** Events: `frame` (the first of each player); `counter` (a counter was read). */
export class Screen extends EventTarget {
  #video;
  #watch;
  #reader = new CounterReader();
  #player = null;
  #readAt = 0;
  #isStopped = false;

  constructor(video, watch) {
    super();
    this.#video = video;
    this.#watch = watch;
    this.openedAt = performance.now();
    this.firstFrameMs = null; // from the offer of the current player
    this.firstFrameSinceOpenMs = null; // from the opening of this screen, all calls included
    this.frameNumber = null;
    this.latencyMs = null;
    watch.addEventListener("stream", ({ detail }) => this.#show(detail));
  }

  stop() {
    this.#isStopped = true;
    this.#video.srcObject = null;
  }

  #show(stream) {
    const player = this.#watch.player;
    this.#player = player;
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
    if (this.#player !== player || this.#isStopped) return;
    const now = performance.now();
    if (now - this.#readAt >= COUNTER_EVERY_MS) {
      this.#readAt = now;
      this.#read();
    }
    this.#video.requestVideoFrameCallback(() => this.#follow(player));
  }

  #read() {
    const counter = this.#reader.read(this.#video);
    this.frameNumber = counter?.frame ?? null;
    this.latencyMs = counter ? latencyOf(counter.clock, Date.now()) : null;
    if (counter) this.#emit("counter");
  }

  #emit(type) {
    this.dispatchEvent(new CustomEvent(type));
  }
}
