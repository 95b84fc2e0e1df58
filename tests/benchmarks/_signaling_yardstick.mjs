// The signaling relay that somebody would write by hand on `ws`: one master and its viewers a channel, the JSON of KVS,
// an error status for an absent recipient. No credential, no limits, nothing held, nothing logged.
// `node _signaling_yardstick.mjs [CERTIFICATE KEY]` prints {"port": N} and ends with its input; over TLS with a pair.
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import { createRequire } from 'node:module';

const { WebSocketServer } = createRequire(new URL('../interop/package.json', import.meta.url))('ws');

const ACTIONS = new Set(['SDP_OFFER', 'SDP_ANSWER', 'ICE_CANDIDATE']);
const channels = new Map();
const notFound = (_, response) => response.writeHead(404).end();
const [cert, key] = process.argv.slice(2).map((path) => readFileSync(path));
const server = cert ? createSecureServer({ cert, key }, notFound) : createServer(notFound);
const sockets = new WebSocketServer({ noServer: true, perMessageDeflate: false, maxPayload: 65536, clientTracking: false });

function channel(name) {
  let found = channels.get(name);
  if (!found) channels.set(name, (found = { master: null, viewers: new Map() }));
  return found;
}

function relay(here, socket, clientId, data, isBinary) {
  if (isBinary) {
    socket.close(1003);
    return;
  }
  let message;
  try {
    message = JSON.parse(data);
  } catch {
    return;
  }
  const { action, messagePayload, recipientClientId, correlationId } = message;
  if (!ACTIONS.has(action) || typeof messagePayload !== 'string') return;
  const target = clientId === null ? here.viewers.get(recipientClientId) : here.master;
  if (target) {
    const sent = { messagePayload, messageType: action };
    if (clientId !== null) sent.senderClientId = clientId;
    target.send(JSON.stringify(sent));
  } else if (correlationId) {
    const statusResponse = { correlationId, errorType: 'ResourceNotFoundException', statusCode: '404', description: 'absent' };
    socket.send(JSON.stringify({ messagePayload: '', messageType: 'STATUS_RESPONSE', statusResponse }));
  }
}

server.on('upgrade', (request, stream, head) => {
  stream.on('error', () => {});
  const url = new URL(request.url, 'http://localhost');
  const here = channel(url.searchParams.get('X-Amz-ChannelARN'));
  const clientId = url.pathname === '/master' ? null : url.searchParams.get('X-Amz-ClientId');
  sockets.handleUpgrade(request, stream, head, (socket) => {
    if (clientId === null) here.master = socket;
    else here.viewers.set(clientId, socket);
    socket.on('message', (data, isBinary) => relay(here, socket, clientId, data, isBinary));
    socket.on('close', () => {
      if (clientId === null && here.master === socket) here.master = null;
      if (here.viewers.get(clientId) === socket) here.viewers.delete(clientId);
    });
  });
});
process.stdin.on('end', () => process.exit(0)).resume(); // the benchmark is done or gone
server.listen(0, '127.0.0.1', () => console.log(JSON.stringify({ port: server.address().port })));
