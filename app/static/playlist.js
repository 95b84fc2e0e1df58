// Playlists of recordings (RFC 8216), as much of them as the service writes. Pure.

/** The segments of a playlist: `{start, end, uri, init}`, times in ms since 1970, addresses below `base`. */
export function parsePlaylist(text, base) {
  const segments = [];
  let init = "";
  let at = 0;
  let lasts = 0;
  for (const line of text.split("\n")) {
    if (line.startsWith("#EXT-X-PROGRAM-DATE-TIME:")) at = Date.parse(line.slice(line.indexOf(":") + 1));
    else if (line.startsWith("#EXT-X-MAP:")) init = base + (/URI="([^"]*)"/.exec(line)?.[1] ?? "");
    else if (line.startsWith("#EXTINF:")) lasts = Math.round(Number.parseFloat(line.slice(8)) * 1000);
    else if (line && !line.startsWith("#")) {
      segments.push({ start: at, end: at + lasts, uri: base + line, init });
      at += lasts;
    }
  }
  return segments;
}

/** What MediaSource calls the codecs of an init (RFC 6381), read from its boxes. */
export function typeOf(init) {
  const bytes = new Uint8Array(init);
  const avcc = indexOf(bytes, "avcC");
  if (avcc < 0) throw new TypeError("the recording holds no H.264");
  const profile = [...bytes.slice(avcc + 5, avcc + 8)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return `video/mp4; codecs="avc1.${profile}${indexOf(bytes, "dOps") < 0 ? "" : ",opus"}"`;
}

function indexOf(bytes, kind) {
  const codes = [...kind].map((letter) => letter.charCodeAt(0));
  return bytes.findIndex((_, index) => codes.every((code, offset) => bytes[index + offset] === code));
}

/** Where the parts of `stretches` (`{start, end}`) lie between `from` and `to`, as fractions: `{at, width}`. */
export function parts(stretches, from, to) {
  const whole = to - from;
  return stretches
    .filter(({ start, end }) => end > from && start < to)
    .map(({ start, end }) => {
      const first = Math.max(start, from);
      return { at: (first - from) / whole, width: (Math.min(end, to) - first) / whole };
    });
}
