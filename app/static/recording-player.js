// Plays a recording by Media Source Extensions: fetches what the playhead needs, skips gaps, keeps little in memory.

import { parsePlaylist, typeOf } from "./playlist.js";

const AHEAD_S = 20;
const BEHIND_S = 60;
const WINDOW_MS = 10 * 60_000; // of one playlist
const TICK_MS = 200;
const EDGE_MS = 1_000; // how often the newest is asked for
const AGAIN_MS = 3_000;
const TRIES = 3; // of one segment
const ROOM_S = 30 * 24 * 3600; // for what is still to be recorded

/**
 * Plays in `video` what `source` gives: `playlist(from, to)` and `file(uri, signal)`. Times are ms since 1970.
 * Events: `failed` (detail: the error; it goes on trying), `appended`.
 */
export class RecordingPlayer extends EventTarget {
  #video;
  #source;
  #stretches;
  #base;
  #media = new MediaSource();
  #buffer = null;
  #init = "";
  #segments = [];
  #cursor;
  #tried = { uri: "", times: 0 };
  #fetching = new AbortController();
  #isStopped = false;

  constructor(video, source, stretches) {
    super();
    this.#video = video;
    this.#source = source;
    this.#stretches = stretches;
    this.#base = stretches[0].start;
    this.#cursor = this.#base;
    this.#media.addEventListener("sourceopen", () => this.#run(), { once: true });
    video.src = URL.createObjectURL(this.#media);
  }

  /** When there is something, as far as the page knows by now. */
  set stretches(stretches) {
    this.#stretches = stretches;
  }

  get position() {
    return this.#base + this.#video.currentTime * 1000;
  }

  seek(time) {
    const seconds = Math.max(0, (time - this.#base) / 1000);
    const end = this.#bufferedEnd(seconds);
    this.#cursor = end === null ? this.#base + seconds * 1000 : this.#base + end * 1000;
    this.#segments = [];
    this.#tried = { uri: "", times: 0 };
    this.#fetching.abort();
    this.#fetching = new AbortController();
    this.#video.currentTime = seconds;
  }

  stop() {
    this.#isStopped = true;
    this.#fetching.abort();
    URL.revokeObjectURL(this.#video.src);
    this.#video.removeAttribute("src");
    this.#video.load();
  }

  async #run() {
    this.#media.duration = (Date.now() - this.#base) / 1000 + ROOM_S;
    while (!this.#isStopped) {
      const { signal } = this.#fetching;
      try {
        await sleep(await this.#step(signal));
      } catch (error) {
        if (signal.aborted) continue; // a seek, or the end
        this.#segments = []; // the ring may have taken them: ask what there is, and for this one once more
        this.dispatchEvent(new CustomEvent("failed", { detail: error }));
        await sleep(AGAIN_MS);
      }
    }
  }

  // Do the next thing; the answer is how long to wait after it.
  async #step(signal) {
    this.#skipGap();
    await this.#forget();
    const seconds = this.#video.currentTime;
    if ((this.#bufferedEnd(seconds) ?? seconds) - seconds > AHEAD_S) return TICK_MS;
    const segment = await this.#next(signal);
    if (!segment) return EDGE_MS;
    if (this.#isLost(segment)) return 0;
    await this.#append(segment, signal);
    this.dispatchEvent(new CustomEvent("appended"));
    return 0;
  }

  async #next(signal) {
    const isNew = ({ end }) => end > this.#cursor + 20;
    this.#segments = this.#segments.filter(isNew);
    if (!this.#segments.length) {
      const following = this.#stretches.find(({ end }) => end > this.#cursor + 20);
      const from = Math.round(Math.max(this.#cursor, following?.start ?? 0));
      const { text, base } = await this.#source.playlist(from, from + WINDOW_MS, signal);
      signal.throwIfAborted();
      this.#segments = parsePlaylist(text, base).filter(isNew);
    }
    return this.#segments.shift();
  }

  // A segment that is there and cannot be had does not keep the rest from playing.
  #isLost({ uri, end }) {
    if (uri !== this.#tried.uri) this.#tried = { uri, times: 0 };
    this.#tried.times += 1;
    if (this.#tried.times <= TRIES) return false;
    this.#cursor = end;
    return true;
  }

  async #append({ uri, init, end }, signal) {
    if (init !== this.#init) {
      const data = await this.#source.file(init, signal);
      this.#setType(typeOf(data));
      await this.#put(data);
      this.#init = init;
    }
    const data = await this.#source.file(uri, signal);
    signal.throwIfAborted();
    await this.#put(data);
    if (!signal.aborted) this.#cursor = end;
  }

  #setType(type) {
    if (this.#buffer) return this.#buffer.changeType(type);
    this.#buffer = this.#media.addSourceBuffer(type);
    this.#buffer.timestampOffset = -this.#base / 1000;
    return undefined;
  }

  async #put(data) {
    try {
      this.#buffer.appendBuffer(data);
    } catch (error) {
      if (error.name !== "QuotaExceededError") throw error;
      await this.#remove(0, this.#video.currentTime - 5);
      this.#buffer.appendBuffer(data);
    }
    await updated(this.#buffer);
  }

  // Somewhere the playhead has nothing under it, and what comes next is here already: go there.
  #skipGap() {
    const { buffered, currentTime, readyState } = this.#video;
    if (this.#cursor < this.position + 200) return;
    // A player that runs dry stops before the last picture: the faster it plays, the earlier.
    const rest = readyState < HTMLMediaElement.HAVE_FUTURE_DATA ? 0.6 : 0.05;
    for (let index = 0; index < buffered.length; index += 1) {
      if (buffered.end(index) < currentTime + rest) continue;
      if (buffered.start(index) > currentTime + 0.05) this.#video.currentTime = buffered.start(index) + 0.01;
      return;
    }
  }

  async #forget() {
    const { buffered, currentTime } = this.#video;
    if (!this.#buffer || !buffered.length) return;
    if (buffered.start(0) < currentTime - 2 * BEHIND_S) await this.#remove(0, currentTime - BEHIND_S);
    const last = buffered.length - 1;
    const far = currentTime + 4 * AHEAD_S;
    if (last >= 0 && buffered.end(last) > far) await this.#remove(far, buffered.end(last));
  }

  async #remove(from, to) {
    if (to <= from) return;
    this.#buffer.remove(from, to);
    await updated(this.#buffer);
  }

  #bufferedEnd(seconds) {
    const { buffered } = this.#video;
    for (let index = 0; index < buffered.length; index += 1) {
      if (buffered.start(index) <= seconds + 0.05 && buffered.end(index) > seconds) return buffered.end(index);
    }
    return null;
  }
}

function sleep(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

function updated(buffer) {
  const listening = new AbortController();
  const { signal } = listening;
  return new Promise((resolve, reject) => {
    buffer.addEventListener("updateend", resolve, { signal });
    buffer.addEventListener("error", () => reject(new TypeError("the browser can't decode the recording")), { signal });
  }).finally(() => listening.abort());
}
