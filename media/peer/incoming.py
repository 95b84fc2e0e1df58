"""One incoming stream of a peer: its receiver with the path, the clock and the timer that it lacks."""

import asyncio
import logging
from collections.abc import Callable

from media.rtp.assemble import Frame
from media.rtp.feedback import Feedback, Goodbye, SenderReport
from media.rtp.receive import Incoming, Receiver
from media.rtp.send import Path, PathSender

_log = logging.getLogger(__name__)


class IncomingStream:
    """Gives whole frames in order to `give` and answers the sender; used on the event loop, never raises.

    Register `packet_received` by `attach.hear_rtp` and tell `rtcp_received` what came by `attach.hear_rtcp`.
    """

    def __init__(
        self,
        incoming: Incoming,
        path: Path,
        give: Callable[[Frame], None],
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        self.receiver = Receiver(incoming)
        self._path = PathSender(path)
        self._give = give
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = False

    def packet_received(self, data: bytes) -> None:
        """Take one decrypted RTP packet of this stream's payload types."""
        if not self._is_closed:
            now = self._loop.time()
            self._go_on(self.receiver.receive(data, now), now)

    def rtcp_received(self, event: Feedback) -> None:
        """Take one event of the other side; those of other streams are passed over."""
        if isinstance(event, SenderReport):
            self.receiver.sender_reported(event, self._loop.time())
        elif isinstance(event, Goodbye) and self.receiver.said_goodbye(event):
            self._on_end()

    def request_keyframe(self) -> None:
        """The decoder cannot go on without one."""
        if not self._is_closed:
            self.receiver.request_keyframe()
            self._go_on([], self._loop.time())

    def close(self) -> None:
        """Give and send nothing any more; idempotent."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()

    def _expire(self) -> None:
        self._timer = None
        now = self._loop.time()
        self._go_on(self.receiver.expire(now), now)

    def _go_on(self, frames: list[Frame], now: float) -> None:
        for frame in frames:
            self._give(frame)
        try:
            for packet in self.receiver.feedback(now):
                self._path.send_rtcp(packet)
        except Exception as error:  # noqa: BLE001 - a path that is closing raises anything; the peer sees its end itself
            _log.debug("feedback not sent", extra={"error": type(error).__name__})
        self._arm()

    def _arm(self) -> None:
        deadline = self.receiver.next_deadline
        if self._is_closed or deadline is None:
            return
        if self._timer is None or deadline < self._timer.when():
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(deadline, self._expire)
