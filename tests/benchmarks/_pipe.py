"""Signaling over the standard streams of a benchmark's child processes: one JSON line is one message."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator

import msgspec

from channels.ice import IceServer
from channels.names import Role
from channels.signaling.client import ClientSettings, Message

LINE_LIMIT = 1 << 20


class Line(msgspec.Struct):
    """`type` is a signaling type, or READY, COUNT and COUNTED between the benchmark and its viewers."""

    type: str
    client_id: str = ""
    payload: bytes = b""


encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(Line).decode


def write(line: Line) -> None:
    sys.stdout.buffer.write(encode(line) + b"\n")
    sys.stdout.buffer.flush()


async def lines() -> AsyncIterator[Line]:
    """Lines of the standard input until its end."""
    reader = asyncio.StreamReader(LINE_LIMIT)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while text := await reader.readline():
        yield decode(text)


class PipeConnection:
    """What a master sees of its signaling connection."""

    close_code: int | None = None
    close_reason = ""

    async def send(
        self, type: str, payload: bytes, recipient_client_id: str | None = None, correlation_id: str | None = None
    ) -> None:
        write(Line(type, recipient_client_id or "", payload))

    async def __aiter__(self) -> AsyncIterator[Message]:
        async for line in lines():
            yield Message(line.type, line.payload, line.client_id)
        os._exit(0)  # the benchmark is gone or done: nothing here is worth an orderly end

    async def close(self) -> None:
        self.close_code = 1000


class PipeClient:
    """What a master sees of its signaling client; there are no ICE servers."""

    settings = ClientSettings("http://127.0.0.1:1", "", "bench", Role.MASTER)

    async def open(self) -> PipeConnection:
        return PipeConnection()

    async def ice_servers(self) -> tuple[IceServer, ...]:
        return ()
