// The data channel `control` of one peer connection: commands to the master, its answers, snapshots in pieces.

const LABEL = "control";
const ANSWER_LIMIT_MS = 6_000;

/** Events: `ready` (the master has answered once: other masters never do). */
export class Control extends EventTarget {
  #channel;
  #waiting = new Map();
  #lastId = 0;
  #snapshot = null; // {resolve, timer, told, parts} while pieces come

  constructor(connection) {
    super();
    this.#channel = connection.createDataChannel(LABEL);
    this.#channel.binaryType = "arraybuffer";
    this.#channel.onmessage = ({ data }) => (typeof data === "string" ? this.#answered(data) : this.#piece(data));
    this.#channel.onopen = () => this.ping().catch(() => {}); // a master without commands stays silent
    this.isReady = false;
  }

  get isOpen() {
    return this.#channel.readyState === "open";
  }

  /** Milliseconds to the master and back. */
  async ping() {
    const sentAt = performance.now();
    await this.#ask("ping", sentAt);
    if (!this.isReady) {
      this.isReady = true;
      this.dispatchEvent(new Event("ready"));
    }
    return performance.now() - sentAt;
  }

  /** The last picture as a Blob. */
  async snapshot() {
    const told = await this.#ask("snapshot");
    const parts = await new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error("the picture did not come whole")), ANSWER_LIMIT_MS);
      this.#snapshot = { resolve, timer, told, parts: [] };
    });
    return new Blob(parts, { type: told.mime });
  }

  /** Show a layer, 0 the full size; null lets the master choose. */
  chooseLayer(layer) {
    return this.#ask("layer", { layer });
  }

  /** The answer's data; rejects with the master's words when it refuses, and when no answer comes. */
  #ask(type, data) {
    return new Promise((resolve, reject) => {
      if (!this.isOpen) return reject(new Error("the master cannot be asked now"));
      this.#lastId += 1;
      const id = this.#lastId;
      const timer = setTimeout(() => this.#settle(id, null, new Error("the master did not answer")), ANSWER_LIMIT_MS);
      this.#waiting.set(id, { resolve, reject, timer });
      return this.#channel.send(JSON.stringify({ type, id, data }));
    });
  }

  #answered(text) {
    const { type, id, data } = JSON.parse(text);
    if (type === "error") this.#settle(id, null, new Error(data.message));
    else this.#settle(id, data, null);
  }

  #settle(id, data, error) {
    const waiting = this.#waiting.get(id);
    if (!waiting) return;
    this.#waiting.delete(id);
    clearTimeout(waiting.timer);
    if (error) waiting.reject(error);
    else waiting.resolve(data);
  }

  #piece(data) {
    const snapshot = this.#snapshot;
    if (!snapshot) return;
    snapshot.parts.push(data);
    if (snapshot.parts.length < snapshot.told.pieces) return;
    this.#snapshot = null;
    clearTimeout(snapshot.timer);
    snapshot.resolve(snapshot.parts);
  }
}
