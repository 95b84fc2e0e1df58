// The recording page: what a channel's master recorded, on a line of time.

import { Service } from "./api.js";
import { failureOf, failures } from "./failures.js";
import { showFragment } from "./fragment.js";
import { byId, linkPages, listenForToken, navigationType, openPage, setText, showNotice } from "./page.js";
import { parts } from "./playlist.js";
import { RecordingPlayer } from "./recording-player.js";
import { readClaims } from "./token.js";

const REFRESH_MS = 3_000;
const SHOW_MS = 250;
const STEP_MS = 10_000;
const BEHIND_LIVE_MS = 6_000; // behind the newest, so that there is something to play on with
const LIVE_MS = 15_000;
const STRETCHES_SHOWN = 12;
const KEYS = { " ": toggle, k: toggle, ArrowLeft: () => move(-STEP_MS), ArrowRight: () => move(STEP_MS), l: goLive, f: fullScreen };

const video = byId("video");
const line = byId("line");
let options = openPage((next) => restart({ ...next, token: next.token || options.token }));
let service = null;
let player = null;
let stretches = [];
let span = 3_600_000;
let from = 0; // of the line that is shown
let isFollowing = true; // the line goes with the playhead
let refreshing = 0;

async function restart(next) {
  options = next;
  showFragment(options);
  linkPages(options);
  stop();
  byId("channel").value = options.channel;
  const claims = readClaims(options.token);
  if (options.token && !options.channel && claims?.channels.length === 1) options.channel = claims.channels[0];
  const { channel } = options;
  setText("channel-name", channel || "no channel");
  document.title = channel ? `${channel}, recorded · Heliograph` : "Recording · Heliograph";
  showState("loading", "Loading");
  if (!options.token) return fail(failures.noToken(navigationType()));
  if (!channel) return fail(failures.noChannelGiven());
  service = new Service(location.origin, options.token);
  return refresh((refreshing += 1));
}

function stop() {
  refreshing += 1;
  player?.stop();
  player = null;
  stretches = [];
  showNotice(null);
}

function fail(failure) {
  showState("failed", "Stopped");
  showNotice(failure);
}

// Ask for the stretches, now and every few seconds; what is new may be played.
async function refresh(run) {
  const { channel } = options;
  try {
    const answer = await service.get(`/v1/recordings/${encodeURIComponent(channel)}`);
    const { stretches: found } = await answer.json();
    if (run !== refreshing) return;
    if (!found.length) throw failures.noRecording(channel, location.origin);
    stretches = found;
    showNotice(null);
    if (player) player.stretches = found;
    else open();
    showStretches();
  } catch (error) {
    if (run !== refreshing) return;
    const expiresAt = readClaims(options.token)?.expiresAt ?? null;
    const failure = failureOf(error, { origin: location.origin, channel, role: "RECORDING", expiresAt });
    if (!player && failure.kind === "no-recording") showState("waiting", "Waiting for a recording");
    else if (!player) showState("failed", "Stopped");
    showNotice(failure);
    if (failure.isFinal) return;
  }
  setTimeout(() => run === refreshing && refresh(run), REFRESH_MS);
}

function open() {
  const { channel } = options;
  const base = `/v1/recordings/${encodeURIComponent(channel)}/`;
  const current = service;
  const source = {
    playlist: async (first, last, signal) => {
      const answer = await current.get(`${base}index.m3u8?from=${first}&to=${last}`, signal);
      return { text: await answer.text(), base };
    },
    file: async (uri, signal) => (await current.get(uri, signal)).arrayBuffer(),
  };
  player = new RecordingPlayer(video, source, stretches);
  player.addEventListener("failed", ({ detail }) => showNotice(failureOf(detail, { origin: location.origin, channel, role: "RECORDING" })));
  player.addEventListener("appended", () => showNotice(null));
  goLive();
  video.play().catch(() => {}); // a browser that wants a click first shows it paused
}

const newest = () => stretches.at(-1)?.end ?? 0;
const oldest = () => stretches[0]?.start ?? 0;

function seek(time) {
  if (!player) return;
  isFollowing = true;
  player.seek(Math.min(Math.max(time, oldest()), Math.max(oldest(), newest() - BEHIND_LIVE_MS / 2)));
  show();
}

function move(milliseconds) {
  if (player) seek(player.position + milliseconds);
}

function goLive() {
  seek(newest() - BEHIND_LIVE_MS);
}

function toggle() {
  if (video.paused) video.play().catch(() => {});
  else video.pause();
  show();
}

function fullScreen() {
  byId("stage").requestFullscreen?.();
}

function pan(direction) {
  isFollowing = false;
  const last = Math.max(oldest(), newest() - span);
  from = Math.min(Math.max(from + (direction * span) / 2, Math.min(oldest(), last)), last);
  show();
}

function show() {
  if (!player) return;
  const position = player.position;
  if (isFollowing && (position < from || position > from + span * 0.98)) from = startOfLine(position);
  const isLive = newest() - position < LIVE_MS && Date.now() - newest() < LIVE_MS;
  showState("playing", video.paused ? "Paused" : isLive ? "Live, a few seconds behind" : "Playing");
  byId("play").textContent = video.paused ? "Play" : "Pause";
  byId("live").disabled = isLive && !video.paused;
  byId("unmute").hidden = !video.muted;
  setText("clock", dateTime(position));
  Object.assign(document.body.dataset, { position: String(Math.round(position)), newest: String(newest()), stretches: String(stretches.length) });
  showLine(position);
}

// A line that ends a little after the newest, or has the playhead at a third.
function startOfLine(position) {
  const last = newest() + span * 0.03 - span;
  return position > last ? last : position - span / 3;
}

function showLine(position) {
  line.min = String(Math.round(from));
  line.max = String(Math.round(from + span));
  if (document.activeElement !== line || !line.dataset.held) line.value = String(Math.round(position));
  line.setAttribute("aria-valuetext", dateTime(position));
  setText("line-from", clock(from));
  setText("line-to", clock(from + span));
  const key = `${from} ${span} ${newest()} ${stretches.length}`;
  const band = byId("band");
  if (band.dataset.key === key) return;
  band.dataset.key = key;
  band.replaceChildren(...parts(stretches, from, from + span).map(rectangle));
}

function rectangle({ at, width }) {
  const shape = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  const lengths = { x: `${at * 100}%`, width: `${Math.max(width * 100, 0.2)}%`, y: "0", height: "100%" };
  for (const [name, value] of Object.entries(lengths)) shape.setAttribute(name, value);
  return shape;
}

function showStretches() {
  const list = byId("stretches");
  const shown = stretches.slice(-STRETCHES_SHOWN).reverse();
  setText("stretches-count", String(stretches.length));
  const key = `${stretches.length} ${shown.at(-1)?.start}`;
  if (list.dataset.key !== key) {
    list.dataset.key = key;
    list.replaceChildren(...shown.map(entry));
  }
  shown.forEach(({ start, end }, index) => {
    list.children[index].querySelector("span").textContent = lasting(end - start);
  });
}

function entry({ start }) {
  const item = document.createElement("li");
  const button = document.createElement("button");
  button.type = "button";
  button.className = "button";
  button.textContent = new Date(start).toLocaleString([], { dateStyle: "short", timeStyle: "medium" });
  button.addEventListener("click", () => seek(start));
  item.append(button, document.createElement("span"));
  return item;
}

function showState(state, words) {
  document.body.dataset.state = state;
  document.body.dataset.paused = String(video.paused);
  setText("state", words);
}

const clock = (time) => new Date(time).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
const dateTime = (time) => new Date(time).toLocaleString([], { dateStyle: "medium", timeStyle: "medium" });

function lasting(milliseconds) {
  const seconds = Math.round(milliseconds / 1000);
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor((seconds % 3600) / 60)];
  if (hours) return `${hours} h ${minutes} min`;
  return minutes ? `${minutes} min ${seconds % 60} s` : `${seconds} s`;
}

byId("play").addEventListener("click", toggle);
video.addEventListener("click", toggle);
byId("back").addEventListener("click", () => move(-STEP_MS));
byId("forward").addEventListener("click", () => move(STEP_MS));
byId("live").addEventListener("click", goLive);
byId("earlier").addEventListener("click", () => pan(-1));
byId("later").addEventListener("click", () => pan(1));
byId("speed").addEventListener("change", ({ target }) => (video.playbackRate = Number(target.value)));
byId("span").addEventListener("change", ({ target }) => {
  span = Number(target.value) * 60_000;
  isFollowing = true;
  if (player) from = startOfLine(player.position);
  show();
});
byId("full-screen").addEventListener("click", fullScreen);
byId("unmute").addEventListener("click", () => {
  video.muted = false;
  show();
});
// While it is dragged the thumb stays under the finger; where it is let go is played.
line.addEventListener("input", () => {
  line.dataset.held = "1";
  setText("clock", dateTime(Number(line.value)));
});
line.addEventListener("change", () => {
  delete line.dataset.held;
  seek(Number(line.value));
});
addEventListener("keydown", (event) => {
  const isTyping = event.target.closest("input, select, button, summary, a") !== null;
  if (isTyping || event.ctrlKey || event.metaKey || event.altKey || !KEYS[event.key]) return;
  event.preventDefault();
  KEYS[event.key]();
});
byId("switches").addEventListener("submit", (event) => {
  event.preventDefault();
  restart({ ...options, channel: byId("channel").value.trim() });
});
byId("retry").addEventListener("click", () => restart(options));
listenForToken(({ token, channel }) => restart({ ...options, token, channel: channel || options.channel }));
setInterval(show, SHOW_MS);
addEventListener("pagehide", stop);
addEventListener("pageshow", ({ persisted }) => persisted && restart(options)); // Back to a page that the browser kept
restart(options);
