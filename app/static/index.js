// The first page: the channels a token may see, each with its links; without a token, a field for one.

import { Service } from "./api.js";
import { failureOf } from "./failures.js";
import { showFragment, writeFragment } from "./fragment.js";
import { byId, linkPages, listenForToken, openPage, setText, showNotice } from "./page.js";
import { readClaims } from "./token.js";

let options = openPage((next) => show({ ...next, token: next.token || options.token }));

async function show(next) {
  options = next;
  showFragment(options);
  linkPages(options);
  document.body.dataset.state = options.token ? "connecting" : "idle";
  byId("token-card").hidden = Boolean(options.token);
  byId("channels-card").hidden = !options.token;
  showNotice(null);
  if (!options.token) {
    byId("token").focus();
    return;
  }
  const claims = readClaims(options.token);
  try {
    showChannels(await new Service(location.origin, options.token).channels());
  } catch (error) {
    const failure = failureOf(error, { expiresAt: claims?.expiresAt ?? null });
    if (failure.kind === "not-allowed") showNamed(claims?.channels ?? []);
    else showFailure(failure);
  }
}

function showChannels(channels) {
  showRelay(channels[0]?.ChannelARN);
  document.body.dataset.state = "ready";
  document.body.dataset.channels = String(channels.length);
  showRecorded();
  setText("channels-note", channels.length ? "" : "There is no channel yet. To create one, with a token of the role admin in HELIOGRAPH_TOKEN:");
  byId("create").hidden = channels.length > 0;
  byId("channels").replaceChildren(...channels.map(({ ChannelName, CreationTime }) => card(ChannelName, since(CreationTime))));
}

// A token of one channel can't list: its claims name the channel all the same.
function showNamed(names) {
  document.body.dataset.state = "ready";
  document.body.dataset.channels = String(names.length);
  byId("create").hidden = true;
  showRecorded();
  setText("channels-note", names.length ? "This token may not list channels; it names these:" : "This token may not list channels. Open a channel by its name on the viewer page.");
  byId("channels").replaceChildren(...names.map((name) => card(name, "")));
}

// The relay's address comes with the ICE servers of any channel; a token that may not ask for them sees none.
async function showRelay(arn) {
  if (!arn) return;
  try {
    const answer = await new Service(location.origin, options.token).call("/v1/get-ice-server-config", { ChannelARN: arn });
    setText("runs-turn", answer.IceServerList.flatMap((server) => server.Uris).join(", "));
  } catch {
    setText("runs-turn", "not shown to this token");
  }
}

async function showRecorded() {
  for (const name of await new Service(location.origin, options.token).recorded()) {
    const item = byId("channels").querySelector(`[data-channel="${CSS.escape(name)}"]`);
    item?.querySelector(".actions").append(link("/recording", "Recording", name, "button"));
  }
}

function showFailure(failure) {
  document.body.dataset.state = "failed";
  byId("token-card").hidden = false;
  byId("channels-card").hidden = true;
  showNotice(failure);
}

function card(name, note) {
  const item = document.createElement("li");
  const title = document.createElement("h3");
  title.textContent = name;
  const text = document.createElement("p");
  text.textContent = note;
  const links = document.createElement("div");
  links.className = "actions";
  links.append(link("/viewer", "Watch", name, "button primary"), link("/master", "Send a camera", name, "button"));
  item.dataset.channel = name;
  const words = document.createElement("div");
  words.append(title, text);
  item.append(words, links);
  return item;
}

function link(page, text, channel, className) {
  const element = document.createElement("a");
  element.href = page + writeFragment({ channel, token: options.token });
  element.className = className;
  element.textContent = text;
  element.setAttribute("aria-label", `${text}: ${channel}`);
  return element;
}

function since(creationTime) {
  if (!creationTime) return "";
  const day = new Date(creationTime * 1000).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
  return `Made ${day}`;
}

byId("retry").addEventListener("click", () => show(options));
listenForToken(({ token }) => show({ ...options, token }));
setText("runs-control", location.origin);
setText("create", `heliograph channel create front-door --endpoint ${location.origin}`);
setText("runs-signaling", ["/master", "/viewer"].map((path) => location.origin.replace(/^http/, "ws") + path).join(", "));
show(options);
