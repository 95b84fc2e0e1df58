"""The bound sockets of a node and their URLs."""

import socket

import msgspec

from app.tls import TlsListener


class Listeners(msgspec.Struct, frozen=True):
    """Bound sockets of a node."""

    http: socket.socket
    ops: socket.socket
    tls: TlsListener | None = None

    @property
    def http_url(self) -> str:
        """The URL of the HTTP port as this machine reaches it."""
        return url_of("http", self.http)

    @property
    def https_url(self) -> str | None:
        """The URL of the HTTPS port, if there is one."""
        return url_of("https", self.tls.socket) if self.tls else None

    @property
    def ops_url(self) -> str:
        """The URL of the operations port."""
        return url_of("http", self.ops)

    @property
    def ports(self) -> tuple[int, ...]:
        """The TCP ports at which pages are served."""
        http = int(self.http.getsockname()[1])
        return (http, self.tls.port) if self.tls else (http,)


def url_of(scheme: str, listener: socket.socket) -> str:
    """Return the URL of a listener as this machine reaches it."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # compared, not bound
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
