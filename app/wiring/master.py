"""Settings -> one master: signaling client, feed and peers. Imports codecs and WebRTC."""

import asyncio
import gc
from collections.abc import Callable, Iterable

from app.access import access_of
from app.exits import CommandError, Exit, cause, refusal, refusal_words, unreachable
from app.processes import flatten
from app.wiring.encoders import encoder_settings
from app.wiring.orders import MasterOrder
from app.wiring.recording import recorded, recorder
from channels.errors import ServiceError
from channels.names import Role
from channels.service import EndpointUnreachableError
from channels.signaling.client import ClientSettings, RefusedError, SignalingClient
from media.encoders.worker import EncoderStats
from media.feed import Feed
from media.master import Master, MasterSettings, ReplacedError
from media.peer.speaker import Speaker, SpeakerError, open_speaker
from media.peer.talkback import Mode
from media.recorder import Recorder
from media.report import MasterReport
from media.sources.open import open_source
from media.sources.source import SourceError
from media.sources.uri import shown


def settle() -> None:
    """Leave alone what is loaded by now: each walk of the collector over it stops all media for 30 ms or more."""
    gc.collect()
    gc.freeze()


class MasterPart:
    """One master with its source and encoders."""

    def __init__(self, order: MasterOrder) -> None:
        settings = order.settings
        client = ClientSettings(
            endpoint=settings.endpoint,
            access=access_of(settings),
            channel_name=order.channel,
            role=Role.MASTER,
            client_id=None,
        )
        try:
            source = open_source(order.source)
        except SourceError as error:
            raise CommandError(f"--source {shown(order.source)}: {error}", Exit.USAGE) from None
        encoding = encoder_settings(order.encoder, order.bitrate_bps, settings)
        self._feed = Feed(source, encoding, max_layers=order.max_layers)
        try:
            signaling = SignalingClient(client)
        except EndpointUnreachableError as error:
            raise unreachable(error) from None
        own = MasterSettings(
            source=shown(order.source),
            persist=order.persist,
            ptz_command=order.ptz_command,
            talkback_mode=Mode(order.talkback_mode),
        )
        self._master = Master(signaling, self._feed, own, _speaker(order.talkback))
        self._signaling = signaling
        self._record_order = order.record
        self._recorder: Recorder | None = None

    def counters(self) -> dict[str, float]:
        """Return the plain counters by name."""
        return {
            "viewers": float(self._master.viewers),
            "relays_in_use": float(self._master.relays_in_use),
            **_sessions(self._feed.stats.encoders.values()),
            **flatten(self._master.sent, "sent"),
            **flatten(self._master.stats, "master"),
            **flatten(self._feed.stats, "feed"),
            **flatten(self._master.fanout.stats, "fanout"),
            **flatten(self._master.steering.stats, "steering"),
            **(flatten(self._master.talkback.stats, "talkback") if self._master.talkback else {}),
            **(recorded(self._recorder) if self._recorder else {}),
        }

    def report(self) -> MasterReport:
        """Return how each viewer is served, with rates since the last call."""
        return self._master.report()

    async def run(self, on_ready: Callable[[], None], stopping: asyncio.Event) -> None:
        """Send until `stopping`.

        Raises: CommandError with the exit code of what ended the master.
        """
        is_described = asyncio.Event()

        def ready() -> None:
            settle()
            is_described.set()
            on_ready()

        try:
            async with asyncio.TaskGroup() as group:
                feeding = group.create_task(self._feed.run())
                recording = group.create_task(self._record(is_described))
                sending = group.create_task(self._master.run(ready))
                await stopping.wait()
                recording.cancel()
                sending.cancel()
                feeding.cancel()
        except ExceptionGroup as group:  # not except*, which may wrap what is raised in it
            reason = cause(group)
            if isinstance(reason, ReplacedError):
                raise CommandError("replaced by a newer master", Exit.REPLACED) from None
            if isinstance(reason, ServiceError | RefusedError | EndpointUnreachableError):
                raise _reason(reason) from None
            raise

    async def _record(self, is_described: asyncio.Event) -> None:
        """Record once the channel is known, if it is wanted; signaling may come and go meanwhile."""
        if self._record_order is not None:
            await is_described.wait()
            self._recorder = recorder(self._record_order, self._feed, self._signaling.arn)
            await self._recorder.run()


def _sessions(encoders: Iterable[EncoderStats]) -> dict[str, float]:
    """Encoders that are open, by the name of the backend."""
    found: dict[str, float] = {}
    for stats in encoders:
        if stats.encoder:
            name = f"encoder_sessions.{stats.encoder}"
            found[name] = found.get(name, 0.0) + stats.sessions
    return found


def _speaker(text: str | None) -> Speaker | None:
    if text is None:
        return None
    try:
        return open_speaker(text)
    except SpeakerError as error:
        raise CommandError(f"--talkback {text}: {error}", Exit.USAGE) from None


def _reason(error: BaseException) -> CommandError:
    if isinstance(error, ServiceError):
        return refusal(error)
    if isinstance(error, RefusedError):
        return CommandError(refusal_words(error.code, error.message, error.limit), Exit.REFUSED)
    return unreachable(error)
