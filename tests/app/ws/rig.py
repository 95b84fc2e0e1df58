"""Plain websocket clients for tests of the signaling websockets."""

import asyncio
import base64
import json
import socket
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from channels.channel import Channel
from channels.names import Role
from tests.signaling_service import Service

PAYLOAD = base64.b64encode("é\x00\xff".encode("latin-1")).decode()


class Opened:
    """A plain websocket client of one role."""

    def __init__(self, websocket: ClientConnection) -> None:
        self.websocket = websocket

    async def say(self, action: str, payload: str = PAYLOAD, **more: str) -> None:
        await self.websocket.send(json.dumps({"action": action, "messagePayload": payload, **more}))

    async def hear(self) -> dict[str, Any]:
        async with asyncio.timeout(15):
            heard = await self.websocket.recv()
        assert isinstance(heard, str), "the server sends text frames"
        found: dict[str, Any] = json.loads(heard)
        return found

    async def end(self) -> tuple[int | None, str | None]:
        async with asyncio.timeout(15):
            await self.websocket.wait_closed()
        return self.websocket.close_code, self.websocket.close_reason


async def open_as(service: Service, role: Role, channel: Channel, client_id: str | None = None, **more: Any) -> Opened:
    url = service.url(f"/{role.value.lower()}", channel, client_id)
    headers = {"Authorization": f"Bearer {service.token()}"}
    return Opened(await connect(url, additional_headers=headers, compression=None, proxy=None, **more))


async def master(service: Service, channel: Channel, **more: Any) -> Opened:
    return await open_as(service, Role.MASTER, channel, **more)


async def viewer(service: Service, channel: Channel, client_id: str = "v1", **more: Any) -> Opened:
    return await open_as(service, Role.VIEWER, channel, client_id, **more)


async def refusal(url: str, token: str | None) -> tuple[int, str, dict[str, Any]]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with pytest.raises(InvalidStatus) as caught:
        await connect(url, additional_headers=headers, proxy=None)
    response = caught.value.response
    assert response.headers["x-amzn-RequestId"]
    body: dict[str, Any] = json.loads(response.body or b"{}")
    assert body["Message"]
    assert body["__type"] == response.headers["x-amzn-ErrorType"]
    return response.status_code, body["__type"], body


async def gone(service: Service) -> None:
    """Wait until the service has forgotten every connection."""
    async with asyncio.timeout(15):
        while service.hub.stats.masters or service.hub.stats.viewers or len(service.presence):  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def raw_viewer(service: Service, channel: Channel, client_id: str) -> socket.socket:
    """A viewer that upgrades and then reads nothing more, with a small receive buffer."""
    stuck = await upgrade_only(service, service.url("/viewer", channel, client_id))
    assert b"101" in await asyncio.get_running_loop().sock_recv(stuck, 4096)
    return stuck


async def upgrade_only(service: Service, url: str) -> socket.socket:
    """A client that asks for an upgrade and reads nothing."""
    host, port = service.address.split(":")
    stuck = socket.socket()
    stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    stuck.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(stuck, (host, int(port)))
    await loop.sock_sendall(
        stuck,
        (
            f"GET {url.split(service.address)[1]} HTTP/1.1\r\nHost: {service.address}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
            f"Authorization: Bearer {service.token()}\r\n\r\n"
        ).encode(),
    )
    return stuck
