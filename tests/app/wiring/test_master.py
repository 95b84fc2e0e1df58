import asyncio
from pathlib import Path

import pytest

from app.exits import CommandError, Exit
from app.settings import Settings
from app.wiring.master import MasterPart
from app.wiring.orders import MasterOrder


async def test_a_source_that_there_is_not_is_told_by_its_flag() -> None:
    with pytest.raises(CommandError, match="--source rtsp:x") as caught:
        MasterPart(MasterOrder(Settings(), "demo", "rtsp:x"))
    assert caught.value.code is Exit.USAGE


async def test_the_password_of_a_camera_stands_in_no_error_and_one_that_is_off_is_none(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with pytest.raises(CommandError, match=r"--source rtsp://\*\*\*@camera:x/1: rtsp: needs") as caught:
        MasterPart(MasterOrder(Settings(), "demo", "rtsp://admin:hunter2@camera:x/1"))
    assert "hunter2" not in str(caught.value)
    MasterPart(MasterOrder(Settings(), "demo", "rtsp://admin:hunter2@127.0.0.1:9/1"))
    assert "source is not there yet" in caplog.text
    assert "hunter2" not in caplog.text + str([vars(record) for record in caplog.records])


async def test_an_endpoint_that_is_no_url_is_told() -> None:
    with pytest.raises(CommandError, match=r"must be a URL.*--endpoint or HELIOGRAPH_ENDPOINT") as caught:
        MasterPart(MasterOrder(Settings(endpoint="http://host:99999"), "demo", "test"))
    assert caught.value.code is Exit.UNREACHABLE


async def test_an_endpoint_that_does_not_answer_is_told() -> None:
    part = MasterPart(MasterOrder(Settings(endpoint="http://127.0.0.1:9", token="t"), "demo", "test"))
    with pytest.raises(CommandError, match=r"http://127\.0\.0\.1:9") as caught:
        await part.run(lambda: None, asyncio.Event())
    assert caught.value.code is Exit.UNREACHABLE


async def test_counters_are_flat() -> None:
    counters = MasterPart(MasterOrder(Settings(), "demo", "test")).counters()
    assert counters["viewers"] == 0
    assert counters["master.offers"] == 0


async def test_a_speaker_that_there_is_not_is_told_by_its_flag() -> None:
    with pytest.raises(CommandError, match="--talkback pulse:x: expected alsa:DEVICE") as caught:
        MasterPart(MasterOrder(Settings(), "demo", "test", talkback="pulse:x"))
    assert caught.value.code is Exit.USAGE


async def test_talk_back_is_counted(tmp_path: Path) -> None:
    order = MasterOrder(Settings(), "demo", "test", talkback=f"file:{tmp_path / 'said.wav'}", talkback_mode="floor")
    assert MasterPart(order).counters()["talkback.packets"] == 0
