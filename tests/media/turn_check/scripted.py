"""A server on loopback that answers as a test tells it, over UDP or a stream."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Callable

from media.turn import stun
from media.turn.address import pack
from media.turn.framing import cut

USERNAME, PASSWORD, REALM = "user", "secret", "example.org"
KEY = stun.integrity_key(USERNAME, REALM, PASSWORD)
CLIENT = ("127.0.0.1", 40000)

Reply = Callable[[bytes], bytes | None]


def error(request: stun.Message, code: int, *attributes: tuple[int, bytes]) -> bytes:
    told = [(stun.ERROR_CODE, stun.error_code(code, "No")), *attributes]
    return stun.encode(stun.Message(request.method, stun.ERROR, request.transaction_id, told))


class Script:
    """A TURN server in name: what is asked succeeds, unless `codes` says otherwise; nothing is ever relayed."""

    def __init__(self, relayed: tuple[str, int] = ("127.0.0.1", 9), **codes: int) -> None:
        self.relayed = relayed
        self.codes = codes
        self.key: bytes | None = KEY
        self.methods: list[int] = []

    def __call__(self, data: bytes) -> bytes | None:
        request = stun.decode(data)
        if request.kind != stun.REQUEST:
            return None
        self.methods.append(request.method)
        if request.method == stun.BINDING:
            return self._success(request, None)
        if request.integrity_at < 0:
            code = self.codes.get("challenge", 401)
            challenge = ((stun.REALM, REALM.encode()), (stun.NONCE, b"nonce"))
            return error(request, code, *challenge) if code else self._success(request, None)
        names = {stun.ALLOCATE: "allocate", stun.CREATE_PERMISSION: "permit", stun.CHANNEL_BIND: "bind"}
        code = self.codes.get(names.get(request.method, ""), 0)
        if code == -1:
            return None
        return error(request, code) if code else self._success(request, self.key)

    def _success(self, request: stun.Message, key: bytes | None) -> bytes:
        attributes = [
            (kind, stun.xor_address(pack(host), port, request.transaction_id))
            for kind, (host, port) in ((stun.XOR_MAPPED_ADDRESS, CLIENT), (stun.XOR_RELAYED_ADDRESS, self.relayed))
        ]
        return stun.encode(stun.Message(request.method, stun.SUCCESS, request.transaction_id, attributes), key)


class _Protocol(asyncio.DatagramProtocol):
    def __init__(self, reply: Reply) -> None:
        self.reply = reply

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, source: tuple[str, int]) -> None:
        answer = self.reply(data)
        if answer is not None:
            self.transport.sendto(answer, source)  # type: ignore[attr-defined]


@contextlib.asynccontextmanager
async def over_udp(reply: Reply) -> AsyncIterator[int]:
    """Serve over UDP while the block runs; gives the port."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: _Protocol(reply), local_addr=("127.0.0.1", 0))
    try:
        yield transport.get_extra_info("sockname")[1]
    finally:
        transport.close()


@contextlib.asynccontextmanager
async def over_stream(reply: Reply | bytes, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Serve over TCP or TLS; `reply` as bytes is what the server says to anything before it closes."""

    serving: set[asyncio.Task[None] | None] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.current_task())
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if isinstance(reply, bytes):
                    writer.write(reply)
                    break
                messages, _ = cut(memoryview(data))
                for message in messages:
                    writer.write(reply(bytes(message)) or b"")
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        if serving:
            await asyncio.wait(serving, timeout=5)


@contextlib.contextmanager
def swallowing():  # type: ignore[no-untyped-def]
    """A UDP port and the TCP port of the same number that take everything and answer nothing; gives the number."""
    with contextlib.ExitStack() as stack:
        while True:
            stream = stack.enter_context(socket.socket())
            datagrams = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            stream.bind(("127.0.0.1", 0))
            with contextlib.suppress(OSError):  # another program has the number over UDP: the next one
                datagrams.bind(stream.getsockname())
                break
        stream.listen()
        yield stream.getsockname()[1]
