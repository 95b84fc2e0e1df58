// The master page: this browser's camera on a channel, and who watches it.

import { Service } from "./api.js";
import { Broadcast } from "./broadcast.js";
import { cameraObstacle, closeCamera, listCameras, openCamera } from "./camera.js";
import { Channel } from "./channel.js";
import { failureOf, failures } from "./failures.js";
import { showFragment } from "./fragment.js";
import { byId, formatBitrate, formatNumber, linkPages, listenForToken, navigationType, openPage, setText, showCountdown, showNotice } from "./page.js";
import { readClaims } from "./token.js";

const POLL_MS = 1_000;
const STATES = {
  idle: "Camera off",
  connecting: "Connecting",
  open: "On air",
  down: "Reconnecting",
  ended: "Stopped",
  failed: "Stopped",
};

const preview = byId("preview");
let options = openPage((next) => open({ ...next, token: next.token || options.token }));
let broadcast = null;
let stream = null;

function open(next) {
  stop();
  options = next;
  showFragment(options);
  linkPages(options);
  byId("channel").value = options.channel;
  const claims = readClaims(options.token);
  const obstacle = obstacleOf(claims);
  byId("start").disabled = obstacle !== null && obstacle.kind !== "no-channel-given";
  showState(obstacle ? "failed" : "idle", obstacle);
  if (!cameraObstacle()) showCameras();
}

function obstacleOf(claims) {
  if (!options.token) return failures.noToken(navigationType());
  if (claims === null) return failures.tokenRefused("it is not a token at all");
  if (!options.channel && claims.channels.length === 1) [options.channel] = claims.channels;
  byId("channel").value = options.channel;
  return cameraObstacle() ?? (options.channel ? null : failures.noChannelGiven());
}

async function start() {
  stop();
  options.channel = byId("channel").value.trim();
  showFragment(options);
  const claims = readClaims(options.token);
  const obstacle = obstacleOf(claims);
  if (obstacle) {
    showState("failed", obstacle);
    return;
  }
  showState("connecting");
  try {
    stream = await openCamera(readSwitches());
  } catch (error) {
    showState("failed", failureOf(error));
    return;
  }
  showCameras();
  showPreview();
  const channel = new Channel(new Service(location.origin, options.token), options.channel, "MASTER");
  broadcast = new Broadcast(channel, stream, { expiresAt: claims.expiresAt });
  listen(broadcast);
  broadcast.start();
}

function stop() {
  broadcast?.stop();
  closeCamera(stream);
  broadcast = stream = null;
  preview.srcObject = null;
  showViewers([]);
}

function listen(current) {
  current.addEventListener("change", () => {
    if (current !== broadcast) return;
    if (current.state === "ended") {
      const { failure } = current;
      stop();
      showState("ended", failure);
      return;
    }
    showState(current.state, current.failure, current.retryAt);
  });
  current.addEventListener("viewers", () => current === broadcast && poll());
}

// Camera, size or sound changed while on air: the viewers keep their connections.
async function changeCamera() {
  if (!broadcast) return;
  const current = broadcast;
  closeCamera(stream);
  try {
    stream = await openCamera(readSwitches());
    if (current !== broadcast) return closeCamera(stream);
    showPreview();
    await current.replaceStream(stream);
  } catch (error) {
    stop();
    showState("failed", failureOf(error));
  }
  return undefined;
}

function showPreview() {
  preview.srcObject = stream;
  preview.play().catch(() => {});
  const { width, height, frameRate } = stream.getVideoTracks()[0].getSettings();
  setText("camera-shown", `${width} × ${height}${frameRate ? `, ${Math.round(frameRate)} fps` : ""}`);
}

async function showCameras() {
  const select = byId("camera");
  const chosen = select.value;
  const cameras = await listCameras();
  select.replaceChildren(new Option("Any camera", ""), ...cameras.filter(({ id }) => id).map(({ id, label }) => new Option(label, id)));
  select.value = cameras.some(({ id }) => id === chosen) ? chosen : "";
}

function showState(state, failure = null, retryAt = null) {
  const isLive = ["connecting", "open", "down"].includes(state);
  document.body.dataset.state = state;
  setText("state", STATES[state]);
  showNotice(failure, { retryAt });
  byId("start").hidden = isLive;
  byId("stop").hidden = !isLive;
  byId("channel").disabled = isLive;
  byId("placeholder").hidden = Boolean(stream);
  byId("retry").hidden = state !== "down";
  setText("channel-name", options.channel || "no channel");
  document.title = options.channel ? `${options.channel} · camera · Heliograph` : "Camera · Heliograph";
}

async function poll() {
  showCountdown(broadcast?.retryAt ?? null);
  const current = broadcast;
  const viewers = (await current?.viewers()) ?? [];
  if (current !== null && current === broadcast) showViewers(viewers);
}

function showViewers(viewers) {
  document.body.dataset.viewers = String(viewers.length);
  setText("viewer-count", viewers.length === 1 ? "1 viewer" : `${viewers.length} viewers`);
  byId("nobody").hidden = viewers.length > 0;
  byId("viewers").hidden = viewers.length === 0;
  byId("viewer-rows").replaceChildren(...viewers.map(viewerRow));
}

function viewerRow({ clientId, state, summary }) {
  const row = document.createElement("tr");
  row.dataset.clientId = clientId;
  row.dataset.state = state;
  const cells = [clientId, state, summary?.path ?? "–", summary?.codec || "–", formatNumber(summary?.fps, "fps"), formatBitrate(summary?.bitrateBps)];
  row.append(
    ...cells.map((text, index) => {
      const cell = document.createElement(index === 0 ? "th" : "td");
      if (index === 0) cell.scope = "row";
      cell.textContent = text || "–";
      return cell;
    }),
  );
  return row;
}

function readSwitches() {
  return { id: byId("camera").value, size: byId("size").value, hasSound: byId("sound").checked };
}

byId("switches").addEventListener("submit", (event) => {
  event.preventDefault();
  start();
});
byId("stop").addEventListener("click", () => {
  stop();
  showState("idle");
});
for (const id of ["camera", "size", "sound"]) byId(id).addEventListener("change", changeCamera);
byId("retry").addEventListener("click", () => broadcast?.retryNow());
listenForToken(({ token, channel }) => open({ ...options, token, channel: channel || options.channel }));
setInterval(poll, POLL_MS);
addEventListener("pagehide", stop);
addEventListener("pageshow", ({ persisted }) => persisted && open(options)); // Back to a page that the browser kept
open(options);
