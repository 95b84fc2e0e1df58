import errno
import fcntl
import os
from pathlib import Path

import pytest

from app import slot_memory
from app.settings import SettingsError
from app.slot_memory import SlotMemory
from channels.owners import Wish


def test_a_number_is_remembered_for_its_port_and_asked_for_with_its_token(tmp_path: Path) -> None:
    with slot_memory.opened(tmp_path, 8080) as memory:
        assert memory.wish("") == Wish(0)
        memory.remember(12, "old-token")
        memory.remember(3, "token")
        memory.remember(None, "token")
    with slot_memory.opened(tmp_path, 8080) as memory, slot_memory.opened(tmp_path, 8081) as other:
        assert memory.wish("") == Wish(3, token="token")
        assert memory.wish("3") == Wish(3, is_fixed=True, token="token")
        assert memory.wish("4") == Wish(4, is_fixed=True)
        assert other.wish("") == Wish(0)


def test_a_process_with_any_port_goes_by_its_index(tmp_path: Path) -> None:
    with slot_memory.opened(tmp_path, 0, 1) as memory:
        memory.remember(7, "token")
    with slot_memory.opened(tmp_path, 0, 1) as same, slot_memory.opened(tmp_path, 0) as other:
        assert same.wish("").number == 7
        assert other.wish("") == Wish(0)


def test_what_another_process_has_open_is_not_remembered_twice(tmp_path: Path) -> None:
    with slot_memory.opened(tmp_path, 0) as first:
        first.remember(1, "token")
        with slot_memory.opened(tmp_path, 0) as second:
            assert second.wish("") == Wish(0)
            second.remember(2, "other")
    with slot_memory.opened(tmp_path, 0) as third:
        assert third.wish("") == Wish(1, token="token")


def test_a_file_that_was_cut_off_is_as_good_as_none(tmp_path: Path) -> None:
    with slot_memory.opened(tmp_path, 8080) as memory:
        memory.remember(1, "token")
    path = tmp_path / "slots" / "8080.json"
    path.write_bytes(path.read_bytes()[:-1])
    assert path.stat().st_mode & 0o777 == 0o600
    with slot_memory.opened(tmp_path, 8080) as memory:
        assert memory.wish("") == Wish(0)


def test_a_folder_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "slots").touch()
    with (
        pytest.raises(SettingsError, match=r"DATA_DIR: .*/slots cannot be used: File exists"),
        slot_memory.opened(tmp_path, 8080),
    ):
        raise AssertionError


def test_without_a_file_there_is_nothing_to_remember() -> None:
    memory = SlotMemory(None)
    memory.remember(1, "token")
    assert memory.wish("") == Wish(0)


def test_a_full_disk_is_told_and_costs_the_number_only(caplog: pytest.LogCaptureFixture) -> None:
    descriptor = os.open("/dev/full", os.O_RDWR)
    SlotMemory(descriptor).remember(3, "token")
    os.close(descriptor)
    assert [record.message for record in caplog.records] == ["the slot cannot be remembered"]


def test_a_file_system_without_locks_is_told_once_and_costs_the_number_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(_: int, __: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with slot_memory.opened(tmp_path, 8080, 2) as memory:
        memory.remember(3, "token")
        memory.remember(4, "token")
        assert memory.wish("") == Wish(2)
    reasons = [(record.message, vars(record)["reason"]) for record in caplog.records]
    assert reasons == [
        ("the slot cannot be remembered", f"{tmp_path}/slots/8080.json cannot be locked: No locks available")
    ]
