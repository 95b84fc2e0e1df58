"""The TURN client of the lab over TCP and TLS."""

import socket
import ssl
import struct

from tests.netns.lab import Lab
from tests.netns.turn_client import Host, LabClient

_STUN_HEADER_BYTES, _CHANNEL_HEADER_BYTES = 20, 4


class StreamClient(LabClient):
    """A client over TCP, or with `tls` over TLS; `window_bytes` bounds what its system takes while it does not read."""

    def __init__(
        self,
        lab: Lab,
        part: str,
        credential: tuple[str, str],
        server: Host,
        *,
        tls: ssl.SSLContext | None = None,
        window_bytes: int = 0,
    ) -> None:
        self._tls = tls
        self._window_bytes = window_bytes
        self._unread = b""
        super().__init__(lab, part, credential, server)

    def _open(self, server: Host) -> None:
        self.socket = socket.socket(socket.AF_INET6 if ":" in server[0] else socket.AF_INET, socket.SOCK_STREAM)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._window_bytes:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._window_bytes)
        self.socket.settimeout(5)
        self.socket.connect(server)
        if self._tls is not None:
            self.socket = self._tls.wrap_socket(self.socket, server_hostname=server[0])

    def send(self, message: bytes) -> None:
        """Send one message, padded as a stream wants it (RFC 8656, 12.5)."""
        self.socket.settimeout(5)
        self.socket.sendall(message + bytes(-len(message) & 3))

    def receive(self, limit_s: float) -> bytes:
        """Return the next message of the server. Raises: TimeoutError; ConnectionError when the server hung up."""
        self.socket.settimeout(max(limit_s, 0.001))
        while (length := self._length()) is None or len(self._unread) < length + (-length & 3):
            some = self.socket.recv(65536)
            if not some:
                raise ConnectionError("the server hung up")
            self._unread += some
        message, self._unread = self._unread[:length], self._unread[length + (-length & 3) :]
        return message

    def _length(self) -> int | None:
        if len(self._unread) < _CHANNEL_HEADER_BYTES:
            return None
        (length,) = struct.unpack_from("!H", self._unread, 2)
        is_channel_data = self._unread[0] >> 6 == 1
        return int(length) + (_CHANNEL_HEADER_BYTES if is_channel_data else _STUN_HEADER_BYTES)
