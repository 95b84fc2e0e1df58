"""What masters recorded, over HTTP: which channels, when, playlists, and files by ranges of bytes. GET and HEAD alone.

Each call is authorised by `kinesisvideo:GetRecording` on the channel, and sees nothing but the caller's account.
"""

import asyncio
import logging
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

import msgspec
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from app import query
from app.api import shapes
from app.api.reference import referred
from app.authenticate import claimed_key
from app.server import RECORDINGS_PATH
from app.wire import Caller, error_response, failure, request_id, struct_response
from channels.auth.grant import Grant, decide
from channels.control import ControlPlane
from channels.errors import (
    InternalFailureException,
    InvalidArgumentException,
    Limit,
    ResourceNotFoundException,
    ServiceError,
    ServiceUnavailableException,
    UnknownOperationException,
)
from media.recording.library import Blob, Library, Stretch
from media.recording.names import HOUR_MS, PLAYLIST
from media.recording.playlist import playlist

log = logging.getLogger(__name__)
audit = logging.getLogger("heliograph.audit")

ACTION: Final = "GetRecording"
WINDOW_MS: Final = 24 * HOUR_MS
CHANNELS: Final = 1_000
READS_AT_ONCE: Final = 4
READS_WAITING: Final = 64
_RETRY_S: Final = 1.0
_RANGE: Final = re.compile(r"bytes=([0-9]{0,15})-([0-9]{0,15})", re.ASCII)
_INSTANT: Final = re.compile(r"[0-9]{1,13}", re.ASCII)
_FOR_EVER: Final = "private, max-age=31536000, immutable"
_DENIALS: Final = (401, 403)
_NOTHING: Final = slice(0, 0)
_TYPES: Final = {".m4s": "video/iso.segment", ".mp4": "video/mp4"}


class Recording(msgspec.Struct, frozen=True, rename="camel"):
    """When a channel was recorded: stretches without a break, oldest first."""

    channel_name: str
    channel_arn: str = msgspec.field(name="channelARN")
    stretches: tuple[Stretch, ...]


class RecordedChannels(msgspec.Struct, frozen=True, rename="camel"):
    """Names of the channels that were recorded and that the caller may see, sorted; 1,000 at most."""

    channel_names: tuple[str, ...]


class RecordingsStats(msgspec.Struct):
    """Plain counters: lists, playlists, segments and inits answered, those the caller had, and calls refused.

    `busy` counts those refused because too many reads of files were waiting.
    """

    lists: int = 0
    playlists: int = 0
    files: int = 0
    not_modified: int = 0
    refused: int = 0
    busy: int = 0


class RecordingsApi:
    """Answers below `/v1/recordings`."""

    def __init__(
        self,
        library: Library,
        control: ControlPlane,
        authenticate: Callable[[HTTPConnection, bytes], Grant],
        reads_waiting: int = READS_WAITING,
    ) -> None:
        self.stats = RecordingsStats()
        self._library = library
        self._control = control
        self._authenticate = authenticate
        self._reads = asyncio.Semaphore(READS_AT_ONCE)
        self._waiting = 0
        self._waiting_limit = reads_waiting

    async def answer(self, path: str, request: Request) -> Response:
        """Answer a request to `path`; an error is an answer, too."""
        started = time.perf_counter()
        event = {
            "operation": ACTION,
            "source": request.client.host if request.client else "",
            "request_id": request_id(request),
            "subject": "",
        }
        try:
            response = await self._run(path, request, event)
            event["code"] = "OK"
        except ServiceError as error:
            if not event["subject"]:
                event |= claimed_key(request)
            response = self._refuse(error, request, event)
        except Exception:  # the door: our own fault is logged here, once, and told without details
            log.exception("recording not answered", extra=event)
            response = self._refuse(
                InternalFailureException("the service failed; its log has the reason"), request, event
            )
        duration_ms = round((time.perf_counter() - started) * 1000, 3)
        audit.info("called", extra={**event, "duration_ms": duration_ms})
        response.headers["Vary"] = "Authorization"
        return response

    def _refuse(self, error: ServiceError, request: Request, event: dict[str, str]) -> Response:
        event |= failure(error, with_reason=error.status in _DENIALS)
        self.stats.refused += 1
        return error_response(error, request_id(request), lower_case=True)

    async def _run(self, path: str, request: Request, event: dict[str, str]) -> Response:
        if request.method not in ("GET", "HEAD"):
            raise UnknownOperationException(f"there is no operation {request.method} {path}")
        grant = self._authenticate(request, b"")
        event["subject"] = grant.subject
        steps = path.removeprefix(RECORDINGS_PATH).removeprefix("/").split("/")
        if steps == [""]:
            self.stats.lists += 1
            return struct_response(await self._list(grant), request_id(request))
        caller = Caller(grant, request_id(request), "", "", event, _never_gone)
        reference = shapes.ChannelReference(channel_name=steps[0])
        channel = await referred(self._control, caller, ACTION, reference)
        match steps[1:]:
            case []:
                return await self._describe(grant, steps[0], str(channel.arn), caller)
            case [name] if name == PLAYLIST:
                return await self._playlist(grant, steps[0], request)
            case [hour, file]:
                return await self._file(partial(self._library.read, grant.account, steps[0], hour, file), file, request)
        raise UnknownOperationException(f"there is no operation {request.method} {path}")

    async def _list(self, grant: Grant) -> RecordedChannels:
        found: list[str] = []
        for name in await asyncio.to_thread(self._library.channels, grant.account):
            if len(found) == CHANNELS:
                break
            channel = await self._control.find(grant.account, name)
            if channel is not None and decide(grant, ACTION, str(channel.arn)).is_allowed:
                found.append(name)
        return RecordedChannels(tuple(found))

    async def _describe(self, grant: Grant, channel: str, arn: str, caller: Caller) -> Response:
        stretches = await asyncio.to_thread(self._library.stretches, grant.account, channel)
        if stretches is None:
            raise ResourceNotFoundException(f"channel {channel} has no recording")
        self.stats.lists += 1
        return struct_response(Recording(channel, arn, tuple(stretches)), caller.request_id)

    async def _playlist(self, grant: Grant, channel: str, request: Request) -> Response:
        newest_ms = await asyncio.to_thread(self._library.newest_ms, grant.account, channel)
        if newest_ms is None:
            raise ResourceNotFoundException(f"channel {channel} has no recording")
        start_ms, end_ms = _instant(request, "from"), _instant(request, "to")
        last_ms = newest_ms if end_ms is None else end_ms
        first_ms = max(0, last_ms - HOUR_MS) if start_ms is None else start_ms
        if last_ms - first_ms > WINDOW_MS:
            raise InvalidArgumentException("from and to must lie within 24 hours of each other")

        def written() -> str:
            segments = self._library.segments(grant.account, channel, first_ms, last_ms)
            return playlist(segments, is_complete=end_ms is not None, with_hours=True)

        text = await asyncio.to_thread(written)  # that of a day has 43,200 segments and takes a second
        self.stats.playlists += 1
        return Response(text, headers={"Cache-Control": "no-cache"}, media_type="application/vnd.apple.mpegurl")

    async def _file(self, read: Callable[[slice], Blob | None], name: str, request: Request) -> Response:
        async with self._turn():
            conditions = request.headers
            is_head = request.method == "HEAD"
            asked = None if is_head else _span(conditions.get("range", ""))  # RFC 9110, 14.2: for GET alone
            span = asked or slice(None)
            looks_first = is_head or "if-none-match" in conditions or "if-range" in conditions
            blob = await _or_gone(read, _NOTHING if looks_first else span)
            headers = {"ETag": _etag(blob), "Cache-Control": _FOR_EVER, "Accept-Ranges": "bytes"}
            if _etag(blob) in _tags(conditions.get("if-none-match", "")):
                self.stats.not_modified += 1
                return Response(status_code=304, headers=headers)
            self.stats.files += 1
            kind = _TYPES[name[-4:]]
            if is_head:
                return Response(headers={**headers, "Content-Length": str(blob.size)}, media_type=kind)
            if conditions.get("if-range", _etag(blob)) != _etag(blob):  # RFC 9110, 13.1.5
                asked, span = None, slice(None)
            if looks_first:
                blob = await _or_gone(read, span)
                headers["ETag"] = _etag(blob)
            return _part(blob, asked, headers, kind)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """Wait until few others read, so that a slow disk leaves threads to other calls.

        Raises: ServiceUnavailableException: too many wait already.
        """
        if self._reads.locked() and self._waiting >= self._waiting_limit:
            self.stats.busy += 1
            limit = Limit("recording_reads_waiting", self._waiting_limit, _RETRY_S)
            raise ServiceUnavailableException("the disk is busy with other calls: try again", limit)
        self._waiting += 1
        try:
            await self._reads.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._reads.release()


def _part(blob: Blob, asked: slice | None, headers: dict[str, str], kind: str) -> Response:
    if asked is None:
        return Response(blob.data, headers=headers, media_type=kind)
    start, end, _ = asked.indices(blob.size)
    if start >= end:  # RFC 9110, 14.4
        return Response(status_code=416, headers={**headers, "Content-Range": f"bytes */{blob.size}"})
    headers["Content-Range"] = f"bytes {start}-{end - 1}/{blob.size}"
    return Response(blob.data, 206, headers, media_type=kind)


def _etag(blob: Blob) -> str:
    return f'"{blob.written_ns:x}-{blob.size:x}"'


def _tags(text: str) -> set[str]:
    return {tag.strip().removeprefix("W/") for tag in text.split(",")}


async def _or_gone(read: Callable[[slice], Blob | None], span: slice) -> Blob:
    blob = await asyncio.to_thread(read, span)
    if blob is None:
        raise ResourceNotFoundException("there is no such file of a recording, or it is no longer kept")
    return blob


async def _never_gone() -> None:
    """Nothing here takes long enough to ask."""


def _instant(request: Request, name: str) -> int | None:
    """A time in the query, epoch ms. Raises: InvalidArgumentException."""
    found = query.values(request, name)
    if not found:
        return None
    if len(found) > 1 or not _INSTANT.fullmatch(found[0]):
        raise InvalidArgumentException(f"{name} must be a time in milliseconds since 1970")
    return int(found[0])


def _span(text: str) -> slice | None:
    """The bytes that a Range header asks for; None for all, and for what is no single range (RFC 9110, 14.2)."""
    match = _RANGE.fullmatch(text.strip())
    if match is None or match[1] == match[2] == "":
        return None
    if match[1] == "":
        return slice(-int(match[2]), None) if int(match[2]) else slice(0, 0)
    if match[2] == "":
        return slice(int(match[1]), None)
    return slice(int(match[1]), int(match[2]) + 1) if int(match[2]) >= int(match[1]) else None
