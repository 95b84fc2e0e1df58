"""Websocket frames of a server (RFC 6455, 5): bytes in, events out, and the bytes of frames to send. No I/O, no clock.

No extension is negotiated, so every reserved bit is an error. What is too large is refused by its length field, before
any of it is kept.
"""

import struct
from typing import Final

import msgspec

try:
    from websockets.speedups import apply_mask
except ImportError:  # its wheel has no compiled part for this machine
    from websockets.utils import apply_mask

IS_MASKING_COMPILED: Final = not hasattr(apply_mask, "__code__")

NORMAL: Final = 1000
GOING_AWAY: Final = 1001
PROTOCOL_ERROR: Final = 1002
UNSUPPORTED_DATA: Final = 1003
NO_CODE: Final = 1005  # stands for a close frame without a code; never sent
ABNORMAL: Final = 1006  # stands for an end without a close frame; never sent
INVALID_DATA: Final = 1007
TOO_SLOW: Final = 1008  # a policy of ours was violated, in general; we send it for this alone
TOO_BIG: Final = 1009
FAILURE: Final = 1011  # our own fault
CONTROL_BYTES: Final = 125  # RFC 6455, 5.5
TURN_FRAMES: Final = 64
_NO_UTF8: Final = "a text message must be UTF-8"
_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
_FIN: Final = 0x80
_MASKED: Final = 0x80
_MASK_BYTES: Final = 4
_SHORT: Final = 125
_MEDIUM: Final = 126
_LONG: Final = 127
_LONGEST: Final = (1 << 63) - 1
medium_header: Final = struct.Struct(">BBH").pack
_long = struct.Struct(">BBQ").pack


class Ping(msgspec.Struct, frozen=True, gc=False):
    """The peer wants a pong with this payload."""

    payload: bytes


class Pong(msgspec.Struct, frozen=True, gc=False):
    """The peer answers a ping, or says that it is there."""

    payload: bytes


class PeerClose(msgspec.Struct, frozen=True, gc=False):
    """The peer's close frame, after which nothing more is read; `code` is NO_CODE when it has none."""

    code: int
    reason: str


class Fault(msgspec.Struct, frozen=True, gc=False):
    """The peer broke the rules: close with this code, and read nothing more (RFC 6455, 7.1.7)."""

    code: int
    reason: str


Event = str | bytes | Ping | Pong | PeerClose | Fault
"""A whole text message is a str, a binary one bytes."""


class FrameReader:
    """The frames of one client. A message over `limit` bytes is a fault, in one frame or in fragments.

    After a PeerClose or a Fault it reads nothing more.
    """

    __slots__ = (
        "_at",
        "_data",
        "_has_ended",
        "_limit",
        "_message",
        "_message_kind",
        "_wanted",
        "fragments",
        "has_more",
    )

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._data: bytes | bytearray = b""  # what came in; read up to `_at`
        self._at = 0
        self._wanted = 0  # how long the unread part must be before it is worth a look
        self._message: bytearray | None = None  # the fragments so far
        self._message_kind = _TEXT
        self._has_ended = False
        self.has_more = False  # whether `receive(b"")` would read on: the frames of one call are bounded
        self.fragments = 0  # frames that were read and are no event of their own

    def receive(self, data: bytes, most: int = TURN_FRAMES) -> list[Event]:
        """The events of what came in, of `most` frames at most; what is left over waits for the next call."""
        at = 0
        if self._data or self._has_ended:
            if self._has_ended or self._keep(data) < self._wanted:
                return []
            data, at = bytes(self._data), self._at
        events: list[Event] = []
        size, last, self.has_more = len(data), most, False
        while at < size:
            if last == 0:
                self.has_more = True
                break
            last -= 1
            # The usual frame, a whole text of 126 bytes to 64 KiB, is read here: a call costs as much as the rest.
            if size - at > _MEDIUM and data[at] == _FIN | _TEXT and data[at + 1] == _MASKED | _MEDIUM:
                body = at + 8
                end = body + (data[at + 2] << 8 | data[at + 3])
                if end <= size and end - body <= self._limit and self._message is None:
                    try:
                        events.append(apply_mask(data[body:end], data[at + 4 : body]).decode())
                    except UnicodeDecodeError:
                        self._end(Fault(INVALID_DATA, _NO_UTF8), events)
                        end = size
                    at = end
                    continue
            end = self._frame(data, at, events)
            if not at < end <= size:
                at = self._stop(at, end, size)
                break
            at = end
        if at < size or self._data:
            self._leave(data, at)
        return events

    def _stop(self, at: int, end: int, size: int) -> int:
        """Where reading ends for now: behind everything after the last frame, or before one that is not all there."""
        if end < 0:
            return size
        self._wanted = end - at
        return at

    def _keep(self, data: bytes) -> int:
        """Put what came in behind what was left; how long both are together."""
        if data:
            if isinstance(self._data, bytes):
                self._data, self._at = bytearray(self._data[self._at :]), 0
            self._data += data
        return len(self._data) - self._at

    def _leave(self, data: bytes, at: int) -> None:
        """Keep what is not read yet; what waits for the next turn is not moved, since it is long and soon read."""
        if self.has_more:
            self._data, self._at, self._wanted = data, at, 0
        else:
            self._data, self._at = data[at:], 0

    def _frame(self, data: bytes, at: int, events: list[Event]) -> int:
        """Read the frame that begins at `at`; where it ends, also when it is not all there, as far as one can tell.

        Negative after the last frame that is read.
        """
        size = len(data)
        if at + 2 > size:
            return at + 2
        first, second = data[at], data[at + 1]
        length, body = second & 0x7F, at + 2 + _MASK_BYTES
        if length > _SHORT:
            extra, least = (2, _MEDIUM) if length == _MEDIUM else (8, 1 << 16)
            body += extra
            if at + 2 + extra > size:
                return at + 2 + extra
            length = int.from_bytes(data[at + 2 : at + 2 + extra], "big")
            if length < least or length > _LONGEST:
                self._end(Fault(PROTOCOL_ERROR, "a length in a form that is not allowed"), events)
                return -1
        if first != _FIN | _TEXT or second < _MASKED or length > self._limit or self._message is not None:
            fault = self._check(first, second, length)
            if fault is not None:
                self._end(fault, events)
                return -1
        end = body + length
        if end > size:
            return end
        payload = apply_mask(data[body:end], data[body - _MASK_BYTES : body])
        if first == _FIN | _TEXT:
            self._whole(_TEXT, payload, events)
        else:
            self._take(first, payload, events)
        return -1 if self._has_ended else end

    def _check(self, first: int, second: int, length: int) -> Fault | None:
        """What is wrong with a header."""
        opcode = first & 0x0F
        if first & 0x70:
            return Fault(PROTOCOL_ERROR, "reserved bits are set")
        if second < _MASKED:
            return Fault(PROTOCOL_ERROR, "a client must mask its frames")
        if opcode >= _CLOSE:
            return _check_control(first, opcode, length)
        if opcode > _BINARY:
            return Fault(PROTOCOL_ERROR, "unknown opcode")
        if (opcode == _CONTINUATION) is (self._message is None):
            begun = "no message has begun" if self._message is None else "a message has begun"
            return Fault(PROTOCOL_ERROR, f"frame out of order: {begun}")
        total = length + len(self._message or b"")
        if total > self._limit:
            return Fault(TOO_BIG, f"a message of {total} bytes is over the limit of {self._limit}")
        return None

    def _take(self, first: int, payload: bytes, events: list[Event]) -> None:
        opcode = first & 0x0F
        if opcode == _PING:
            events.append(Ping(payload))
        elif opcode == _PONG:
            events.append(Pong(payload))
        elif opcode == _CLOSE:
            self._end(_close_of(payload), events)
        elif opcode == _CONTINUATION and self._message is not None:
            self._message += payload
            if first & _FIN:
                message, self._message = bytes(self._message), None
                self._whole(self._message_kind, message, events)
            else:
                self.fragments += 1
        elif first & _FIN:
            self._whole(opcode, payload, events)
        else:
            self._message, self._message_kind = bytearray(payload), opcode
            self.fragments += 1

    def _whole(self, kind: int, message: bytes, events: list[Event]) -> None:
        if kind == _BINARY:
            events.append(message)
            return
        try:
            events.append(message.decode())
        except UnicodeDecodeError:
            self._end(Fault(INVALID_DATA, _NO_UTF8), events)

    def _end(self, event: PeerClose | Fault, events: list[Event]) -> None:
        self._has_ended = True
        self._message = None
        events.append(event)


def _check_control(first: int, opcode: int, length: int) -> Fault | None:
    if opcode > _PONG:
        return Fault(PROTOCOL_ERROR, "unknown opcode")
    if not first & _FIN:
        return Fault(PROTOCOL_ERROR, "a control frame must not be fragmented")
    if length > CONTROL_BYTES:
        return Fault(PROTOCOL_ERROR, f"a control frame must not be over {CONTROL_BYTES} bytes")
    return None


def _close_of(payload: bytes) -> PeerClose | Fault:
    """What a close frame says (RFC 6455, 5.5.1)."""
    if not payload:
        return PeerClose(NO_CODE, "")
    if len(payload) == 1:
        return Fault(PROTOCOL_ERROR, "the close frame is cut off")
    code = int.from_bytes(payload[:2], "big")
    if not is_sendable(code):
        return Fault(PROTOCOL_ERROR, "no such close code")
    try:
        return PeerClose(code, payload[2:].decode())
    except UnicodeDecodeError:
        return Fault(INVALID_DATA, "the reason of a close must be UTF-8")


def is_sendable(code: int) -> bool:
    """Whether a close frame may have this code (RFC 6455, 7.4; IANA, WebSocket Close Code Number Registry)."""
    return 3000 <= code <= 4999 or (1000 <= code <= 1014 and code not in (1004, NO_CODE, ABNORMAL))


def text_header(size: int) -> bytes:
    """What goes before `size` bytes of UTF-8 to make them a text message."""
    return _header(_FIN | _TEXT, size)


def binary_header(size: int) -> bytes:
    """What goes before `size` bytes to make them a binary message."""
    return _header(_FIN | _BINARY, size)


def ping(payload: bytes) -> bytes:
    """A ping; the payload has at most CONTROL_BYTES."""
    return _header(_FIN | _PING, len(payload)) + payload


def pong(payload: bytes) -> bytes:
    """The answer to a ping."""
    return _header(_FIN | _PONG, len(payload)) + payload


def close(code: int, reason: str = "") -> bytes:
    """A close frame; NO_CODE gives one without, and a reason that is too long is cut between two characters."""
    if code == NO_CODE:
        return _header(_FIN | _CLOSE, 0)
    text = reason.encode("utf-8", "replace")
    if len(text) > CONTROL_BYTES - 2:
        text = text[: CONTROL_BYTES - 2].decode("utf-8", "ignore").encode()
    return _header(_FIN | _CLOSE, 2 + len(text)) + code.to_bytes(2, "big") + text


def _header(first: int, size: int) -> bytes:
    if size <= _SHORT:
        return bytes((first, size))
    if size <= 0xFFFF:
        return medium_header(first, _MEDIUM, size)
    return _long(first, _LONG, size)
