from pathlib import Path

from app.wiring.orders import RecordOrder
from app.wiring.recording import recorded, recorder
from media.encoders.encoder import EncoderSettings
from media.feed import Feed
from media.recording.folder import Folder
from media.sources.pattern import PatternSource

ARN = "arn:aws:kinesisvideo:us-west-2:123456789012:channel/.front/1700000000000"


def test_a_channel_is_recorded_under_its_account_and_never_outside() -> None:
    made = recorder(RecordOrder("/recordings", 60.0, 1000), Feed(PatternSource(160, 90, 30), EncoderSettings()), ARN)
    assert isinstance(made.folder, Folder)
    assert made.folder.path == Path("/recordings/123456789012/%2Efront")
    assert recorded(made) == {
        "recorder.lost.slow": 0,
        "recorder.lost.failed": 0,
        "recorder.keyframe_requests": 0,
        "recorder.segments": 0,
        "recorder.segment_bytes": 0,
        "recorder.removed": 0,
    }
