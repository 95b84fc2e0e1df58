// A page as AWS documents it: stock SDK v3 clients (bundled) and the stock SignalingClient (its own script, `KVSWebRTC`)
// with the stock signer. `window.kvs` is for the test: `viewer`, `master`, `answer`.

import {
  DescribeSignalingChannelCommand,
  GetSignalingChannelEndpointCommand,
  KinesisVideoClient,
} from "@aws-sdk/client-kinesis-video";
import { GetIceServerConfigCommand, KinesisVideoSignalingClient } from "@aws-sdk/client-kinesis-video-signaling";

const { Role, SignalingClient } = window.KVSWebRTC;
const region = "us-west-2";
const errors = [];

/** ARN, endpoints and ICE servers of a channel, each call signed by the SDK. */
async function discover({ endpoint, channelName, credentials }, role) {
  const client = new KinesisVideoClient({ region, credentials, endpoint, maxAttempts: 1 });
  const { ChannelInfo } = await client.send(new DescribeSignalingChannelCommand({ ChannelName: channelName }));
  const channelARN = ChannelInfo.ChannelARN;
  const { ResourceEndpointList } = await client.send(
    new GetSignalingChannelEndpointCommand({
      ChannelARN: channelARN,
      SingleMasterChannelEndpointConfiguration: { Protocols: ["WSS", "HTTPS"], Role: role },
    }),
  );
  const endpoints = Object.fromEntries(ResourceEndpointList.map((entry) => [entry.Protocol, entry.ResourceEndpoint]));
  const signaling = new KinesisVideoSignalingClient({ region, credentials, endpoint: endpoints.HTTPS, maxAttempts: 1 });
  const { IceServerList } = await signaling.send(new GetIceServerConfigCommand({ ChannelARN: channelARN }));
  const iceServers = IceServerList.map(({ Uris, Username, Password }) => ({
    urls: Uris,
    username: Username,
    credential: Password,
  }));
  return { channelARN, endpoints, iceServers };
}

async function signalingClient(config, role, clientId) {
  const { channelARN, endpoints, iceServers } = await discover(config, role);
  const client = new SignalingClient({
    role,
    clientId,
    region,
    channelARN,
    channelEndpoint: endpoints.WSS,
    credentials: config.credentials,
  });
  client.on("error", (error) => errors.push(String(error)));
  return { client, iceServers };
}

/** Watch a channel in the page's video element. */
async function viewer(config) {
  const { client, iceServers } = await signalingClient(config, Role.VIEWER, config.clientId);
  const peer = new RTCPeerConnection({ iceServers, iceTransportPolicy: config.isRelayOnly ? "relay" : "all" });
  peer.addTransceiver("video", { direction: "recvonly" });
  peer.addTransceiver("audio", { direction: "recvonly" });
  peer.addEventListener("track", ({ streams, track }) => {
    if (track.kind === "video") document.querySelector("video").srcObject = streams[0] ?? new MediaStream([track]);
  });
  peer.addEventListener("icecandidate", ({ candidate }) => candidate && client.sendIceCandidate(candidate));
  client.on("open", async () => {
    await peer.setLocalDescription(await peer.createOffer());
    client.sendSdpOffer(peer.localDescription);
  });
  client.on("sdpAnswer", (answer) => peer.setRemoteDescription(answer));
  client.on("iceCandidate", (candidate) => peer.addIceCandidate(candidate));
  client.open();
}

/** Send the browser's camera to every viewer that asks. */
async function master(config) {
  const stream = await navigator.mediaDevices.getUserMedia({ video: { width: 1280, height: 720 }, audio: true });
  const { client, iceServers } = await signalingClient(config, Role.MASTER);
  const peers = new Map();
  client.on("sdpOffer", async (offer, clientId) => {
    const peer = new RTCPeerConnection({ iceServers, iceTransportPolicy: config.isRelayOnly ? "relay" : "all" });
    peers.set(clientId, peer);
    peer.addEventListener("icecandidate", ({ candidate }) => candidate && client.sendIceCandidate(candidate, clientId));
    for (const track of stream.getTracks()) peer.addTrack(track, stream);
    await peer.setRemoteDescription(offer);
    await peer.setLocalDescription(await peer.createAnswer());
    client.sendSdpAnswer(peer.localDescription, clientId);
  });
  client.on("iceCandidate", (candidate, clientId) => peers.get(clientId)?.addIceCandidate(candidate));
  const open = new Promise((resolve, reject) => {
    client.on("open", resolve);
    client.on("close", () => reject(new Error(`closed: ${errors}`)));
  });
  client.open();
  await open;
}

/** What a page of another origin can read of an answer that is an error: class, status and the exposed headers. */
async function refusal({ endpoint, channelName, credentials }) {
  const client = new KinesisVideoClient({ region, credentials, endpoint, maxAttempts: 1 });
  let headers = null;
  const keepHeaders = (next) => async (args) => {
    const result = await next(args);
    headers = result.response.headers;
    return result;
  };
  client.middlewareStack.add(keepHeaders, { step: "deserialize", priority: "low" });
  try {
    await client.send(new DescribeSignalingChannelCommand({ ChannelName: channelName }));
    return { name: null };
  } catch (error) {
    return { name: error.name, status: error.$metadata?.httpStatusCode, requestId: error.$metadata?.requestId, headers };
  }
}

window.kvs = { viewer, master, refusal, errors };
