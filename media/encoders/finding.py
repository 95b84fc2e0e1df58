"""What a probe found out about one encoder, in values and in words. It probes nothing."""

import enum

import msgspec

from media.encoders.backends import BY_NAME, TABLE, Backend, LiveBitrate, Route
from media.encoders.failure import Failure, FailureClass

DAY_S = 86_400.0


class Step(enum.Enum):
    """What the probe was doing last."""

    START = "starting"
    CREATE = "looking for it in this build"
    OPEN = "opening it"
    ENCODE = "encoding"
    KEY_FRAME = "forcing a key frame"
    BITRATE = "changing the bitrate"
    SPEED = "measuring its speed"
    DONE = "done"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One encoder as far as its probe came; None is what was not found out.

    `first_packet_ms` is the time from the first picture in to the first unit out, `held_pictures` how many pictures it
    keeps back. `bitrate` says what a change of the rate costs. `probed_at` is the wall time in seconds of the epoch.
    """

    name: str
    step: Step = Step.START
    is_compiled: bool | None = None
    opens: bool | None = None
    decodes_back: bool | None = None
    forces_key: bool | None = None
    bitrate: LiveBitrate | None = None
    fps_720p: float | None = None
    first_packet_ms: float | None = None
    held_pictures: int | None = None
    device: str = ""
    driver: str = ""
    failure: FailureClass | None = None
    line: str = ""
    probed_at: float = 0.0

    @property
    def works(self) -> bool:
        """Whether a master may use it."""
        return self.step is Step.DONE and self.failure is None

    def is_known(self, now: float, retries: bool) -> bool:
        """Whether it need not be probed again on a machine that did not change, `now` in seconds of the epoch.

        What failed may have been mended since: with `retries` it is asked again, else after a day. A driver that
        crashed or hung costs long, so that it is left alone.
        """
        if self.failure in (FailureClass.CRASHED, FailureClass.TIMED_OUT) or self.works:
            return True
        is_lasting = self.failure is not None and self.failure.lasts
        return is_lasting and not retries and 0 <= now - self.probed_at < DAY_S

    @property
    def words(self) -> str:
        """Why it does not work and what to do, empty when it works."""
        return Failure(self.failure, self.line, self.name).words if self.failure is not None else ""

    @property
    def backend(self) -> Backend:
        """The encoder as it was found, for `EncoderSettings.usable`."""
        backend = BY_NAME[self.name]
        if backend.route is not Route.HARDWARE:
            return backend
        return msgspec.structs.replace(
            backend, bitrate=self.bitrate or backend.bitrate, forces_key=self.forces_key is not False
        )


def chosen(findings: tuple[Finding, ...], codec: str) -> Finding | None:
    """The encoder that `auto` takes for a codec: the first of the table that works."""
    by_name = {finding.name: finding for finding in findings if finding.works}
    return next((by_name[each.name] for each in TABLE if each.codec == codec and each.name in by_name), None)
