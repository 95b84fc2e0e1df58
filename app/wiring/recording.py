"""Settings -> the recorder of one master."""

from pathlib import Path

from app.processes import flatten
from app.wiring.orders import RecordOrder
from channels.names import ChannelArn
from media.control.ring import RingLimits
from media.feed import Feed
from media.recorder import Recorder
from media.recording.folder import Folder


def recorder(order: RecordOrder, feed: Feed, channel_arn: str) -> Recorder:
    """Return what records `feed` into the folder of its channel: ROOT/ACCOUNT/CHANNEL."""
    arn = ChannelArn.parse(channel_arn)
    limits = RingLimits(order.max_age_s, order.max_bytes)
    return Recorder(feed, Folder(Path(order.folder), arn.account, arn.name, limits))


def recorded(recorder: Recorder) -> dict[str, float]:
    """Return its plain counters by name."""
    return flatten(recorder.stats, "recorder") | flatten(recorder.folder.stats, "recorder")
