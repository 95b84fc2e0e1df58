"""Segments as an HLS playlist of fragmented MP4 (RFC 8216). Pure."""

from collections.abc import Sequence
from datetime import UTC, datetime

from media.recording.names import Segment, init_file

TARGET_S = 2
"""What a segment should last; a longer one raises EXT-X-TARGETDURATION of the playlists it is in."""


def playlist(segments: Sequence[Segment], *, is_complete: bool, with_hours: bool = False) -> str:
    """Return the playlist of these segments, in their order; `is_complete` says that none will follow.

    URIs are those of files beside the playlist or, `with_hours`, in the folders of their hours below it.
    """
    longest_ms = max((segment.duration_ms for segment in segments), default=0)
    lines = header(segments[0] if segments else None, longest_ms, is_complete=is_complete)
    before: Segment | None = None
    for segment in segments:
        lines += entry(segment, before, with_hours=with_hours)
        before = segment
    if is_complete:
        lines.append("#EXT-X-ENDLIST")
    return "\n".join(lines) + "\n"


def header(first: Segment | None, longest_ms: int, *, is_complete: bool) -> list[str]:
    """Return the lines before the first segment, of which the longest lasts `longest_ms`."""
    lines = ["#EXTM3U", "#EXT-X-VERSION:7", f"#EXT-X-TARGETDURATION:{max(TARGET_S, (longest_ms + 500) // 1000)}"]
    if first is not None:
        lines += [f"#EXT-X-MEDIA-SEQUENCE:{first.number}", f"#EXT-X-DISCONTINUITY-SEQUENCE:{first.stretch}"]
    if is_complete:
        lines.append("#EXT-X-PLAYLIST-TYPE:VOD")
    return lines


def entry(segment: Segment, before: Segment | None, *, with_hours: bool = False) -> list[str]:
    """Return the lines of a segment that follows `before`."""
    prefix = f"{segment.hour}/" if with_hours else ""
    lines = []
    has_broken = before is not None and before.stretch != segment.stretch
    if has_broken:
        lines.append("#EXT-X-DISCONTINUITY")
    if before is None or before.init != segment.init or (with_hours and before.hour != segment.hour):
        lines.append(f'#EXT-X-MAP:URI="{prefix}{init_file(segment.init)}"')
    if before is None or has_broken:
        lines.append(f"#EXT-X-PROGRAM-DATE-TIME:{_date(segment.start_ms)}")
    return [*lines, f"#EXTINF:{segment.duration_ms / 1000:.3f},", prefix + segment.file]


def _date(epoch_ms: int) -> str:
    moment = datetime.fromtimestamp(epoch_ms // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{epoch_ms % 1000:03}Z"
