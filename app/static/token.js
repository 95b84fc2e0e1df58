// What a token says of itself. Nothing is verified here: the service decides, the page only words it.

/** Claims of a JWT that help the page: `{clientId, expiresAt (ms) | null, channels: names}`; null when it is no JWT. */
export function readClaims(token) {
  const parts = token.split(".");
  if (parts.length !== 3) return null;
  try {
    const text = atob(parts[1].replaceAll("-", "+").replaceAll("_", "/"));
    const bytes = Uint8Array.from(text, (character) => character.charCodeAt(0));
    const claims = JSON.parse(new TextDecoder().decode(bytes));
    return {
      clientId: typeof claims.cid === "string" ? claims.cid : "",
      expiresAt: typeof claims.exp === "number" ? claims.exp * 1000 : null,
      channels: channelNames(claims.channels),
    };
  } catch {
    return null;
  }
}

// `arn:aws:kinesisvideo:us-west-2:000000000000:channel/demo/*` names `demo`; a pattern with a wildcard in the name names none.
function channelNames(patterns) {
  if (!Array.isArray(patterns)) return [];
  const names = patterns.map((pattern) => /:channel\/([a-zA-Z0-9_.-]+)\//.exec(String(pattern))?.[1]);
  return [...new Set(names.filter(Boolean))];
}

/** A client id that nobody else uses, for a viewer whose token does not bind one. */
export function newClientId() {
  const bytes = crypto.getRandomValues(new Uint8Array(6));
  return `web-${Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}
