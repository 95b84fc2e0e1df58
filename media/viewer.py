"""A headless viewer: joins a channel, receives, decodes and counts the pictures, tells how it went."""

import asyncio
import itertools
import logging
from collections.abc import Sequence

import msgspec

from channels.errors import Limit, ResourceNotFoundException, ServiceError
from channels.ice import IceServer
from channels.service import EndpointUnreachableError
from channels.signaling.client import (
    RefusedError,
    SignalingClient,
    SignalingConnection,
)
from media.peer.receiver import ReceivingPeer
from media.peer.tally import Latency, Second, Tally
from media.rtp.receive import ReceiverStats

_log = logging.getLogger(__name__)

_BACKOFF_S = (0.0, 0.5, 1.0, 2.0, 4.0)
_STABLE_S = 2.0
"""A session that lived this long starts the back-off anew: the next offer goes out at once."""
_NOT_FOUND = 404


class ViewerSettings(msgspec.Struct, frozen=True):
    """Stop after `frames` decoded frames or `timeout_s` seconds; `relay` allows TURN candidates only.

    `codec` is the one to ask for first, `H264` or `VP8`.
    """

    frames: int = 1
    relay: bool = False
    timeout_s: float = 20.0
    codec: str = "H264"


class ViewerReport(msgspec.Struct):
    """How the picture came.

    `first_frame_ms` counts from createOffer to the first decoded frame of the first session that gave one. `path` is
    `relay` when either end of the selected candidate pair is a relay address, since the media crosses a TURN server
    then; else the type of our own end (host, srflx or prflx). `counter_first` and `counter_last` are the frame
    numbers burnt into the picture, None where there are none. `latency` is from glass to glass, None where the picture
    has no counter; `seconds` is what came second by second, `stream` how the last session's packets came.
    """

    frames: int
    first_frame_ms: float
    path: str
    codec: str
    width: int
    height: int
    counter_first: int | None = None
    counter_last: int | None = None
    latency: Latency | None = None
    seconds: tuple[Second, ...] = ()
    stream: ReceiverStats | None = None


class ViewerError(Exception):
    """No picture: `step` says how far it came, the text what to do.

    Steps: unreachable, no-channel, refused, no-master, no-answer, ice-failed, no-frame.
    """

    def __init__(self, step: str, message: str) -> None:
        super().__init__(message)
        self.step = step
        self.message = message


async def watch(signaling: SignalingClient, settings: ViewerSettings) -> ViewerReport:
    """Watch until there are enough frames; when the media ends meanwhile, a new offer is sent, with back-off.

    Raises: ViewerError.
    """
    viewer = _Viewer(signaling, settings)
    try:
        async with asyncio.timeout(settings.timeout_s):
            await viewer.run()
    except TimeoutError:
        reason = viewer.explain()
        raise reason from reason.__cause__
    return viewer.report()


class _Viewer:
    def __init__(self, signaling: SignalingClient, settings: ViewerSettings) -> None:
        self._signaling = signaling
        self._settings = settings
        self._tally = Tally(settings.frames)
        self._peer: ReceivingPeer | None = None
        self._has_heard = False
        self._is_flowing = False
        self._last_error: ViewerError | None = None

    async def run(self) -> None:
        """Connect and offer until the tally is full."""
        loop = asyncio.get_running_loop()
        connection = await self._open()
        attempt = 0
        try:
            servers = await self._ice_servers()
            while True:
                began_at = loop.time()
                if await self._session(connection, servers):
                    return
                attempt = 0 if loop.time() - began_at > _STABLE_S else attempt + 1
                await asyncio.sleep(_BACKOFF_S[min(max(attempt - 1, 0), len(_BACKOFF_S) - 1)])
                if connection.close_code is not None:
                    connection, servers = await self._open_again()
        finally:
            await connection.close()

    async def _open_again(self) -> tuple[SignalingConnection, Sequence[IceServer]]:
        """Open until it works or the time is over; a refusal is final, as a service that is away is not."""
        for attempt in itertools.count():
            try:
                servers = await self._ice_servers()
                return await self._open(), servers
            except ViewerError as error:
                if error.step != "unreachable":
                    raise
                self._last_error = error
            await asyncio.sleep(_BACKOFF_S[min(attempt + 1, len(_BACKOFF_S) - 1)])
        raise AssertionError("count() has no end")

    async def _open(self) -> SignalingConnection:
        name = self._signaling.settings.channel_name
        try:
            return await self._signaling.open()
        except ResourceNotFoundException as error:
            raise _no_channel(name) from error
        except EndpointUnreachableError as error:
            raise ViewerError("unreachable", str(error)) from error
        except (ServiceError, RefusedError) as error:
            if isinstance(error, RefusedError) and error.status == _NOT_FOUND:
                raise ViewerError("no-channel", f"There is no channel {name!r}: {error.message}") from error
            raise ViewerError("refused", _refusal(name, error)) from error

    async def _ice_servers(self) -> Sequence[IceServer]:
        try:
            return await self._signaling.ice_servers()
        except ResourceNotFoundException as error:
            raise _no_channel(self._signaling.settings.channel_name) from error
        except (ServiceError, EndpointUnreachableError) as error:
            if self._settings.relay:
                step = "unreachable" if isinstance(error, EndpointUnreachableError) else "refused"
                raise ViewerError(step, f"No TURN server to relay through: {error}") from error
            _log.warning("no ICE servers", extra={"reason": str(error)})
            return ()

    async def _session(self, connection: SignalingConnection, servers: Sequence[IceServer]) -> bool:
        """One offer and what comes of it; True when there are enough frames, False when the media ended before."""
        peer = ReceivingPeer(servers, self._tally, is_relay_only=self._settings.relay, codec=self._settings.codec)
        self._peer = peer
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(peer.run(connection.send)),
                    group.create_task(self._listen(connection, peer)),
                ]
                await peer.finished.wait()
                for task in tasks:
                    task.cancel()
        finally:
            self._is_flowing = peer.is_connected and not peer.finished.is_set()
            await peer.close()
        if peer.failure is not None and not self._tally.is_full:
            raise ViewerError(*peer.failure)
        return self._tally.is_full

    async def _listen(self, connection: SignalingConnection, peer: ReceivingPeer) -> None:
        async for message in connection:
            if message.type == "SDP_ANSWER":
                self._has_heard = True
                peer.answer_received(message.payload)
            elif message.type == "ICE_CANDIDATE":
                self._has_heard = True
                peer.candidate_received(message.payload)
            elif message.status is not None and message.status.status_code != "200":
                peer.fail("no-master", f"The offer was not delivered: {message.status.description}")
        if not peer.is_connected:
            peer.finished.set()

    def explain(self) -> ViewerError:
        """Why there are not enough frames yet."""
        name, limit = self._signaling.settings.channel_name, f"{self._settings.timeout_s:g} s"
        peer = self._peer
        if self._last_error is not None and not self._tally.frames:
            return self._last_error
        if peer is None:
            return ViewerError("unreachable", f"The service did not let us in within {limit}: is it overloaded?")
        if self._tally.frames:
            return ViewerError(
                "no-frame",
                f"Only {self._tally.frames} of {self._settings.frames} frames came within {limit}: "
                + (
                    "they still came, so ask for fewer or wait longer with --timeout."
                    if self._is_flowing
                    else "then they stopped."
                ),
            )
        if peer.is_connected:
            return ViewerError(
                "no-frame", f"Connected, but no frame came within {limit}: is the master's source alive?"
            )
        if peer.is_answered:
            return ViewerError("ice-failed", f"ICE found no way within {limit}. {peer.candidates_tried()}")
        if self._has_heard:
            return ViewerError(
                "no-answer", f"The master of {name!r} is there but sent no answer within {limit}: see its log."
            )
        return ViewerError(
            "no-master",
            f"Nobody answered the offer within {limit}: start a master, `heliograph master --channel {name}`.",
        )

    def report(self) -> ViewerReport:
        """The outcome of a full tally."""
        tally = self._tally
        return ViewerReport(
            frames=tally.frames,
            first_frame_ms=round(tally.first_frame_s * 1000, 1),
            path=tally.path,
            codec=tally.codec,
            width=tally.width,
            height=tally.height,
            counter_first=tally.counter_first,
            counter_last=tally.counter_last,
            latency=tally.latency(),
            seconds=tuple(tally.seconds),
            stream=tally.stream,
        )


def _no_channel(name: str) -> ViewerError:
    return ViewerError(
        "no-channel", f"There is no channel {name!r}: create it with `heliograph channel create {name}`."
    )


def _refusal(name: str, error: ServiceError | RefusedError) -> str:
    limit: Limit | None = error.limit
    if limit is None:
        code = error.code if isinstance(error, RefusedError) else type(error).__name__
        return f"The service refused this viewer ({code}): {error.message}"
    if limit.retry_after_s is None:
        return f"The channel {name!r} is full: limit {limit.name} = {limit.value:g}. Try again when a viewer leaves."
    return (
        f"Too many connect to the channel {name!r}: limit {limit.name} = {limit.value:g}. "
        f"Try again in {limit.retry_after_s:.2g} s."
    )
