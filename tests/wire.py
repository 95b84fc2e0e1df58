"""Requests byte by byte, REST calls and websocket handshakes, for what no client library would send."""

import asyncio
import json
from typing import Any

import msgspec

UPGRADE = (
    ("upgrade", "websocket"),
    ("connection", "Upgrade"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
)


class Wire(msgspec.Struct, frozen=True):
    """A request as it goes over the wire; `target` is path and query."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""

    def without(self, name: str) -> "Wire":
        return msgspec.structs.replace(self, headers=tuple(pair for pair in self.headers if pair[0] != name))

    def having(self, *headers: tuple[str, str]) -> "Wire":
        """With these headers in the place of those of the same names."""
        names = {name for name, _ in headers}
        kept = tuple(pair for pair in self.headers if pair[0] not in names)
        return msgspec.structs.replace(self, headers=kept + headers)

    def adding(self, *headers: tuple[str, str]) -> "Wire":
        return msgspec.structs.replace(self, headers=self.headers + headers)

    def at(self, target: str) -> "Wire":
        return msgspec.structs.replace(self, target=target)

    def carrying(self, body: bytes) -> "Wire":
        return msgspec.structs.replace(self, body=body)

    @property
    def encoded(self) -> bytes:
        head = f"{self.method} {self.target} HTTP/1.1\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in self.headers)
        return head.encode("latin-1") + b"\r\n" + self.body


class Answer(msgspec.Struct, frozen=True):
    """Status 101 is an open websocket, which is closed by now."""

    status: int
    code: str
    text: str
    headers: dict[str, str]

    @property
    def body(self) -> Any:
        return json.loads(self.text or "{}")


async def exchange(address: str, request: Wire) -> Answer:
    """Send a request and return the answer; the connection ends with it."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(request.encoded)
        async with asyncio.timeout(15):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = {
                name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)
            }
            body = await reader.readexactly(int(headers.get("content-length", 0)))
    finally:
        writer.close()
    return Answer(int(head[0].split()[1]), headers.get("x-amzn-errortype", ""), body.decode(), headers)
