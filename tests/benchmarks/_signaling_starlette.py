"""The signaling relay that somebody would write by hand on Starlette: stock uvicorn, one task a websocket, a dictionary
of who is there, the JSON of KVS. No credential, no limits, nothing held, nothing logged, and nothing of ours in it.

`python -m tests.benchmarks._signaling_starlette [REDIS_URL]` prints {"port": N} and ends with its input. With a Redis
it is one node of several: what is for nobody here it publishes to the channel's topic, by redis-py, and forgets.
"""

import asyncio
import socket
import sys
from typing import Literal

import msgspec
import redis.asyncio
import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect


class Sent(msgspec.Struct, rename="camel"):
    """What a client sends."""

    action: Literal["SDP_OFFER", "SDP_ANSWER", "ICE_CANDIDATE"]
    message_payload: str
    recipient_client_id: str = ""
    correlation_id: str = ""


class Passed(msgspec.Struct, rename="camel", omit_defaults=True):
    """What the other one gets."""

    message_payload: str
    message_type: str
    sender_client_id: str = ""


class StatusResponse(msgspec.Struct, rename="camel"):
    """Why a message was not passed on."""

    correlation_id: str
    error_type: str = "ResourceNotFoundException"
    status_code: str = "404"
    description: str = "absent"


class Status(msgspec.Struct, rename="camel"):
    """The answer for an absent recipient."""

    status_response: StatusResponse
    message_payload: str = ""
    message_type: str = "STATUS_RESPONSE"


class Crossing(msgspec.Struct, array_like=True):
    """What one node publishes for the others: for whom, None is the master, and what it gets."""

    client_id: str | None
    text: str


_sent = msgspec.json.Decoder(Sent)
_crossing = msgspec.msgpack.Decoder(Crossing)
_packer = msgspec.msgpack.Encoder()
_encoder = msgspec.json.Encoder()


class Relay:
    """Who is there, by channel and client id; the master's is None."""

    def __init__(self, others: redis.asyncio.Redis | None) -> None:
        self._members: dict[tuple[str, str | None], WebSocket] = {}
        self._others = others
        self._topics = others.pubsub(ignore_subscribe_messages=True) if others else None

    async def listen(self) -> None:
        """Pass on what other nodes publish, until it is cancelled."""
        assert self._topics is not None
        await self._topics.subscribe("nodes")
        async for message in self._topics.listen():
            crossing = _crossing.decode(message["data"])
            target = self._members.get((message["channel"].decode(), crossing.client_id))
            if target is not None:
                await target.send_text(crossing.text)

    async def master(self, websocket: WebSocket) -> None:
        """Pass a master's messages to its viewers."""
        await self._serve(websocket, None)

    async def viewer(self, websocket: WebSocket) -> None:
        """Pass a viewer's messages to its master."""
        await self._serve(websocket, websocket.query_params["X-Amz-ClientId"])

    async def _serve(self, websocket: WebSocket, client_id: str | None) -> None:
        channel = websocket.query_params["X-Amz-ChannelARN"]
        if self._topics is not None:
            await self._topics.subscribe(channel)
        await websocket.accept()
        self._members[channel, client_id] = websocket
        try:
            while True:
                await self._pass(websocket, channel, client_id, await websocket.receive_text())
        except WebSocketDisconnect:
            if self._members.get((channel, client_id)) is websocket:
                del self._members[channel, client_id]

    async def _pass(self, websocket: WebSocket, channel: str, client_id: str | None, text: str) -> None:
        try:
            message = _sent.decode(text)
        except msgspec.ValidationError:
            return
        recipient = message.recipient_client_id if client_id is None else None
        target = self._members.get((channel, recipient))
        passed = _encoder.encode(Passed(message.message_payload, message.action, client_id or "")).decode()
        if target is not None:
            await target.send_text(passed)
        elif self._others is not None:
            await self._others.publish(channel, _packer.encode(Crossing(recipient, passed)))
        elif message.correlation_id:
            await websocket.send_text(_encoder.encode(Status(StatusResponse(message.correlation_id))).decode())


def connected(url: str) -> redis.asyncio.Redis:
    """A client whose publishers wait for one of 16 connections; without a bound a burst ends them all."""
    pool = redis.asyncio.BlockingConnectionPool.from_url(url, max_connections=16, timeout=None)
    return redis.asyncio.Redis.from_pool(pool)


async def main() -> None:
    """Serve until the input ends."""
    others = connected(sys.argv[1]) if len(sys.argv) > 1 else None
    relay = Relay(others)
    routes = [WebSocketRoute("/master", relay.master), WebSocketRoute("/viewer", relay.viewer)]
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    config = uvicorn.Config(
        Starlette(routes=routes),
        http="httptools",
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        ws_ping_interval=None,
        lifespan="off",
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=1,
    )
    print(f'{{"port": {listener.getsockname()[1]}}}', flush=True)
    server = uvicorn.Server(config)
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(server.serve(sockets=[listener]))
        listening = group.create_task(relay.listen()) if others else None
        await asyncio.to_thread(sys.stdin.read)
        server.should_exit = True
        await serving
        if listening:
            listening.cancel()


if __name__ == "__main__":
    uvloop.run(main())
