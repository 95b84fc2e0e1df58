"""The opening handshake of a websocket (RFC 6455, 4.2), from a head that the HTTP server has parsed already. Pure."""

import base64
import hashlib
import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Final

import msgspec

LINE_BYTES: Final = 8000  # of the URL or of one header
HEADERS: Final = 100
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY: Final = re.compile(rb"[A-Za-z0-9+/]{22}==")
_TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PROTOCOLS: Final = re.compile(_TOKEN + rb"(?:[ \t]*,[ \t]*" + _TOKEN + rb")*")
_ONCE: Final = frozenset((b"origin", b"upgrade", b"sec-websocket-key", b"sec-websocket-version"))
_SWITCHING: Final = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
_STATUSES: Final = frozenset(status.value for status in HTTPStatus)

Headers = Iterable[tuple[bytes, bytes]]


class Opening(msgspec.Struct, frozen=True):
    """A handshake that may be answered: the key's proof, and the subprotocols in the order of the client."""

    accept: bytes
    subprotocols: tuple[str, ...]


def read(url: bytes, headers: list[tuple[bytes, bytes]]) -> Opening | None:
    """The opening of a GET by HTTP/1.1 that asks for an upgrade to `websocket`; header names are in lower case.

    None when something is missing, malformed, there twice (RFC 6455, 4.2.1) or too long: the HTTP server refuses it.
    """
    if len(url) > LINE_BYTES or len(headers) > HEADERS or not url.isascii():
        return None
    found: dict[bytes, bytes] = {}
    offers = []
    for name, value in headers:
        if len(value) > LINE_BYTES:
            return None
        if name == b"sec-websocket-protocol":
            offers.append(value)
        elif name == b"transfer-encoding" or (name == b"content-length" and value != b"0"):
            return None  # what follows the head would be read as frames here, and as a body by a proxy in front
        elif name in _ONCE:
            if name in found:
                return None
            found[name] = value
    key, offered = found.get(b"sec-websocket-key", b""), b",".join(offers)
    is_websocket = found.get(b"upgrade", b"").lower() == b"websocket"
    if not is_websocket or found.get(b"sec-websocket-version") != b"13" or not _KEY.fullmatch(key):
        return None
    if offers and not _PROTOCOLS.fullmatch(offered):
        return None
    accept = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())
    return Opening(accept, tuple(part.strip() for part in offered.decode().split(",")) if offered else ())


def switch(opening: Opening, headers: Headers, subprotocol: str | None) -> bytes:
    """The answer that opens the websocket; `headers` are sent along."""
    lines = [_SWITCHING, b"Sec-WebSocket-Accept: ", opening.accept, b"\r\n"]
    for name, value in headers:
        lines += (name, b": ", value, b"\r\n")
    if subprotocol:
        lines += (b"Sec-WebSocket-Protocol: ", subprotocol.encode(), b"\r\n")
    lines.append(b"\r\n")
    return b"".join(lines)


def refuse(status: int, headers: Headers, body: bytes) -> bytes:
    """The answer that opens no websocket, after which the connection ends: one write, since a common device SDK keeps
    only the last piece of a body that it reads.
    """
    phrase = HTTPStatus(status).phrase if status in _STATUSES else ""
    lines = [f"HTTP/1.1 {status} {phrase}\r\n".encode()]
    names = set()
    for name, value in headers:
        names.add(name.lower())
        lines += (name, b": ", value, b"\r\n")
    if b"content-length" not in names:
        lines.append(b"content-length: %d\r\n" % len(body))
    if b"connection" not in names:
        lines.append(b"connection: close\r\n")
    return b"".join((*lines, b"\r\n", body))
