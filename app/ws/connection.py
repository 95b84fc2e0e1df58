"""One websocket of a server: frames go straight to its listener and from everybody straight into it. No task, no queue
in front of the reader, no wait for the peer.

The handshake is an ASGI application's, which accepts or refuses (`asgi`). One that knows TAKE_OVER hands a listener
over and returns, and nothing of it is left while the websocket is open.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final, Protocol

from uvicorn._types import HTTPScope
from uvicorn.config import Config
from uvicorn.server import ServerState

from app.ws import frames
from app.ws.asgi import Application
from app.ws.crowd import LOOKS, Crowd, Swept
from app.ws.frames import FrameReader, PeerClose, Ping, medium_header, text_header
from app.ws.handshake import Opening

TAKE_OVER: Final = "heliograph.take_over"  # key of the scope's extensions; its value is the Connection
_PONG_BYTES: Final = 16 * 1024  # while so much waits for a peer, its pings get no answer
_NOTHING: Final = -1  # the limit of a connection that takes nothing more
_OPENING, _OPEN, _CLOSING, _LOST = range(4)
log = logging.getLogger(__name__)

End = tuple[int, str]
"""Close code and reason."""


class Listener(Protocol):
    """Who hears a websocket."""

    @property
    def text(self) -> Callable[[str], None]:
        """Takes a whole text message; must not block."""

    @property
    def late(self) -> Callable[[str], None] | None:
        """Takes, after `closed`, a text message that the peer sent before it heard that we go away (1001)."""

    def binary(self, data: bytes) -> None:
        """Take a whole binary message. Must not block."""

    def closed(self, end: End | None) -> None:
        """Hear that nothing comes or goes any more; `end` says why when it was we who closed, with what."""

    async def ended(self) -> None:
        """Do what may take time; comes after `closed`."""


class Connection(asyncio.Protocol):
    """One websocket. `send` and `close` are what the hub knows of it."""

    __slots__ = (
        "_brake",
        "_bucket",
        "_burst",
        "_crowd",
        "_frames",
        "_frames_per_s",
        "_is_blocked",
        "_is_heard",
        "_is_held",
        "_late",
        "_limit",
        "_listener",
        "_looks",
        "_pending",
        "_reader",
        "_since",
        "_state",
        "_timer",
        "_transport",
        "_waiting",
        "end",
    )

    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd
        self._transport: asyncio.Transport
        self._reader = FrameReader(crowd.settings.message_bytes)
        self._listener: Listener | None = None
        self._late: Callable[[str], None] | None = None
        self._state = _OPENING
        self.end: End | None = None
        self._pending: list[bytes] = []
        self._waiting = 0  # bytes in it
        self._limit = crowd.settings.queued_bytes
        self._is_blocked = False  # whether the transport has not written all that it was given
        self._is_heard = True  # since the last look
        self._is_held = False
        self._looks = 0  # without a frame
        self._bucket: set[Swept] | None = None
        self._brake: asyncio.TimerHandle | None = None  # until it may send frames again
        self._timer: asyncio.TimerHandle | None = None  # until we wait for it no longer
        self._frames_per_s = self._burst = 0.0  # none: as many as come
        self._frames = 0.0
        self._since = 0.0

    # The handshake

    def open(self, transport: asyncio.Transport, head: HTTPScope, url: bytes, opening: Opening) -> None:
        """Begin with a head that is good: call the application, which accepts or refuses."""
        self._transport = transport
        self._crowd.state.connections.add(self)  # type: ignore[arg-type]  # all that uvicorn does: shutdown()
        application = Application(self._crowd, self, opening)
        self._listener = application
        self._crowd.start(application.run(head, url, {TAKE_OVER: self}))

    def take_over(self, listener: Listener) -> None:
        """Hear the open websocket in the place of the application, which may return now. Raises: OSError when lost."""
        if self._state == _LOST:
            raise ConnectionResetError("the peer has left")
        self._listener = listener
        if self._state != _OPEN:  # closed while it opened
            self._finish()

    def returned(self, application: Application) -> None:
        """The application has returned: the websocket is closed, unless somebody took it over."""
        if self._listener is application:
            self.close(frames.NORMAL)

    def hold(self, *, is_held: bool) -> None:
        """Read nothing while it is held."""
        self._is_held = is_held
        if is_held:
            self._transport.pause_reading()
        else:
            self._crowd.loop.call_soon(self._read_on)

    def pause(self) -> None:
        """Read nothing more until we close."""
        self.hold(is_held=True)

    def bound(self, queued_bytes: int, frames_per_s: float = 0.0, burst: float = 0.0) -> None:
        """Let so many bytes wait for the peer, and read so many frames a second from it; 0: as many as come."""
        if self._limit != _NOTHING:
            self._limit = queued_bytes
        self._frames_per_s, self._burst = frames_per_s, burst
        self._since = self._crowd.loop.time()

    def answer(self, head: bytes, *, is_open: bool) -> None:
        """Write the answer to the handshake: the websocket is open, or it is refused and the connection ends.

        Raises: OSError when the peer has left.
        """
        if self._state != _OPENING or self._transport.is_closing():
            raise ConnectionResetError("the peer has left")
        self._transport.write(head)
        if not is_open:
            self._state = _CLOSING
            self._crowd.count_closing(1)
            self._hang_up()
            return
        self._transport.set_write_buffer_limits(high=0)  # so that `_is_blocked` says whether anything waits
        self._state = _OPEN
        self._bucket = self._crowd.add(self)
        if self.end is not None:
            self._begin_close(*self.end)
        elif self._pending:
            self._crowd.mark(self)
        if self._reader.has_more:
            self._transport.pause_reading()
            self._crowd.loop.call_soon(self._read_on)

    # What the hub does

    def send(self, frame: bytes) -> bool:
        """Send a text message of UTF-8; False when too much waits for the peer already, or the socket is closing."""
        size = len(frame)  # from here on as `_put`, written out: each message that is relayed comes this way
        waiting = self._waiting + size
        if waiting > self._limit or (self._is_blocked and waiting + self._unwritten() > self._limit):
            return False
        self._waiting = waiting
        pending = self._pending
        if not pending and self._state == _OPEN:
            self._crowd.mark(self)
        pending.append(medium_header(0x81, 126, size) if 125 < size < 65_536 else text_header(size))
        pending.append(frame)
        return True

    def send_binary(self, data: bytes) -> bool:
        """Send a binary message; False as `send`."""
        return self._put(frames.binary_header(len(data)), data)

    def close(self, code: int, reason: str = "") -> None:
        """Close after what waits; a peer that is too slow (1008) does not get it any more."""
        if self.end is not None or self._state > _OPEN:
            return
        self.end = (code, reason)
        self._limit = _NOTHING
        if self._state == _OPEN:
            self._begin_close(code, reason)

    def _put(self, header: bytes, frame: bytes) -> bool:
        waiting = self._waiting + len(frame)
        if waiting > self._limit or (self._is_blocked and waiting + self._unwritten() > self._limit):
            return False
        self._waiting = waiting
        pending = self._pending
        if not pending and self._state == _OPEN:
            self._crowd.mark(self)
        pending.append(header)
        pending.append(frame)
        return True

    def flush(self) -> None:
        """Write what waits, in one piece."""
        pending = self._pending
        if pending:
            data = b"".join(pending)
            pending.clear()
            self._waiting = 0
            self._transport.write(data)

    # What the peer does

    def data_received(self, data: bytes) -> None:
        """Hear the frames that came in."""
        self._is_heard = True
        if self._state == _OPENING:  # a client must wait for our answer (RFC 6455, 4.1): it waits for it now
            self._reader.receive(data, 0)
            self._transport.pause_reading()
            return
        count = 0
        try:
            for event in self._reader.receive(data):
                count += 1
                if type(event) is not str:
                    self._special(event)
                elif self._listener is not None:
                    self._listener.text(event)
                elif self._late is not None:
                    self._late(event)
        except Exception:  # the door: our own fault is logged here, once, and told without details
            log.exception("a websocket failed")
            self.close(frames.FAILURE, "the service failed; its log has the reason")
        if self._frames_per_s:
            self._frames += count + self._reader.fragments
            self._reader.fragments = 0
            if self._frames >= self._burst:
                self._slow_down()
        if self._reader.has_more and self._brake is None and not self._is_held:
            self._transport.pause_reading()
            self._crowd.loop.call_soon(self._read_on)

    def _special(self, event: frames.Event) -> None:
        if isinstance(event, bytes):
            if self._listener is not None:
                self._listener.binary(event)
        elif isinstance(event, Ping):
            if self._state == _OPEN and self.unsent_bytes < _PONG_BYTES:
                self._put(b"", frames.pong(event.payload))
        elif isinstance(event, PeerClose):
            self._peer_closes(event)
        elif isinstance(event, frames.Fault) and self._state == _OPEN:
            self.close(event.code, event.reason)
            if self._transport.can_write_eof():
                self._transport.write_eof()  # it hears the end at once, while what it still sends is thrown away

    def _peer_closes(self, event: PeerClose) -> None:
        if self._state == _OPEN:
            self.flush()
            self._transport.write(frames.close(event.code))
            self._state = _CLOSING
            self._limit = _NOTHING
            self._crowd.count_closing(1)
            self._finish()
        self._hang_up()

    @property
    def unsent_bytes(self) -> int:
        """What waits for the peer, here and in the transport."""
        return self._waiting + self._unwritten()

    def _unwritten(self) -> int:
        return self._transport.get_write_buffer_size()

    def _slow_down(self) -> None:
        """Read nothing for a while from a peer that sends more frames than it may."""
        now = self._crowd.loop.time()
        left = max(0.0, self._frames - (now - self._since) * self._frames_per_s)
        self._frames, self._since = left, now
        if left >= self._burst and self._brake is None:
            self._transport.pause_reading()
            self._brake = self._crowd.loop.call_later(left / 2 / self._frames_per_s, self._release)

    def _release(self) -> None:
        self._brake = None
        self._read_on()

    def _read_on(self) -> None:
        """Read what was left over, for want of time or before the websocket was open."""
        if self._state != _LOST and self._brake is None and not self._is_held:
            self._transport.resume_reading()
            self.data_received(b"")

    # The end

    def _begin_close(self, code: int, reason: str) -> None:
        self._state = _CLOSING
        self._crowd.count_closing(1)
        if self._is_blocked and code == frames.TOO_SLOW:
            self._pending.clear()
        self.flush()
        self._transport.write(frames.close(code, reason))
        self._wait_for_end()
        self._finish()

    def _wait_for_end(self) -> None:
        if self._brake is not None:
            self._brake.cancel()
            self._release()
        if self._is_held:
            self.hold(is_held=False)
        if self._timer is None:
            self._timer = self._crowd.loop.call_later(self._crowd.settings.close_s, self._transport.abort)

    def _hang_up(self) -> None:
        """End the connection once all is written, but wait no longer for that than for a close frame."""
        self._transport.close()
        if self._is_blocked:
            self._wait_for_end()

    def _finish(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            if self._state == _CLOSING and self.end is not None and self.end[0] == frames.GOING_AWAY:
                self._late = listener.late
            listener.closed(self.end)
            self._crowd.farewell(listener)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the listener, if it does not know, and forget the connection."""
        if self._state == _CLOSING:
            self._crowd.count_closing(-1)
        self._state = _LOST
        self._limit = _NOTHING
        self._crowd.state.connections.discard(self)
        if self._bucket is not None:
            self._bucket.discard(self)
        for timer in (self._timer, self._brake):
            if timer is not None:
                timer.cancel()
        self._timer = self._brake = self._late = None
        self._pending.clear()
        self._finish()

    def shutdown(self) -> None:
        """End now: the server has no more time. A peer that has not heard it yet is told with 1001."""
        if self._state == _OPEN:
            self.close(frames.GOING_AWAY, "this node is going away")
        else:
            self._transport.abort()

    # What the transport and the crowd say

    def pause_writing(self) -> None:
        """Something waits in the transport."""
        self._is_blocked = True

    def resume_writing(self) -> None:
        """All is written."""
        self._is_blocked = False

    def look(self) -> None:
        """Ping a silent peer, then end it."""
        if self._is_heard:
            self._is_heard = False
            self._looks = 0
            return
        self._looks += 1
        if self._looks == self._crowd.silent_looks:
            self.close(frames.GOING_AWAY, "no answer to a ping")
        elif self._looks == LOOKS:
            self._put(b"", frames.ping(b""))


def factory(crowd: Crowd) -> Callable[..., Connection]:
    """What uvicorn calls in the place of a class of websockets."""

    def make(config: Config, server_state: ServerState, app_state: dict[str, object]) -> Connection:
        crowd.attach(config, server_state)
        return Connection(crowd)

    return make
