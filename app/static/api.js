// The REST surface of the service as a page needs it: JSON in, JSON out, typed errors. No retry, no state but the token.

/** A refusal by the service. `limit` is `{name, value, retryAfterSeconds}` where a limit was hit, else null. */
export class ServiceError extends Error {
  constructor(code, message, status, limit = null) {
    super(message);
    this.name = "ServiceError";
    this.code = code;
    this.status = status;
    this.limit = limit;
  }
}

/** No answer at all: the service is down, or the network between is. */
export class UnreachableError extends Error {
  constructor(origin) {
    super(`${origin} does not answer`);
    this.name = "UnreachableError";
    this.origin = origin;
  }
}

const CALL_LIMIT_MS = 10_000;

/** The service at `origin`, called with one token that stays in memory. */
export class Service {
  #token;

  constructor(origin, token) {
    this.origin = origin;
    this.#token = token;
  }

  get hasToken() {
    return this.#token !== "";
  }

  /** POST `body` to `path`. Throws ServiceError or UnreachableError. */
  async call(path, body = {}) {
    const headers = { "Content-Type": "application/json" };
    if (this.hasToken) headers.Authorization = `Bearer ${this.#token}`;
    let answer;
    try {
      answer = await fetch(this.origin + path, {
        method: "POST",
        headers,
        body: JSON.stringify(body),
        cache: "no-store",
        credentials: "omit",
        referrerPolicy: "no-referrer",
        signal: AbortSignal.timeout(CALL_LIMIT_MS),
      });
    } catch {
      throw new UnreachableError(this.origin);
    }
    const fields = await answer.json().catch(() => ({}));
    if (!answer.ok) throw refusal(answer, fields);
    return fields;
  }

  /** GET `path`; the answer is not read yet. Throws ServiceError or UnreachableError, or AbortError by `signal`. */
  async get(path, signal = null) {
    const limit = AbortSignal.timeout(CALL_LIMIT_MS);
    let answer;
    try {
      answer = await fetch(this.origin + path, {
        headers: this.hasToken ? { Authorization: `Bearer ${this.#token}` } : {},
        credentials: "omit",
        referrerPolicy: "no-referrer",
        signal: signal ? AbortSignal.any([signal, limit]) : limit,
      });
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new UnreachableError(this.origin);
    }
    if (!answer.ok) throw refusal(answer, await answer.json().catch(() => ({})));
    return answer;
  }

  /** Names of the channels that were recorded and that the token may see; none where nothing is served. */
  async recorded() {
    const answer = await this.get("/v1/recordings").catch(() => null);
    return answer ? (await answer.json()).channelNames : [];
  }

  /** Channels the token may list, at most `most` of them (KVS API: ListSignalingChannels). */
  async channels(most = 200) {
    const answer = await this.call("/listSignalingChannels", { MaxResults: most });
    return answer.ChannelInfoList ?? [];
  }
}

function refusal(answer, fields) {
  const code = (answer.headers.get("x-amzn-ErrorType") ?? fields.__type ?? "").split(":")[0].split("#").pop();
  const limit = fields.limit ?? null;
  const retryAfter = Number(answer.headers.get("Retry-After"));
  if (limit && limit.retryAfterSeconds === undefined && retryAfter > 0) limit.retryAfterSeconds = retryAfter;
  return new ServiceError(code || `HTTP ${answer.status}`, fields.Message ?? fields.message ?? "", answer.status, limit);
}
