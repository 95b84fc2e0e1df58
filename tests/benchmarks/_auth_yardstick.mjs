// The websocket server that somebody would write by hand for the same work: `ws`, and node:crypto for the credential.
// It verifies what Heliograph verifies (signature, time, issuer, audience, scope, channel pattern), keeps the same two
// memories (signing keys of SigV4; tokens that were good), one slot per client id, and writes one audit line a connect.
// It relays nothing. `/bare` opens without any of that.
// `node _auth_yardstick.mjs`: reads its settings as a line of JSON from standard input, prints {"port": N}.
import { createHash, createHmac, createPublicKey, createSecretKey, randomUUID, timingSafeEqual, verify } from 'node:crypto';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

const { WebSocketServer } = createRequire(new URL('../interop/package.json', import.meta.url))('ws');

const TOKEN_LIMIT = 8192;
const CACHE_ENTRIES = 10_000;
const LEEWAY_S = 30;
const SIGNATURE_AGE_S = 300;
const EMPTY = createHash('sha256').update('').digest('hex');

const lines = createInterface({ input: process.stdin });
lines.on('close', () => process.exit(0)); // the benchmark is done or gone
const { value: line } = await lines[Symbol.asyncIterator]().next();
const settings = JSON.parse(line);
const keys = new Map(settings.keys.map(({ kid, alg, material }) => [kid, { alg, key: readKey(alg, material) }]));
const secrets = new Map(Object.entries(settings.accessKeys));
const channels = new Set(settings.channels);
const members = new Map(settings.channels.map((arn) => [arn, new Map()]));
const signingKeys = new Map();
const goodTokens = new Map();
const patterns = new Map();

class Refusal extends Error {}

function readKey(alg, material) {
  return alg === 'HS256' ? createSecretKey(Buffer.from(material)) : createPublicKey(material);
}

function hmac(key, text) {
  return createHmac('sha256', key).update(text).digest();
}

function isSame(ours, theirs) {
  return ours.length === theirs.length && timingSafeEqual(ours, theirs);
}

function remember(cache, key, value) {
  cache.set(key, value);
  if (cache.size > CACHE_ENTRIES) cache.delete(cache.keys().next().value);
  return value;
}

// JWT (RFC 7519)

function verifyToken(token, now) {
  const known = goodTokens.get(token);
  if (known && now < known.exp + LEEWAY_S) return known;
  if (token.length > TOKEN_LIMIT) throw new Refusal('the token is too large');
  const parts = token.split('.');
  if (parts.length !== 3) throw new Refusal('the token is malformed');
  const header = JSON.parse(Buffer.from(parts[0], 'base64url'));
  const found = keys.get(header.kid);
  if (!found || header.alg !== found.alg) throw new Refusal('no such key, or not its algorithm');
  const signed = token.slice(0, parts[0].length + 1 + parts[1].length);
  const signature = Buffer.from(parts[2], 'base64url');
  const isGood =
    found.alg === 'HS256'
      ? isSame(hmac(found.key, signed), signature)
      : verify('sha256', Buffer.from(signed), { key: found.key, dsaEncoding: 'ieee-p1363' }, signature);
  if (!isGood) throw new Refusal('the signature is wrong');
  const claims = JSON.parse(Buffer.from(parts[1], 'base64url'));
  if (claims.iss !== settings.issuer || claims.aud !== settings.audience) throw new Refusal('not for this service');
  if (!Number.isInteger(claims.exp) || now >= claims.exp + LEEWAY_S) throw new Refusal('the token has expired');
  if (now < Math.max(claims.nbf ?? 0, claims.iat ?? 0) - LEEWAY_S) throw new Refusal('the token is not valid yet');
  if (typeof claims.sub !== 'string') throw new Refusal('no subject');
  return remember(goodTokens, token, { ...claims, actions: claims.scope.split(' ') });
}

// SigV4, query form (AWS Signature Version 4, presigned URL)

function signingKey(id, secret, date, region) {
  const name = `${id} ${date} ${region}`;
  const known = signingKeys.get(name);
  if (known) return known;
  const steps = [date, region, 'kinesisvideo', 'aws4_request'];
  return remember(signingKeys, name, steps.reduce((key, text) => hmac(key, text), `AWS4${secret}`));
}

function verifySignature(request, path, rawQuery, query, now) {
  const [id, date, region, service, end] = query.get('X-Amz-Credential').split('/');
  if (region !== settings.region || service !== 'kinesisvideo' || end !== 'aws4_request') throw new Refusal('scope');
  if (query.get('X-Amz-Algorithm') !== 'AWS4-HMAC-SHA256') throw new Refusal('algorithm');
  const stamp = query.get('X-Amz-Date');
  const [, y, mo, d, h, mi, s] = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(stamp) ?? [];
  const signedAt = Date.UTC(y, mo - 1, d, h, mi, s) / 1000;
  if (!stamp.startsWith(date) || !(Math.abs(now - signedAt) <= SIGNATURE_AGE_S)) throw new Refusal('time');
  if (now > signedAt + Number(query.get('X-Amz-Expires'))) throw new Refusal('Signature expired');
  const secret = secrets.get(id);
  if (secret === undefined) throw new Refusal('unknown key');
  const names = query.get('X-Amz-SignedHeaders').split(';');
  if (!names.includes('host')) throw new Refusal('host is not signed');
  const headers = names.map((name) => `${name}:${request.headers[name].trim().replace(/ +/g, ' ')}\n`).join('');
  const sorted = rawQuery.split('&').filter((pair) => !pair.startsWith('X-Amz-Signature=')).sort().join('&');
  const canonical = `GET\n${path}\n${sorted}\n${headers}\n${names.join(';')}\n${EMPTY}`;
  const digest = createHash('sha256').update(canonical).digest('hex');
  const text = `AWS4-HMAC-SHA256\n${stamp}\n${date}/${region}/kinesisvideo/aws4_request\n${digest}`;
  const signature = Buffer.from(query.get('X-Amz-Signature') ?? '', 'hex');
  if (!isSame(hmac(signingKey(id, secret, date, region), text), signature)) throw new Refusal('wrong signature');
  return { sub: id, actions: ['kvs:*'], channels: ['*'] };
}

// Authorisation

function matches(pattern, text) {
  let expression = patterns.get(pattern);
  if (!expression) {
    const escaped = pattern.replace(/[.+^${}()|[\]\\]/g, '\\$&').replaceAll('*', '.*').replaceAll('?', '.');
    expression = remember(patterns, pattern, new RegExp(`^${escaped}$`, 's'));
  }
  return expression.test(text);
}

function authorise(grant, action, arn) {
  if (!grant.actions.some((allowed) => matches(allowed.toLowerCase(), `kvs:${action}`.toLowerCase()))) throw new Refusal('action');
  if (!grant.channels.some((allowed) => matches(allowed, arn))) throw new Refusal('channel');
}

function decide(request) {
  const at = request.url.indexOf('?');
  const path = at < 0 ? request.url : request.url.slice(0, at);
  if (path !== '/viewer') throw new Refusal('no such path');
  const rawQuery = at < 0 ? '' : request.url.slice(at + 1);
  const query = new URLSearchParams(rawQuery);
  const now = Date.now() / 1000;
  const token = query.get('token');
  if ((token === null) === (query.get('X-Amz-Signature') === null)) throw new Refusal('one credential is needed');
  const grant = token === null ? verifySignature(request, path, rawQuery, query, now) : verifyToken(token, now);
  const arn = query.get('X-Amz-ChannelARN');
  const clientId = query.get('X-Amz-ClientId') ?? '';
  if (!/^[a-zA-Z0-9_.-]{1,256}$/.test(clientId)) throw new Refusal('client id');
  authorise(grant, 'ConnectAsViewer', arn);
  if (grant.cid !== undefined && grant.cid !== clientId) throw new Refusal('cid');
  if (!channels.has(arn)) throw new Refusal('no such channel');
  return { grant, arn, clientId };
}

function audit(event, fields) {
  const ts = new Date().toISOString();
  process.stderr.write(`${JSON.stringify({ ts, level: 'info', event, logger: 'audit', ...fields })}\n`);
}

function join(socket, { grant, arn, clientId }, source) {
  const here = members.get(arn);
  here.get(clientId)?.close(1000, 'replaced by a newer connection of this client id');
  here.set(clientId, socket);
  socket.on('close', () => here.get(clientId) === socket && here.delete(clientId));
  const ids = { request_id: randomUUID(), connection_id: randomUUID() };
  audit('connected', { operation: 'ConnectAsViewer', source, subject: grant.sub, channel: arn, client_id: clientId, ...ids });
}

const server = createServer((_, response) => response.writeHead(404).end());
const sockets = new WebSocketServer({ noServer: true, perMessageDeflate: false, maxPayload: 65536, clientTracking: false });
server.on('upgrade', (request, socket, head) => {
  socket.on('error', () => {});
  if (request.url === '/bare') {
    sockets.handleUpgrade(request, socket, head, () => {});
    return;
  }
  let connect;
  try {
    connect = decide(request);
  } catch (error) {
    audit('connect refused', { source: socket.remoteAddress, reason: String(error) });
    socket.end('HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n');
    return;
  }
  sockets.handleUpgrade(request, socket, head, (opened) => join(opened, connect, socket.remoteAddress));
});
server.listen(0, '127.0.0.1', () => console.log(JSON.stringify({ port: server.address().port })));
