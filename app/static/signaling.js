// The signaling socket of one channel: kept open with back-off until a refusal that no retry mends. It knows frames,
// not what the messages mean.

import { Backoff } from "./backoff.js";
import { failureOf, failureOfClose } from "./failures.js";

const OPEN_LIMIT_MS = 10_000;
const STABLE_MS = 5_000; // a socket that lived this long earns a fresh back-off
const KEEP_ALIVE_MS = 240_000; // an empty frame: a page that only watches is not idle (idle limit: 10 minutes)

/**
 * Events: `open`; `message` (detail `{type, payload, sender, status}`); `down` (detail `{failure, waitMs}`, it retries);
 * `refused` (detail failure, it does not).
 */
export class Signaling extends EventTarget {
  #channel;
  #expiresAt;
  #backoff;
  #socket = null;
  #isStopped = false;
  #wake = () => {};

  constructor(channel, { expiresAt = null, backoff = new Backoff() } = {}) {
    super();
    this.#channel = channel;
    this.#expiresAt = expiresAt;
    this.#backoff = backoff;
  }

  get isOpen() {
    return this.#socket?.readyState === WebSocket.OPEN;
  }

  /** Keep a socket open until `stop` or a final refusal. */
  async run() {
    while (!this.#isStopped) {
      const failure = await this.#connect();
      if (this.#isStopped) return;
      if (failure.isFinal) {
        this.#isStopped = true;
        this.#emit("refused", failure);
        return;
      }
      const waitMs = failure.retryAfterMs ?? this.#backoff.next();
      this.#emit("down", { failure, waitMs });
      await this.#pause(waitMs);
    }
  }

  /** Send `payload` (JSON) to the master, or to `recipient`; false when the socket is not open. */
  send(type, payload, { recipient, correlationId } = {}) {
    if (!this.isOpen) return false;
    const frame = { action: type, messagePayload: btoa(JSON.stringify(payload)), recipientClientId: recipient, correlationId };
    this.#socket.send(JSON.stringify(frame));
    return true;
  }

  /** End a pause now. */
  retryNow() {
    this.#wake();
  }

  /** Close for good. */
  stop() {
    this.#isStopped = true;
    this.#socket?.close(1000);
    this.#wake();
  }

  get #context() {
    const { origin, name, role, clientId } = this.#channel;
    return { origin, channel: name, role, clientId, expiresAt: this.#expiresAt };
  }

  // One connection from ticket to close; the Failure that ended it.
  async #connect() {
    try {
      const url = await this.#channel.socketUrl();
      if (this.#isStopped) return null;
      return failureOfClose(await this.#live(url), this.#context);
    } catch (error) {
      return failureOf(error, this.#context);
    }
  }

  #live(url) {
    return new Promise((resolve) => {
      const socket = new WebSocket(url);
      let openedAt = null;
      const keepAlive = setInterval(() => this.isOpen && socket.send(""), KEEP_ALIVE_MS);
      const limit = setTimeout(() => socket.close(), OPEN_LIMIT_MS);
      socket.onopen = () => {
        clearTimeout(limit);
        openedAt = performance.now();
        this.#emit("open");
      };
      socket.onmessage = (event) => this.#receive(event.data);
      socket.onclose = (event) => {
        clearTimeout(limit);
        clearInterval(keepAlive);
        if (openedAt !== null && performance.now() - openedAt > STABLE_MS) this.#backoff.reset();
        resolve({ code: event.code, reason: event.reason });
      };
      this.#socket = socket;
    });
  }

  #receive(frame) {
    let message;
    try {
      message = JSON.parse(frame);
    } catch {
      return; // stock clients skip what they can't read; so does this one
    }
    this.#emit("message", {
      type: message.messageType ?? "",
      payload: decodePayload(message.messagePayload),
      sender: message.senderClientId ?? "",
      status: message.statusResponse ?? null,
    });
  }

  #pause(milliseconds) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, milliseconds);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

function decodePayload(text) {
  if (!text) return null;
  try {
    return JSON.parse(atob(text));
  } catch {
    return null;
  }
}
