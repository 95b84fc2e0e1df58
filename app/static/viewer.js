// The viewer page: switches in, picture and numbers out.

import { Service } from "./api.js";
import { Channel } from "./channel.js";
import { failures } from "./failures.js";
import { showFragment } from "./fragment.js";
import { Microphone } from "./microphone.js";
import { byId, formatBitrate, formatNumber, linkPages, listenForToken, navigationType, openPage, setText, showCountdown, showNotice } from "./page.js";
import { Screen } from "./screen.js";
import { summariseInbound } from "./statistics.js";
import { newClientId, readClaims } from "./token.js";
import { Watch } from "./watch.js";

const POLL_MS = 1_000;
const RECORDED_AFTER_MS = 2_000;
const MEDIA_FACTS = ["path", "codec", "frames", "width", "height", "fps", "answerMs", "connectedMs", "firstFrameMs", "openToFrameMs", "counter", "latencyMs", "latencyP50", "latencyP95"];
const STATES = {
  connecting: "Connecting",
  negotiating: "Starting the picture",
  waiting: "Waiting for a master",
  playing: "Live",
  recovering: "Asking again",
  refused: "Not let in yet",
  failed: "Stopped",
};

const video = byId("video");
const microphone = new Microphone(byId("talk"), (track) => watch?.player?.talk(track));
let options = openPage((next) => restart({ ...next, token: next.token || options.token }));
let watch = null;
let screen = null;
let summary = null;
let history = [];

function restart(next) {
  options = next;
  showFragment(options);
  linkPages(options);
  showSwitches();
  stop();
  const claims = readClaims(options.token);
  const obstacle = obstacleOf(claims);
  if (obstacle) {
    showState("failed", obstacle);
    return;
  }
  const clientId = options.clientId || claims?.clientId || newClientId();
  const channel = new Channel(new Service(location.origin, options.token), options.channel, "VIEWER", clientId);
  document.body.dataset.clientId = clientId;
  byId("client").placeholder = clientId;
  setText("client-shown", clientId);
  watch = new Watch(channel, { ...options, expiresAt: claims?.expiresAt ?? null });
  screen = new Screen(video, watch);
  listen(watch, screen);
  watch.start();
  showRecorded(options);
}

// A link, where there is a recording that the token may see; asked when the picture has had its time to start.
async function showRecorded(asked) {
  byId("recorded").hidden = true;
  await new Promise((resolve) => setTimeout(resolve, RECORDED_AFTER_MS));
  if (options !== asked) return;
  const answer = await new Service(location.origin, asked.token).get(`/v1/recordings/${encodeURIComponent(asked.channel)}`).catch(() => null);
  if (options === asked) byId("recorded").hidden = answer === null;
}

function obstacleOf(claims) {
  if (!options.token) return failures.noToken(navigationType());
  if (claims === null) return failures.tokenRefused("it is not a token at all");
  if (!options.channel && claims.channels.length === 1) options.channel = claims.channels[0];
  return options.channel ? null : failures.noChannelGiven();
}

function stop() {
  microphone.stop();
  watch?.stop();
  screen?.stop();
  watch = screen = null;
  history = [];
  clearNumbers();
}

// Without media no number is true any more.
function clearNumbers() {
  summary = null;
  for (const key of MEDIA_FACTS) delete document.body.dataset[key];
  for (const field of document.querySelectorAll(".figures dd, .facts dd:not(#client-shown)")) setText(field.id, "–");
}

function listen(current, shown) {
  const ifCurrent = (act) => () => current === watch && act();
  current.addEventListener("change", ifCurrent(() => showState(current.state, current.failure, current.retryAt)));
  shown.addEventListener("frame", ifCurrent(() => current.isPlaying && showFirstFrame()));
  shown.addEventListener("counter", ifCurrent(() => current.isPlaying && showCounter()));
  showState(current.state, null);
}

function showState(state, failure, retryAt = null) {
  const { dataset } = document.body;
  if (!watch?.isPlaying) clearNumbers();
  dataset.state = state;
  dataset.signaling = watch?.signaling ?? "";
  dataset.offers = String(watch?.offers ?? 0);
  setText("state", STATES[state]);
  showNotice(failure, { retryAt });
  byId("retry").textContent = state === "failed" ? "Start again" : "Try now";
  document.title = options.channel ? `${options.channel} · Heliograph` : "Viewer · Heliograph";
  setText("channel-name", options.channel || "no channel");
}

function showFirstFrame() {
  const { offeredAt, answeredAt, connectedAt } = watch.player;
  const [answerMs, connectedMs] = [answeredAt - offeredAt, connectedAt - offeredAt].map(Math.round);
  Object.assign(document.body.dataset, { answerMs, connectedMs, firstFrameMs: Math.round(screen.firstFrameMs) });
  document.body.dataset.openToFrameMs = String(Math.round(screen.firstFrameSinceOpenMs));
  setText("steps", `${answerMs} ms, ${connectedMs} ms`);
  setText("first-frame", `${Math.round(screen.firstFrameMs)} ms`);
  setText("first-frame-since-open", `${Math.round(screen.firstFrameSinceOpenMs)} ms`);
  byId("unmute").hidden = !video.muted;
  showAbilities(watch.player);
  poll();
}

// What this master can: a button to talk where its answer takes sound, commands where it answers them.
function showAbilities(player) {
  byId("talk").hidden = !player.canTalk;
  showCommands(player);
  if (!player.control.isReady) player.control.addEventListener("ready", () => player === watch?.player && showCommands(player));
}

function showCommands({ control }) {
  document.body.dataset.control = control.isReady ? "ready" : "";
  for (const element of [byId("snapshot"), byId("layer-choice")]) element.hidden = !control.isReady;
  byId("layer").value = "";
}

function showCounter() {
  const { dataset } = document.body;
  const { latency } = screen;
  dataset.counter = String(screen.frameNumber);
  dataset.latencyMs = String(screen.latencyMs ?? "");
  dataset.latencyP50 = String(latency?.p50 ?? "");
  dataset.latencyP95 = String(latency?.p95 ?? "");
  setText("counter", String(screen.frameNumber));
  setText("latency", latency === null || screen.latencyMs === null ? "clocks differ" : `${latency.p50} ms`);
  setText("latencies", latency === null ? "–" : `${latency.min} / ${latency.p50} / ${latency.p95} / ${latency.max} ms`);
}

async function poll() {
  showCountdown(watch?.retryAt ?? null);
  if (!watch?.isPlaying) return;
  const { player } = watch;
  if (player.control.isReady) player.control.ping().then((ms) => setText("command-rtt", `${ms.toFixed(1)} ms`)).catch(() => {});
  const next = summariseInbound(await player.getStats(), summary?.player === player ? summary : null);
  if (!next || player !== watch?.player || player.isClosed) return;
  summary = { ...next, player };
  history.push({ at: new Date().toISOString(), ...next });
  history = history.slice(-3600);
  showSummary(next);
}

function showSummary(now) {
  const { dataset } = document.body;
  dataset.path = now.path ?? "";
  dataset.codec = now.codec;
  dataset.frames = String(now.frames);
  dataset.width = String(now.width);
  dataset.height = String(now.height);
  dataset.fps = now.fps === null ? "" : now.fps.toFixed(1);
  setText("path", now.path ? pathInWords(now) : "–");
  setText("codec-shown", now.codec || "–");
  setText("resolution", now.width ? `${now.width} × ${now.height}` : "–");
  setText("fps", formatNumber(now.fps, "fps"));
  setText("rtt", formatNumber(now.rttMs, "ms", now.rttMs < 10 ? 1 : 0));
  setText("loss", formatNumber(now.lossPercent, "%", 1));
  setText("bitrate", formatBitrate(now.bitrateBps));
  setText("frames", String(now.frames));
  setText("dropped", String(now.dropped));
  setText("packets", `${now.packets} / ${now.lost} lost`);
  setText("jitter", formatNumber(now.jitterMs, "ms", 1));
  setText("jitter-buffer", formatNumber(now.jitterBufferMs, "ms"));
  setText("decode", formatNumber(now.decodeMs, "ms", 1));
  setText("feedback", `${now.nack} NACK, ${now.pli} PLI, ${now.fir} FIR`);
  setText("candidates", `${now.local ?? "–"} → ${now.remote ?? "–"}, ${now.transport ?? ""}`);
  setText("decoder", now.decoder || "–");
}

function pathInWords({ path, relayProtocol }) {
  return path === "relay" ? `relay${relayProtocol ? ` (${relayProtocol})` : ""}` : path;
}

function showSwitches() {
  byId(options.relay ? "path-relay" : "path-any").checked = true;
  byId("trickle").checked = options.trickle;
  byId("codec").value = options.codec;
  byId("client").value = options.clientId;
  byId("channel").value = options.channel;
}

function readSwitches() {
  return {
    ...options,
    channel: byId("channel").value.trim(),
    relay: byId("path-relay").checked,
    trickle: byId("trickle").checked,
    codec: byId("codec").value,
    clientId: byId("client").value.trim(),
  };
}

function saveStatistics() {
  if (!history.length) return;
  const columns = Object.keys(history[0]);
  const lines = history.map((row) => columns.map((column) => row[column] ?? "").join(","));
  const file = new Blob([[columns.join(","), ...lines].join("\n")], { type: "text/csv" });
  save(file, `heliograph-${options.channel}.csv`);
}

function save(file, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(file);
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}

async function takeSnapshot() {
  const button = byId("snapshot");
  button.disabled = true;
  try {
    save(await watch.player.control.snapshot(), `heliograph-${options.channel}-${new Date().toISOString().slice(0, 19)}.jpg`);
    button.title = "";
  } catch (error) {
    button.title = error.message;
  }
  button.disabled = false;
}

function chooseLayer(event) {
  event.stopPropagation(); // the other switches of the form begin anew
  const { target } = event;
  const layer = target.value === "" ? null : Number(target.value);
  watch?.player?.control.chooseLayer(layer).then(
    () => target.setCustomValidity(""),
    (error) => {
      target.value = "";
      target.setCustomValidity(error.message);
      target.reportValidity();
    },
  );
}

byId("snapshot").addEventListener("click", takeSnapshot);
byId("layer").addEventListener("change", chooseLayer);
byId("switches").addEventListener("change", () => restart(readSwitches()));
byId("switches").addEventListener("submit", (event) => {
  event.preventDefault();
  restart(readSwitches());
});
byId("retry").addEventListener("click", () => (watch && watch.state !== "failed" ? watch.retryNow() : restart(options)));
byId("save").addEventListener("click", saveStatistics);
byId("unmute").addEventListener("click", () => {
  video.muted = false;
  byId("unmute").hidden = true;
});
byId("full-screen").addEventListener("click", () => byId("stage").requestFullscreen?.());
listenForToken(({ token, channel }) => restart({ ...options, token, channel: channel || options.channel }));
setInterval(poll, POLL_MS);
addEventListener("pagehide", stop);
addEventListener("pageshow", ({ persisted }) => persisted && restart(options)); // Back to a page that the browser kept
restart(options);
