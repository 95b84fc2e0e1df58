// The fragment of the address: channel, token and switches of a page. A fragment never travels to the server.

const CODECS = ["H264", "VP8"];

/** Read `#channel=demo&token=...&relay=1&trickle=0&codec=VP8&client=me`; unknown keys and values are ignored. */
export function readFragment(hash) {
  const fields = new URLSearchParams(hash.replace(/^#/, ""));
  const codec = (fields.get("codec") ?? "").toUpperCase();
  return {
    channel: fields.get("channel") ?? "",
    token: (fields.get("token") ?? "").trim(),
    clientId: fields.get("client") ?? "",
    relay: fields.get("relay") === "1",
    trickle: fields.get("trickle") !== "0",
    codec: CODECS.includes(codec) ? codec : "",
  };
}

/** Write a fragment that `readFragment` reads back; defaults are left out, and so is the token unless there is one. */
export function writeFragment({ channel = "", token = "", clientId = "", relay = false, trickle = true, codec = "" }) {
  const fields = new URLSearchParams();
  if (channel) fields.set("channel", channel);
  if (relay) fields.set("relay", "1");
  if (!trickle) fields.set("trickle", "0");
  if (codec) fields.set("codec", codec);
  if (clientId) fields.set("client", clientId);
  if (token) fields.set("token", token);
  const text = fields.toString();
  return text ? `#${text}` : "";
}

/** Read the fragment of this page and take the token out of the address bar and of the history entry. */
export function takeFragment() {
  const options = readFragment(location.hash);
  showFragment(options);
  return options;
}

/** Put the options, without the token, into the address bar. */
export function showFragment(options) {
  history.replaceState(null, "", location.pathname + writeFragment({ ...options, token: "" }));
}
