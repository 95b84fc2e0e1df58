"""Settings -> one master: signaling client, feed and peers. Imports codecs and WebRTC."""

import asyncio
from collections.abc import Callable

from app.access import access_of
from app.exits import CommandError, Exit, cause, refusal, refusal_words, unreachable
from app.processes import flatten
from app.wiring.encoders import encoder_settings
from app.wiring.orders import MasterOrder
from channels.errors import ServiceError
from channels.names import Role
from channels.service import EndpointUnreachableError
from channels.signaling.client import ClientSettings, RefusedError, SignalingClient
from media.feed import Feed
from media.master import Master, MasterSettings, ReplacedError
from media.peer.speaker import Speaker, SpeakerError, open_speaker
from media.peer.talkback import Mode
from media.sources.open import open_source
from media.sources.source import SourceError
from media.sources.uri import shown


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
        self._feed = Feed(source, encoder_settings(order.encoder, order.bitrate_bps, settings))
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

    def counters(self) -> dict[str, float]:
        """Return the plain counters by name."""
        return {
            "viewers": float(self._master.viewers),
            **flatten(self._master.stats, "master"),
            **flatten(self._feed.stats, "feed"),
            **flatten(self._master.fanout.stats, "fanout"),
            **(flatten(self._master.talkback.stats, "talkback") if self._master.talkback else {}),
        }

    async def run(self, on_ready: Callable[[], None], stopping: asyncio.Event) -> None:
        """Send until `stopping`.

        Raises: CommandError with the exit code of what ended the master.
        """
        try:
            async with asyncio.TaskGroup() as group:
                feeding = group.create_task(self._feed.run())
                sending = group.create_task(self._master.run(on_ready))
                await stopping.wait()
                sending.cancel()
                feeding.cancel()
        except* ReplacedError:
            raise CommandError("replaced by a newer master", Exit.REPLACED) from None
        except* (ServiceError, RefusedError, EndpointUnreachableError) as group:
            raise _reason(cause(group)) from None


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
