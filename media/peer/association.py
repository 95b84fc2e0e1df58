"""Bounds on what a viewer's data channels can hold and do. Touches private names of aiortc's SCTP."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
from aiortc import RTCSctpTransport

from media.control.share import Share

_CHANNELS_LIMIT = 16
_STREAMS_LIMIT = 256
_FRAGMENTS_LIMIT = 512
"""Undelivered fragments of all streams: as many as thirty of our longest messages have."""
_FRAGMENTS_OF_ONE = 16
_MISORDERED_LIMIT = 1024
_DCEP = 50  # RFC 8832, 8.1
_DCEP_OPEN = b"\x03"


Handle = Callable[[bytes], Coroutine[Any, Any, None]]


class AssociationStats(msgspec.Struct):
    """Counters of the data channels of one peer: channels refused, packets that broke the rules, end by abuse."""

    channels_refused: int = 0
    faults: int = 0
    is_deaf: bool = False


class _AbuseError(Exception):
    pass


def guard(sctp: RTCSctpTransport, share: Share) -> AssociationStats:
    """Bound what the viewer's data channels can hold and cost, and let no fault in them end the peer.

    aiortc neither enforces its window nor survives text that is not UTF-8. Packets beyond the viewer's share of time
    are lost, as on a network. Who hoards fragments is not listened to any more; the picture goes on.
    """
    stats = AssociationStats()
    handle, receive, stream_of = sctp._handle_data, sctp._data_channel_receive, sctp._get_inbound_stream

    async def handle_data(data: bytes) -> None:
        if stats.is_deaf:
            return
        try:
            await handle(data)
        except ConnectionError:
            raise
        except _AbuseError:
            stats.is_deaf = True
            sctp._inbound_streams.clear()
            sctp._sack_misordered.clear()
        except Exception:  # noqa: BLE001 - hostile bytes make aiortc raise anything; only they are lost
            stats.faults += 1

    async def data_channel_receive(stream_id: int, pp_id: int, data: bytes) -> None:
        if pp_id == _DCEP and data[:1] == _DCEP_OPEN and len(sctp._data_channels) >= _CHANNELS_LIMIT:
            stats.channels_refused += 1
        else:
            await receive(stream_id, pp_id, data)

    def inbound_stream(stream_id: int) -> Any:
        stream = stream_of(stream_id)
        is_hoard = len(stream.reassembly) > _FRAGMENTS_OF_ONE and _held(sctp) > _FRAGMENTS_LIMIT
        if is_hoard or len(sctp._sack_misordered) > _MISORDERED_LIMIT or len(sctp._inbound_streams) > _STREAMS_LIMIT:
            raise _AbuseError
        return stream

    sctp._handle_data = _within(share, handle_data)  # type: ignore[method-assign,assignment]
    sctp._data_channel_receive = data_channel_receive  # type: ignore[method-assign]
    sctp._get_inbound_stream = inbound_stream  # type: ignore[method-assign]
    return stats


def _within(share: Share, handle: Handle) -> Handle:
    """`handle` while there is something left of the share."""
    loop = asyncio.get_running_loop()

    async def handle_data(data: bytes) -> None:
        if not share.is_open(loop.time()):
            return
        began_s = time.thread_time()
        try:
            await handle(data)
        finally:
            share.spend(time.thread_time() - began_s)

    return handle_data


def _held(sctp: RTCSctpTransport) -> int:
    return sum(len(stream.reassembly) for stream in sctp._inbound_streams.values())
