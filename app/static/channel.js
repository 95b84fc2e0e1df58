// One signaling channel as one role sees it: its ARN, endpoint and ICE servers asked once, a ticket for each connect.

const REFRESH_AT = 0.5; // of the life of TURN credentials

/**
 * Where a page of `origin` opens the socket of `role`: a page that came over http has no cause to trust the certificate
 * of `wss://`, so it stays with the port it came from.
 */
export function socketAddress(endpoint, origin, role) {
  const page = new URL(origin);
  if (page.protocol !== "http:" || !endpoint.startsWith("wss:")) return endpoint;
  return `ws://${page.host}/${role.toLowerCase()}`;
}

/** The channel `name` for `role` ("MASTER" or "VIEWER") under `clientId` (viewers only). */
export class Channel {
  #service;
  #arn = null;
  #endpoint = null;
  #iceServers = null;
  #iceServersUntil = 0;

  constructor(service, name, role, clientId = "") {
    this.#service = service;
    this.name = name;
    this.role = role;
    this.clientId = clientId;
  }

  get origin() {
    return this.#service.origin;
  }

  get hasToken() {
    return this.#service.hasToken;
  }

  /** ARN of the channel (KVS API: DescribeSignalingChannel). */
  arn() {
    this.#arn ??= this.#ask("/describeSignalingChannel", { ChannelName: this.name }, (answer) => answer.ChannelInfo.ChannelARN);
    return this.#arn;
  }

  /** URL of the websocket with a fresh one-shot ticket; the ticket call decides admission as the socket would. */
  async socketUrl() {
    const [endpoint, ticket] = await Promise.all([this.#socketEndpoint(), this.#ticket()]);
    return `${endpoint}?ticket=${encodeURIComponent(ticket)}`;
  }

  /** ICE servers as RTCConfiguration wants them; fresh ones once half of their life is over (KVS API: GetIceServerConfig). */
  iceServers() {
    if (this.#iceServers === null || performance.now() > this.#iceServersUntil) {
      this.#iceServersUntil = performance.now() + 30_000;
      this.#iceServers = this.#askIceServers();
      this.#iceServers.catch(() => (this.#iceServers = null));
    }
    return this.#iceServers;
  }

  /** Forget what was learnt: the channel may have been deleted and made again. */
  forget() {
    this.#arn = this.#endpoint = this.#iceServers = null;
  }

  #ask(path, body, pick) {
    const asked = this.#service.call(path, body).then(pick);
    asked.catch(() => this.forget());
    return asked;
  }

  async #socketEndpoint() {
    const arn = await this.arn();
    const configuration = { Protocols: ["WSS"], Role: this.role };
    this.#endpoint ??= this.#ask(
      "/getSignalingChannelEndpoint",
      { ChannelARN: arn, SingleMasterChannelEndpointConfiguration: configuration },
      (answer) => answer.ResourceEndpointList.find((entry) => entry.Protocol === "WSS").ResourceEndpoint,
    );
    return socketAddress(await this.#endpoint, this.origin, this.role);
  }

  async #ticket() {
    const body = { channelArn: await this.arn(), role: this.role };
    if (this.clientId) body.clientId = this.clientId;
    try {
      return (await this.#service.call("/v1/connect-ticket", body)).ticket;
    } catch (error) {
      if (error.code === "ResourceNotFoundException") this.forget();
      throw error;
    }
  }

  async #askIceServers() {
    const body = { ChannelARN: await this.arn() };
    if (this.clientId) body.ClientId = this.clientId;
    const answer = await this.#service.call("/v1/get-ice-server-config", body);
    const servers = answer.IceServerList ?? [];
    const life = Math.min(...servers.map((server) => server.Ttl ?? 300), 300);
    this.#iceServersUntil = performance.now() + life * 1000 * REFRESH_AT;
    return servers.map((server) => ({ urls: server.Uris, username: server.Username, credential: server.Password }));
  }
}
