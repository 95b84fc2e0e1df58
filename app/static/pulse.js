// Whether a master still sends, by what getStats tells and the time: pure.

const SILENCE_LIMIT_MS = 3_000; // masters report once a second, also to a viewer that they send no picture for a while
const FIRST_LIMIT_MS = 30_000; // of a camera with seldom key frames the first picture comes late; a path that fails is told by ICE

/** Of one connection, from the moment that it is up; all times are of one clock, in milliseconds. */
export class Pulse {
  #life = 0;
  #livedAt;
  #bytes = 0;

  constructor(now) {
    this.#livedAt = now;
  }

  /** Anything of a picture has come. */
  get hasBegun() {
    return this.#bytes > 0;
  }

  /** Take a report of getStats; for how many seconds nothing came, where that is too long, else null. */
  silentFor(report, now) {
    const all = [...report.values()];
    const inbound = all.filter((entry) => entry.type === "inbound-rtp");
    this.#bytes = sum(inbound.filter((entry) => entry.kind === "video"), "bytesReceived");
    const reports = all.filter((entry) => entry.type === "remote-outbound-rtp"); // what the other side's own reports tell
    const life = sum(inbound, "bytesReceived") + sum(reports, "reportsSent") + sum(reports, "packetsSent") + sum(reports, "remoteTimestamp");
    if (this.hasBegun && life !== this.#life) [this.#life, this.#livedAt] = [life, now]; // sound alone is no sign that a picture will come
    const limit = this.hasBegun ? SILENCE_LIMIT_MS : FIRST_LIMIT_MS;
    return now - this.#livedAt > limit ? limit / 1000 : null;
  }
}

function sum(entries, key) {
  return entries.reduce((total, entry) => total + (entry[key] ?? 0), 0);
}
