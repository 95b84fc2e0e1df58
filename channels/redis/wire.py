"""One connection to Redis for messages: commands out, replies and what others published in. RESP2.

Commands whose replies are awaited leave in one write at the end of the turn of the loop, posts at once: who posts has
gathered them. Replies are matched by their order, and those that nobody awaits are read late. It has no retries: a
connection that is lost stays lost. redis-py would do the same at three times the cost of a message.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from typing import Any, Final, Protocol, cast

import hiredis
import msgspec

Post = tuple[str, bytes]  # topic as the sender names it, payload
Reply = bytes | int | list["Reply"] | None

_log: Final = logging.getLogger(__name__)
_MESSAGES: Final = (b"message", b"smessage")
_HIGH_WATER: Final = 2**18  # bytes the transport takes before we keep them ourselves
_REST_S: Final = 0.025  # so late are answers read that nobody awaits, many at once: one by one they double the cost
_LOST: Final = "the connection to Redis is lost"
_MOVED: Final = ("MOVED", "ASK", "CLUSTERDOWN", "READONLY")  # another server has the topic now


class RefusedError(Exception):
    """Redis answered a command with an error; the text is its own."""


class WireStats(msgspec.Struct):
    """What became of messages whose sender does not ask."""

    posts_unsent: int = 0  # there was no connection or no room
    posts_in_doubt: int = 0  # the connection was lost before the answer
    posts_refused: int = 0  # answered with an error
    posts_unheard: int = 0  # no node has subscribed


class Owner(Protocol):
    """Who opened a wire, as the wire needs it; nothing here may raise."""

    @property
    def stats(self) -> WireStats:
        """Where posts are counted."""

    def received(self, topic: bytes, payload: bytes) -> None:
        """Something was published to a topic that the wire subscribed."""

    def unheard(self, post: Post) -> None:
        """What was posted has surely reached nobody."""

    def ended(self) -> None:
        """The connection is lost; called once."""


class Wire(asyncio.Protocol):
    """A connection of `owner`, with at most so many commands unanswered and so many bytes unsent."""

    def __init__(self, owner: Owner, waiting_limit: int, bytes_limit: int) -> None:
        self._owner = owner
        self._stats = owner.stats
        self._waiting_limit = waiting_limit
        self._bytes_limit = bytes_limit
        self._loop = asyncio.get_running_loop()
        self._reader: Any = hiredis.Reader(replyError=RefusedError)
        self._gets = self._reader.gets
        self._transport: asyncio.Transport | None = None
        self._is_paused = False
        self._out: list[bytes] = []  # one for each of the last that wait
        self._out_bytes = 0
        self._waiting: deque[asyncio.Future[Reply] | Post] = deque()
        self._asked = 0  # how many of them somebody awaits
        self._rest: asyncio.TimerHandle | None = None

    @property
    def has_room(self) -> bool:
        """Whether a message can be sent: connected, and Redis is not too far behind."""
        transport = self._transport
        return (
            transport is not None
            and len(self._waiting) < self._waiting_limit
            and self._out_bytes < self._bytes_limit
            and not transport.is_closing()
        )

    @property
    def _is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def post(self, commands: list[bytes], posts: Sequence[Post]) -> bool:
        """Send `posts`, encoded as a PUBLISH each, and tell of those that reach nobody; False when there is no room."""
        transport = self._transport
        if transport is None or not self.has_room:
            return False
        self._waiting.extend(posts)
        if self._out or self._is_paused:
            self._write(*commands)  # after what waits
        else:
            transport.write(commands[0] if len(commands) == 1 else b"".join(commands))
        if self._rest is None and not self._asked:
            transport.pause_reading()
            self._rest = self._loop.call_later(_REST_S, self._wake)
        return True

    def send(self, command: bytes) -> asyncio.Future[Reply]:
        """Send an encoded command; the future has its reply, RefusedError, or ConnectionError when the wire is lost."""
        reply: asyncio.Future[Reply] = self._loop.create_future()
        if not self._is_open:
            _fail(reply, ConnectionResetError(_LOST))
            return reply
        self._waiting.append(reply)
        self._asked += 1
        self._write(command)
        if self._rest is not None:
            self._rest.cancel()
            self._wake()
        return reply

    def abort(self) -> None:
        """End the connection at once; twice is harmless. What Redis has received it may still do, much later."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self._transport = cast(asyncio.Transport, transport)  # a stream's, whatever the loop
        self._transport.set_write_buffer_limits(_HIGH_WATER)

    def data_received(self, data: bytes) -> None:
        """Hand over each message and answer each command in `data`."""
        gets, receive = self._gets, self._owner.received
        self._reader.feed(data)
        try:
            reply = gets()
            while reply is not False:
                if type(reply) is list and reply and reply[0] in _MESSAGES:
                    receive(reply[1], reply[2])
                else:
                    self._answer(reply)
                reply = gets()
        except hiredis.ProtocolError:
            _log.warning("redis sent what is no RESP2")
            self.abort()

    def connection_lost(self, error: Exception | None) -> None:
        """Fail what waits, and say so once."""
        self._transport = None
        waiting, self._waiting = self._waiting, deque()
        sent = len(waiting) - len(self._out)
        self._out.clear()
        self._out_bytes = 0
        for index, reply in enumerate(waiting):
            if not isinstance(reply, tuple):
                _fail(reply, ConnectionResetError(_LOST))
            elif index < sent:
                self._stats.posts_in_doubt += 1
            else:
                self._stats.posts_unsent += 1
                self._owner.unheard(reply)
        self._owner.ended()

    def pause_writing(self) -> None:
        """Keep what comes until the network has taken what it has."""
        self._is_paused = True

    def resume_writing(self) -> None:
        """Write again, first what was kept."""
        self._is_paused = False
        self._flush()

    def _wake(self) -> None:
        self._rest = None
        if self._transport is not None and self._is_open:
            self._transport.resume_reading()

    def _write(self, *commands: bytes) -> None:
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.extend(commands)
        self._out_bytes += sum(map(len, commands))

    def _flush(self) -> None:
        if self._is_paused or not self._out or self._transport is None:
            return
        self._transport.write(self._out[0] if len(self._out) == 1 else b"".join(self._out))
        self._out.clear()
        self._out_bytes = 0

    def _answer(self, answer: Any) -> None:
        if not self._waiting:  # a slot of the cluster moved away, or nothing that we know
            self.abort()
            return
        reply = self._waiting.popleft()
        if isinstance(reply, tuple):
            if answer != 1:
                self._judge(reply, answer)
            return
        self._asked -= 1
        if isinstance(answer, RefusedError):
            _fail(reply, answer)
            self._look_elsewhere(answer)
        elif not reply.done():
            reply.set_result(answer)

    def _judge(self, post: Post, answer: Any) -> None:
        if isinstance(answer, RefusedError):
            self._stats.posts_refused += 1
            self._owner.unheard(post)
            self._look_elsewhere(answer)
        elif answer == 0:
            self._stats.posts_unheard += 1
            self._owner.unheard(post)

    def _look_elsewhere(self, error: RefusedError) -> None:
        if str(error).startswith(_MOVED):
            self.abort()


def _fail(reply: asyncio.Future[Reply], error: Exception) -> None:
    if not reply.done():
        reply.set_exception(error)
        reply.exception()  # seen: nobody need await it
