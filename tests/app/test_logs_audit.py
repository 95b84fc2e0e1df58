"""The file of what was called: private, moved away, not to be written."""

import io
import json
import logging
from pathlib import Path

import pytest

from app import logs
from tests.app.log_lines import lines

JWT = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl"


def audited(path: Path) -> list[str]:
    return [json.loads(line)["event"] for line in path.read_text().splitlines()]


def test_audit_file_is_private_and_gets_what_the_log_leaves_out(stream: io.StringIO, tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    logs.configure("warning", "text", stream)
    logs.audit_to(path)
    logging.getLogger(logs.AUDIT).info("called", extra={"reason": f"wrong: {JWT}"})
    logging.getLogger("x").info("no audit")
    assert audited(path) == ["called"]
    assert JWT not in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    assert stream.getvalue() == ""


def test_audit_file_that_was_moved_away_is_made_anew_and_one_that_is_there_is_kept(
    untouched: None, tmp_path: Path
) -> None:
    path, rotated = tmp_path / "audit.jsonl", tmp_path / "audit.jsonl.1"
    audit = logging.getLogger(logs.AUDIT)
    logs.audit_to(path)
    audit.info("first")
    path.rename(rotated)
    audit.info("second")
    logs.audit_to(path)
    audit.info("third")
    assert (audited(rotated), audited(path)) == (["first"], ["second", "third"])
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(audit.handlers) == 1


def test_an_audit_file_that_cannot_be_written_is_told_once_and_hinders_nobody(
    stream: io.StringIO, tmp_path: Path
) -> None:
    folder = tmp_path / "logs"
    path, audit = folder / "audit.jsonl", logging.getLogger(logs.AUDIT)
    folder.mkdir()
    logs.configure("warning", "json", stream)
    logs.audit_to(path)
    folder.rename(tmp_path / "moved")
    for _ in range(3):
        audit.info("lost")
    folder.mkdir()
    for _ in range(2):
        audit.info("kept")

    gone, back = lines(stream)
    assert (gone["event"], gone["file"]) == ("the audit file cannot be written", str(path))
    assert gone["reason"] == "No such file or directory"
    assert (back["event"], back["failed_lines"]) == ("the audit file is written again", 3)
    assert audited(path) == ["kept", "kept"]


def test_an_audit_file_on_a_full_disk_is_told_once(stream: io.StringIO, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("warning", "json", stream)
    logs.audit_to(Path("/dev/full"))
    for _ in range(2):
        logging.getLogger(logs.AUDIT).info("called")

    (told,) = lines(stream)
    assert (told["event"], told["reason"]) == ("the audit file cannot be written", "No space left on device")
    assert capsys.readouterr().err == ""
