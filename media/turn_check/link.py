"""Connections of a TURN client over UDP, TCP and TLS: whole messages in and out, every failure as one LinkError."""

import asyncio
import contextlib
import errno
import socket
import ssl
from collections import deque
from collections.abc import Iterator
from typing import Protocol

from media.turn.framing import BROKEN, LAST_OF_STUN, cut
from media.turn_check.verdict import LinkError, Trouble

_MOST_BYTES = 65536
_REPEAT_S = 0.5
_UNREACHABLE = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EACCES)
_ALPN = ["stun.turn"]


class Link(Protocol):
    """One connection to a server; messages are whole STUN or ChannelData messages, without padding between them."""

    repeat_s: float
    """Seconds after which an unanswered message is worth repeating, 0 where nothing is lost on the way."""

    def send(self, message: bytes) -> None:
        """Send one message. Raises: LinkError."""

    async def receive(self) -> bytes:
        """Return the next message. Raises: LinkError when none can come any more."""

    def close(self) -> None:
        """Close the connection."""


class UdpLink:
    """A connected UDP socket, which hears from the kernel when nobody listens there."""

    repeat_s = _REPEAT_S

    def __init__(self, host: str, port: int, local_host: str = "") -> None:
        """Open it. Raises: LinkError."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        with _translated():
            try:
                if local_host:
                    self.socket.bind((local_host, 0))
                self.socket.connect((host, port))
            except OSError:
                self.socket.close()
                raise

    def send(self, message: bytes) -> None:
        """Send one datagram; one for which there is no room is lost. Raises: LinkError."""
        with _translated(), contextlib.suppress(BlockingIOError):
            self.socket.send(message)

    async def receive(self) -> bytes:
        """Return the next datagram. Raises: LinkError."""
        with _translated():
            return await asyncio.get_running_loop().sock_recv(self.socket, _MOST_BYTES)

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()


class StreamLink:
    """A TCP or TLS connection with the framing of RFC 8656, 12.5."""

    repeat_s = 0.0

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._rest = b""
        self._messages: deque[bytes] = deque()
        self._has_begun = False

    @property
    def certificate(self) -> bytes:
        """The server's certificate in DER form, empty without TLS."""
        tls: ssl.SSLObject | None = self._writer.get_extra_info("ssl_object")
        return (tls.getpeercert(binary_form=True) or b"") if tls is not None else b""

    @property
    def protocol(self) -> str:
        """The version of TLS, empty without."""
        tls: ssl.SSLObject | None = self._writer.get_extra_info("ssl_object")
        return (tls.version() or "") if tls is not None else ""

    def send(self, message: bytes) -> None:
        """Send one message; a check sends so little that nothing waits."""
        self._writer.write(message + bytes(-len(message) & 3))

    async def receive(self) -> bytes:
        """Return the next message; a wait that is given up loses nothing. Raises: LinkError."""
        while not self._messages:
            with _translated():
                data = await self._reader.read(_MOST_BYTES)
            if not data:
                raise LinkError(Trouble.CLOSED)
            self._take(self._rest + data)
        return self._messages.popleft()

    def _take(self, data: bytes) -> None:
        # A first answer is never ChannelData: that of a web server would be taken for it, by its H
        messages, taken = cut(memoryview(data)) if self._has_begun or data[0] <= LAST_OF_STUN else ([], BROKEN)
        self._messages.extend(map(bytes, messages))
        if taken == BROKEN:
            raise LinkError(Trouble.NOT_STUN, f"the answer begins with {_shown(data)}")
        self._rest = data[taken:]
        self._has_begun = self._has_begun or bool(messages)

    def close(self) -> None:
        """Close the connection."""
        self._writer.close()


async def connect_tcp(host: str, port: int) -> socket.socket:
    """Return a connected socket. Raises: LinkError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    handle = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # by its number asyncio sets TCP_NODELAY
    handle.setblocking(False)
    with _translated():
        try:
            await asyncio.get_running_loop().sock_connect(handle, (host, port))
        except BaseException:
            handle.close()
            raise
    return handle


async def over_tcp(handle: socket.socket) -> StreamLink:
    """Return the link over a connected socket, which is the link's from now on."""
    return StreamLink(*await asyncio.open_connection(sock=handle))


async def over_tls(handle: socket.socket, context: ssl.SSLContext, server_name: str) -> StreamLink:
    """Shake hands on a connected socket and return the link. Raises: LinkError."""
    context.set_alpn_protocols(_ALPN)
    with _translated():
        try:
            return StreamLink(*await asyncio.open_connection(sock=handle, ssl=context, server_hostname=server_name))
        except BaseException:
            handle.close()
            raise


async def certificate_of(host: str, port: int, server_name: str) -> bytes:
    """Return the certificate of a server that is not trusted, in DER form; empty when it shows none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        link = await over_tls(await connect_tcp(host, port), context, server_name)
    except LinkError:
        return b""
    link.close()
    return link.certificate


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _link_error(error) from error


def _link_error(error: OSError) -> LinkError:
    if isinstance(error, ssl.SSLCertVerificationError):
        return LinkError(Trouble.CERTIFICATE, error.verify_message.rstrip("."), error.verify_code)
    if isinstance(error, ssl.SSLError):
        return LinkError(Trouble.TLS, (error.reason or "no TLS").lower().replace("_", " "))
    if isinstance(error, ConnectionRefusedError):
        return LinkError(Trouble.REFUSED)
    if error.errno in _UNREACHABLE:
        return LinkError(Trouble.UNREACHABLE, (error.strerror or "").lower())
    if isinstance(error, ConnectionResetError | BrokenPipeError | ConnectionAbortedError):
        return LinkError(Trouble.CLOSED)
    return LinkError(Trouble.SILENT, (error.strerror or "").lower())


def _shown(data: bytes) -> str:
    head = data[:8]
    return f"{head.decode()!r}" if head.isascii() and head.decode().isprintable() else head.hex(" ")
