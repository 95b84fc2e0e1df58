// What the pages share in the document: elements by id, the notice, the token form, numbers in words.

import { takeFragment, writeFragment } from "./fragment.js";

export function byId(id) {
  return document.getElementById(id);
}

/** Options of this page's fragment, with the token out of the address bar; a new fragment pasted later calls `changed`. */
export function openPage(changed) {
  const options = takeFragment();
  addEventListener("hashchange", () => changed(takeFragment()));
  return options;
}

/** Let the links of the header carry the token on to the other pages. */
export function linkPages(options) {
  for (const link of document.querySelectorAll("a[data-page]")) {
    const { channel, token } = options;
    link.href = link.dataset.page + writeFragment(link.dataset.page === "/" ? { token } : { channel, token });
  }
}

/** How this page was come to: "navigate", "reload" or "back_forward". */
export function navigationType() {
  return performance.getEntriesByType("navigation")[0]?.type ?? "navigate";
}

/** Show a failure in the page's notice, or hide the notice when there is none; one of the token leads to its field. */
export function showNotice(failure, { retryAt = null } = {}) {
  const notice = byId("notice");
  const isNew = document.body.dataset.failure !== failure?.kind;
  document.body.dataset.failure = failure?.kind ?? "";
  notice.hidden = failure === null;
  if (failure === null) return;
  setText("notice-sentence", failure.sentence);
  setWords("notice-next", failure.next);
  setText("notice-command", failure.command);
  byId("notice-command").hidden = !failure.command;
  notice.dataset.final = String(failure.isFinal);
  showCountdown(retryAt);
  if (isNew && /token/.test(failure.kind) && document.body.dataset.state !== "playing") byId("token").focus();
}

/** Show in how many seconds the page tries again; nothing for less than two. */
export function showCountdown(retryAt) {
  const seconds = retryAt === null ? 0 : Math.ceil((retryAt - performance.now()) / 1000);
  setText("notice-countdown", seconds > 1 ? `Next try in ${seconds} s.` : "");
}

/** Wire the form that takes a token, or a whole link with one; `given` gets the token and the channel if the link named one. */
export function listenForToken(given) {
  byId("token-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const field = byId("token");
    const text = field.value.trim();
    field.value = "";
    if (!text) return;
    const fields = new URLSearchParams(text.includes("#") ? text.slice(text.indexOf("#") + 1) : "");
    given({ token: fields.get("token") ?? text, channel: fields.get("channel") ?? "" });
  });
}

/** Set text only when it changed, so that screen readers hear it once. */
export function setText(id, text) {
  const element = byId(id);
  if (element && element.textContent !== text) element.textContent = text;
}

// Words in backticks become code.
function setWords(id, text) {
  const element = byId(id);
  if (element.dataset.words === text) return;
  element.dataset.words = text;
  const parts = text.split("`").map((part, index) => {
    if (index % 2 === 0) return part;
    const code = document.createElement("code");
    code.textContent = part;
    return code;
  });
  element.replaceChildren(...parts);
}

export function formatBitrate(bitsPerSecond) {
  if (bitsPerSecond === null || bitsPerSecond === undefined) return "–";
  return bitsPerSecond >= 1e6 ? `${(bitsPerSecond / 1e6).toFixed(1)} Mbit/s` : `${Math.round(bitsPerSecond / 1e3)} kbit/s`;
}

export function formatNumber(value, unit = "", digits = 0) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  return `${value.toFixed(digits)}${unit ? ` ${unit}` : ""}`;
}
