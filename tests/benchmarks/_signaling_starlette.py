"""The signaling relay that somebody would write by hand on Starlette: stock uvicorn, one task a websocket, a dictionary
of who is there, the JSON of KVS. No credential, no limits, nothing held, nothing logged, and nothing of ours in it.

`python -m tests.benchmarks._signaling_starlette` prints {"port": N} and ends with its input.
"""

import asyncio
import socket
import sys
from typing import Literal

import msgspec
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


_sent = msgspec.json.Decoder(Sent)
_encoder = msgspec.json.Encoder()


class Relay:
    """Who is there, by channel and client id; the master's is None."""

    def __init__(self) -> None:
        self._members: dict[tuple[str, str | None], WebSocket] = {}

    async def master(self, websocket: WebSocket) -> None:
        """Pass a master's messages to its viewers."""
        await self._serve(websocket, None)

    async def viewer(self, websocket: WebSocket) -> None:
        """Pass a viewer's messages to its master."""
        await self._serve(websocket, websocket.query_params["X-Amz-ClientId"])

    async def _serve(self, websocket: WebSocket, client_id: str | None) -> None:
        channel = websocket.query_params["X-Amz-ChannelARN"]
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
        target = self._members.get((channel, message.recipient_client_id if client_id is None else None))
        if target is not None:
            passed = Passed(message.message_payload, message.action, client_id or "")
            await target.send_text(_encoder.encode(passed).decode())
        elif message.correlation_id:
            await websocket.send_text(_encoder.encode(Status(StatusResponse(message.correlation_id))).decode())


async def main() -> None:
    """Serve until the input ends."""
    relay = Relay()
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
        await asyncio.to_thread(sys.stdin.read)
        server.should_exit = True
        await serving


if __name__ == "__main__":
    uvloop.run(main())
