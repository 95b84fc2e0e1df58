"""The packets of one access unit to many viewers, stage by stage: all are sealed, then all are sent.

The code and the tables of one stage stay in the cache for all of them. It knows neither viewers nor sockets.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from media.rtp.send import ROOM_BYTES

SEALED_BYTES = 160_000
"""When so much lies sealed it is sent before more is sealed."""
ALL_BYTES = SEALED_BYTES + ROOM_BYTES
"""Room for all that may lie sealed."""


class Parcel(Protocol):
    """The packets of one unit for one viewer; see `media/rtp/send.py`. What it raises costs this viewer alone."""

    def seal(self, run: slice, at: int) -> int:
        """Encrypt one run of them in the room that all parcels share, from `at` on; where it ends."""

    def send(self, packets: int) -> None:
        """Send the run that was sealed last, of so many packets."""


Failures = dict[int, Exception]
"""By the key of the viewer."""


def ship(runs: Sequence[slice], parcels: Mapping[int, Parcel]) -> Failures:
    """Send each run to all, in order; who fails gets no more of it."""
    failures: Failures = {}
    for run in runs:
        at, sealed = 0, []
        for key, parcel in parcels.items():
            if key in failures:
                continue
            try:
                at = parcel.seal(run, at)
            except Exception as error:  # noqa: BLE001 - whatever a dying viewer raises, the others get their picture
                failures[key] = error
                continue
            sealed.append((key, parcel))
            if at > SEALED_BYTES:
                _send(run, sealed, failures)
                at, sealed = 0, []
        _send(run, sealed, failures)
    return failures


def _send(run: slice, sealed: Sequence[tuple[int, Parcel]], failures: Failures) -> None:
    packets = run.stop - run.start
    for key, parcel in sealed:
        try:
            parcel.send(packets)
        except Exception as error:  # noqa: BLE001 - as above
            failures[key] = error
