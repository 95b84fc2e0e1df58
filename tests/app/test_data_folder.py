import errno
import fcntl
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from app.data_folder import (
    load_or_create_seal_keys,
    load_or_create_turn_secrets,
    open_data_folder,
    read_turn_secrets,
    served_alone,
)
from app.settings import Settings, SettingsError


def test_the_data_folder_is_private(tmp_path: Path) -> None:
    folder = open_data_folder(Settings(data_dir=str(tmp_path / "a" / "b")))
    assert folder.stat().st_mode & 0o777 == 0o700


def test_an_open_data_folder_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o755)
    with pytest.raises(SettingsError, match="run: chmod 700"):
        open_data_folder(Settings(data_dir=str(folder)))


def test_a_data_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="lies inside a file, not a folder; choose another folder with --data-dir"):
        open_data_folder(Settings(data_dir=str(tmp_path / "file" / "inside")))
    with pytest.raises(SettingsError, match="file is a file, not a folder; choose another folder with --data-dir"):
        open_data_folder(Settings(data_dir=str(tmp_path / "file")))


def test_a_data_folder_that_cannot_be_made_is_told() -> None:
    with pytest.raises(
        SettingsError, match=r"folder /proc/x cannot be made or used \(no such file or directory\); choose"
    ):
        open_data_folder(Settings(data_dir="/proc/x"))


def test_the_turn_secret_is_made_once_and_private(tmp_path: Path) -> None:
    first = load_or_create_turn_secrets(tmp_path)
    assert [len(secret) for secret in first] == [64]
    assert load_or_create_turn_secrets(tmp_path) == first
    assert (tmp_path / "turn.secret").stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["turn.secret"]  # noqa: PTH208


def test_each_line_is_a_turn_secret_and_the_last_is_the_newest(tmp_path: Path) -> None:
    old = load_or_create_turn_secrets(tmp_path)
    with (tmp_path / "turn.secret").open("a") as file:
        file.write("n" * 32 + "\n")
    assert load_or_create_turn_secrets(tmp_path) == (*old, b"n" * 32)


def test_a_short_turn_secret_is_refused(tmp_path: Path) -> None:
    (tmp_path / "turn.secret").write_text("hush")
    with pytest.raises(SettingsError, match="has a line shorter than 32"):
        load_or_create_turn_secrets(tmp_path)


def test_processes_that_start_at_once_get_one_turn_secret(tmp_path: Path) -> None:
    found: list[bytes] = []
    barrier = threading.Barrier(8)

    def start() -> None:
        barrier.wait()
        found.append(load_or_create_turn_secrets(tmp_path))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert set(found) == {load_or_create_turn_secrets(tmp_path)}
    assert os.listdir(tmp_path) == ["turn.secret"]  # noqa: PTH208


def test_the_key_that_seals_is_made_once_and_private(tmp_path: Path) -> None:
    (key,) = load_or_create_seal_keys(tmp_path)
    assert len(key) == 32
    assert load_or_create_seal_keys(tmp_path) == (key,)
    assert (tmp_path / "seal.key").stat().st_mode & 0o777 == 0o600


def test_keys_that_seal_are_the_lines_of_their_file(tmp_path: Path) -> None:
    first = load_or_create_seal_keys(tmp_path)
    with (tmp_path / "seal.key").open("a") as file:
        file.write(f"{'ab' * 32}\n")
    assert load_or_create_seal_keys(tmp_path) == (*first, b"\xab" * 32)


@pytest.mark.parametrize("text", ["", "\n", "ab" * 31, "ab" * 33, "xy" * 32, f"{'ab' * 32}\nab", "\xff"])
def test_a_file_of_keys_that_seal_nothing_is_refused_and_not_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "seal.key").write_text(text, encoding="latin-1")
    with pytest.raises(SettingsError, match=r"seal\.key must have lines of 64 hexadecimal digits$"):
        load_or_create_seal_keys(tmp_path)


def test_a_file_of_keys_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "seal.key").mkdir()
    with pytest.raises(SettingsError, match=r"DATA_DIR: .*seal\.key cannot be used: Is a directory"):
        load_or_create_seal_keys(tmp_path)


def test_one_service_at_a_time_uses_a_folder(tmp_path: Path) -> None:
    wanted = rf"process {os.getpid()}\) uses .*; stop it, or choose another folder with --data-dir"
    with served_alone(tmp_path):
        with pytest.raises(SettingsError, match=wanted), served_alone(tmp_path):
            pytest.fail("two services on one folder")
        with pytest.raises(SettingsError, match=wanted), served_alone(tmp_path):  # the refused one changed nothing
            pytest.fail("two services on one folder")
    with served_alone(tmp_path):
        assert (tmp_path / "serve.lock").stat().st_mode & 0o777 == 0o600


def test_what_the_service_starts_does_not_hold_its_folder(tmp_path: Path) -> None:
    program = [sys.executable, "-c", "print('up', flush=True); input()"]
    with served_alone(tmp_path):
        child = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, close_fds=False)
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"up\n"  # only now has the kernel closed what exec closes
        with served_alone(tmp_path):
            child.communicate(b"\n")


def test_a_lock_that_cannot_be_made_is_told_by_its_setting(tmp_path: Path) -> None:
    (tmp_path / "serve.lock").mkdir()
    with pytest.raises(SettingsError, match=r"DATA_DIR: .*serve\.lock cannot be used"), served_alone(tmp_path):
        pytest.fail("served without a lock")


def test_a_folder_on_a_file_system_without_locks_is_not_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int, __: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with (
        pytest.raises(SettingsError, match=r"DATA_DIR: .*serve\.lock cannot be locked: No locks available$"),
        served_alone(tmp_path),
    ):
        pytest.fail("served without a lock")


def test_a_turn_secret_is_read_only_where_there_is_one(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="holds no TURN secret: no server was started on it yet"):
        read_turn_secrets(tmp_path)
    assert load_or_create_turn_secrets(tmp_path) == read_turn_secrets(tmp_path)
