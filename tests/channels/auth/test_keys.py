"""Key files: made once, private, read as they stand, refused with a sentence when they are not safe."""

import contextlib
import fcntl
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from channels.auth import keys, token
from channels.auth.token import TokenKeyError, TokenSettings, TokenVerifier


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def files(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / "keys").iterdir() if not path.name.startswith("."))


def write(folder: Path, name: str, data: bytes, permissions: int = 0o600) -> Path:
    (folder / "keys").mkdir(mode=0o700, exist_ok=True)
    path = folder / "keys" / name
    path.write_bytes(data)
    path.chmod(permissions)
    return path


def test_first_start_makes_one_private_es256_key(tmp_path: Path) -> None:
    (key,) = keys.load_or_create(tmp_path)
    (path,) = files(tmp_path)
    assert key.algorithm == "ES256"
    assert path.name == f"{key.kid}.pem"
    assert key.kid.startswith(time.strftime("%Y-", time.gmtime()))
    assert mode(tmp_path / "keys") == 0o700
    assert mode(path) == 0o600


def test_umask_does_not_open_the_files(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        keys.load_or_create(tmp_path)
    finally:
        os.umask(before)
    assert {mode(path) for path in (tmp_path / "keys").iterdir()} == {0o600}
    assert mode(tmp_path / "keys") == 0o700


def test_later_starts_find_the_same_key(tmp_path: Path) -> None:
    assert keys.load_or_create(tmp_path) == keys.load_or_create(tmp_path)
    assert len(files(tmp_path)) == 1


LOAD = """
import sys
from pathlib import Path
from channels.auth import keys
print(flush=True)
sys.stdin.readline()
print(*[key.kid for key in keys.load_or_create(Path(sys.argv[1]))])
"""


@pytest.mark.slow
def test_processes_that_start_at_once_agree_on_one_key(tmp_path: Path) -> None:
    """Not forked from this one, in which other tests may have left threads and their locks."""
    command, pipe = [sys.executable, "-c", LOAD, str(tmp_path)], subprocess.PIPE
    with contextlib.ExitStack() as stack:
        processes = [
            stack.enter_context(subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)) for _ in range(4)
        ]
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "\n", "it is ready"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        found = [process.communicate()[0].split() for process in processes]
    assert len(files(tmp_path)) == 1
    assert len(found[0]) == 1
    assert found == [found[0]] * 4


def test_key_that_another_process_made_meanwhile_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pem = token.new_es256_key().private or b""
    monkeypatch.setattr(fcntl, "flock", lambda *_: write(tmp_path, "quicker.pem", pem))
    assert [key.kid for key in keys.load_or_create(tmp_path)] == ["quicker"]


def test_draft_of_a_crashed_start_is_no_key(tmp_path: Path) -> None:
    write(tmp_path, f".draft.{os.getpid()}", b"half a k")
    assert len(keys.load_or_create(tmp_path)) == 1


def test_last_key_by_name_that_can_sign_is_last(tmp_path: Path) -> None:
    pem = token.new_es256_key().private or b""
    write(tmp_path, "2026-02.pem", pem)
    write(tmp_path, "2026-01.secret", b"s" * 32 + b"\n")
    write(tmp_path, "zz-partner.pub", token.new_es256_key().public, 0o644)
    found = keys.load_or_create(tmp_path)
    assert [(key.kid, key.algorithm) for key in found] == [
        ("zz-partner", "ES256"),
        ("2026-01", "HS256"),
        ("2026-02", "ES256"),
    ]
    assert found[1].private == b"s" * 32
    text = token.mint(
        found[-1], TokenSettings(), subject="s", actions=["*"], channels=["*"], now_wall=0.0, lifetime_s=60.0
    )
    assert TokenVerifier(found, TokenSettings()).verify(text, 1.0).subject == "s"


def test_key_is_made_where_there_are_only_public_ones(tmp_path: Path) -> None:
    write(tmp_path, "partner.pub", token.new_es256_key().public)
    partner, own = keys.load_or_create(tmp_path)
    assert partner.private is None
    assert own.private is not None


def test_keys_that_are_read_again_are_those_that_are_there(tmp_path: Path) -> None:
    made = keys.load_or_create(tmp_path)
    assert keys.load(tmp_path) == made
    write(tmp_path, "partner.pub", token.new_es256_key().public)
    files(tmp_path)[0].unlink()
    with pytest.raises(TokenKeyError, match="no key that signs"):
        keys.load(tmp_path)
    assert [path.name for path in files(tmp_path)] == ["partner.pub"]


@pytest.mark.parametrize("permissions", [0o640, 0o604, 0o660, 0o644])
def test_key_that_others_may_read_is_refused(tmp_path: Path, permissions: int) -> None:
    path = write(tmp_path, "k.pem", token.new_es256_key().private or b"", permissions)
    with pytest.raises(TokenKeyError) as refused:
        keys.load_or_create(tmp_path)
    assert str(refused.value) == (f"others may read or change {path} (mode {permissions:o}); run: chmod 600 {path}")


def test_public_key_that_others_may_write_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "k.pub", token.new_es256_key().public, 0o666)
    with pytest.raises(TokenKeyError, match=f"others may write .* run: chmod 644 {path}"):
        keys.load_or_create(tmp_path)


def test_folder_that_others_may_enter_is_refused(tmp_path: Path) -> None:
    keys.load_or_create(tmp_path)
    (tmp_path / "keys").chmod(0o750)
    with pytest.raises(TokenKeyError, match=f"mode 750.* run: chmod 700 {tmp_path}/keys"):
        keys.load_or_create(tmp_path)


@pytest.mark.parametrize(
    ("name", "data", "sentence"),
    [
        ("k.pem", b"", "this is no unencrypted private key in PEM form"),
        ("k.pem", b"\xff\xfe\x00", "this is no unencrypted private key in PEM form"),
        ("k.pub", b"nonsense", "this is no public key in PEM form"),
        ("k.secret", b"short\n", "32 bytes at least, this one 5"),
        ("k.secret", b"   \n" * 20, "32 bytes at least, this one 0"),
        ("k.txt", b"x", r"is no key: keys end in .pub, .pem, .secret; move it elsewhere"),
        ("notes", b"x", "is no key"),
    ],
)
def test_file_that_is_no_key_is_refused_by_name(tmp_path: Path, name: str, data: bytes, sentence: str) -> None:
    path = write(tmp_path, name, data)
    with pytest.raises(TokenKeyError, match=sentence) as refused:
        keys.load_or_create(tmp_path)
    assert str(path) in str(refused.value)


def test_folder_that_cannot_be_made_is_an_os_error(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("a file")
    with pytest.raises(OSError, match="keys"):
        keys.load_or_create(tmp_path)


def test_session_keys_are_secrets_in_a_folder_of_their_own(tmp_path: Path) -> None:
    (made,) = keys.load_or_create(tmp_path, keys.SESSIONS)
    (path,) = (path for path in (tmp_path / "session-keys").iterdir() if path.suffix)
    assert (path.name, mode(path)) == (f"{made.kid}.secret", 0o600)
    assert path.read_bytes() == made.private
    assert len(made.private or b"") == 64
    assert keys.load_or_create(tmp_path, keys.SESSIONS) == (made,)
    assert not (tmp_path / "keys").exists()


def test_a_key_of_another_kind_among_the_session_keys_is_refused(tmp_path: Path) -> None:
    keys.load_or_create(tmp_path, keys.SESSIONS)
    path = tmp_path / "session-keys" / "k.pem"
    path.write_bytes(token.new_es256_key().private or b"")
    with pytest.raises(TokenKeyError, match=r"is no key: keys end in \.secret; move it elsewhere"):
        keys.load_or_create(tmp_path, keys.SESSIONS)
