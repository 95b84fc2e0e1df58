"""What probes found is remembered, and a broken memory is as good as none."""

from pathlib import Path

from media.encoders.cache import NAME, Cache
from media.encoders.failure import FailureClass
from media.encoders.finding import Finding, Step

FOUND = (Finding(name="nvenc", failure=FailureClass.NO_NVENC), Finding(name="x264", step=Step.DONE))


def test_findings_are_remembered_for_the_same_machine(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    assert Cache([folder]).store("driver 1", FOUND) == folder / NAME
    assert tuple(Cache([folder]).load("driver 1").values()) == FOUND
    assert Cache([folder]).load("driver 2") == {}
    assert [path.name for path in folder.iterdir()] == [NAME], "no draft is left"


def test_next_folder_is_taken_when_one_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    folders = [tmp_path / "file" / "folder", tmp_path / "second"]
    assert Cache(folders).store("driver 1", FOUND) == tmp_path / "second" / NAME
    assert len(Cache(folders).load("driver 1")) == 2


def test_without_any_folder_nothing_is_remembered(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for cache in (Cache([]), Cache([tmp_path / "file"])):
        assert cache.store("driver 1", FOUND) is None
        assert cache.load("driver 1") == {}


def test_broken_file_is_no_file(tmp_path: Path) -> None:
    head = b'{"fingerprint": "driver 1", "findings": [{"name": '
    deep, cut = head + b'"x264", "x": ' + b"[" * 10_000, head + b'"\xff"}]}'
    for content in (b"", b"\xff\x00", b"{}", head + b"5}]}", head + b'"gone"}]}', deep, cut):
        (tmp_path / NAME).write_bytes(content)
        assert Cache([tmp_path]).load("driver 1") == {}
