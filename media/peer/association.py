"""Bounds on what a viewer's data channels can hold and do. Touches private names of aiortc's SCTP."""

from typing import Any

import msgspec
from aiortc import RTCSctpTransport

_CHANNELS_LIMIT = 16
_STREAMS_LIMIT = 256
_FRAGMENTS_LIMIT = 256
"""Undelivered fragments of one stream: sixteen times what our longest message needs."""
_DCEP = 50  # RFC 8832, 8.1
_DCEP_OPEN = b"\x03"


class AssociationStats(msgspec.Struct):
    """Counters of the data channels of one peer: channels refused, packets that broke the rules, end by abuse."""

    channels_refused: int = 0
    faults: int = 0
    is_deaf: bool = False


class _AbuseError(Exception):
    pass


def guard(sctp: RTCSctpTransport) -> AssociationStats:
    """Bound what the viewer's data channels can hold, and let no fault in them end the peer.

    aiortc neither enforces its window nor survives text that is not UTF-8. Who hoards fragments is not listened to any
    more; the picture goes on.
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
        is_hoard = len(stream.reassembly) > _FRAGMENTS_LIMIT or len(sctp._sack_misordered) > 4 * _FRAGMENTS_LIMIT
        if is_hoard or len(sctp._inbound_streams) > _STREAMS_LIMIT:
            raise _AbuseError
        return stream

    sctp._handle_data = handle_data  # type: ignore[method-assign]
    sctp._data_channel_receive = data_channel_receive  # type: ignore[method-assign]
    sctp._get_inbound_stream = inbound_stream  # type: ignore[method-assign]
    return stats
