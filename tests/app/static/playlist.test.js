// Playlists of recordings, and what a line of time shows.

import assert from "node:assert/strict";
import { test } from "node:test";

import { parsePlaylist, parts, typeOf } from "../../../app/static/playlist.js";

const TEXT = `#EXTM3U
#EXT-X-VERSION:7
#EXT-X-TARGETDURATION:2
#EXT-X-MAP:URI="2025-11-26T04Z/init-aaaaaaaa.mp4"
#EXT-X-PROGRAM-DATE-TIME:2025-11-26T04:59:58.000Z
#EXTINF:2.000,
2025-11-26T04Z/7.m4s
#EXTINF:2.033,
2025-11-26T04Z/8.m4s
#EXT-X-DISCONTINUITY
#EXT-X-MAP:URI="2025-11-26T05Z/init-bbbbbbbb.mp4"
#EXT-X-PROGRAM-DATE-TIME:2025-11-26T05:00:58.500Z
#EXTINF:1.000,
2025-11-26T05Z/9.m4s
`;
const START = Date.UTC(2025, 10, 26, 4, 59, 58);

test("segments have their times, addresses and inits, over breaks", () => {
  assert.deepEqual(parsePlaylist(TEXT, "/r/"), [
    { start: START, end: START + 2000, uri: "/r/2025-11-26T04Z/7.m4s", init: "/r/2025-11-26T04Z/init-aaaaaaaa.mp4" },
    { start: START + 2000, end: START + 4033, uri: "/r/2025-11-26T04Z/8.m4s", init: "/r/2025-11-26T04Z/init-aaaaaaaa.mp4" },
    { start: START + 60_500, end: START + 61_500, uri: "/r/2025-11-26T05Z/9.m4s", init: "/r/2025-11-26T05Z/init-bbbbbbbb.mp4" },
  ]);
  assert.deepEqual(parsePlaylist("#EXTM3U\n", "/r/"), []);
});

test("the type of an init names its codecs", () => {
  const bytes = (text) => Uint8Array.from(text, (letter) => letter.charCodeAt(0)).buffer;
  assert.equal(typeOf(bytes("xxavcC\x01\x42\xc0\x1fxx")), 'video/mp4; codecs="avc1.42c01f"');
  assert.equal(typeOf(bytes("avcC\x01\x42\xc0\x1fOpus....dOps")), 'video/mp4; codecs="avc1.42c01f,opus"');
  assert.throws(() => typeOf(bytes("moov")), /no H.264/);
});

test("a line shows the parts of stretches that lie on it", () => {
  const stretches = [{ start: 0, end: 10 }, { start: 50, end: 120 }, { start: 200, end: 300 }, { start: 400, end: 500 }];
  assert.deepEqual(parts(stretches, 100, 300), [{ at: 0, width: 0.1 }, { at: 0.5, width: 0.5 }]);
});
