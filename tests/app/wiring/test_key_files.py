"""Key files that change while a service runs: taken over whole, or not at all."""

import logging
from pathlib import Path

import pytest

from app.wiring.key_files import KeyFiles, ReloadStats
from channels.auth import keys, token
from channels.auth.session import SessionRequest, Sessions
from channels.auth.token import TokenKey, TokenSettings, TokenVerifier
from channels.errors import UnrecognizedClientException

SETTINGS = TokenSettings()
REQUEST = SessionRequest("cam-7", "123456789012", ("ConnectAsMaster",), ("door",), 3600.0)
LATER, SECRET = token.new_es256_key(), token.new_secret_key()


def minted(key: TokenKey) -> str:
    fields = {"subject": "s", "actions": ["*"], "channels": ["*"], "now_wall": 1000.0, "lifetime_s": 60.0}
    return token.mint(key, SETTINGS, **fields)  # type: ignore[arg-type]  # as they are named


class Rig:
    """A data folder with the keys of a first start, and what verifies and makes with them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.first = keys.load_or_create(folder)[-1]
        secrets = keys.load_or_create(folder, keys.SESSIONS)
        self.verifier = TokenVerifier([self.first], SETTINGS)
        self.sessions = Sessions(secrets, self.first, SETTINGS)
        self.files = KeyFiles(folder, [self.first], self.verifier, self.sessions)

    def write(self, name: str, data: bytes, permissions: int = 0o600) -> Path:
        path = self.folder / name
        path.write_bytes(data)
        path.chmod(permissions)
        return path

    async def settle(self) -> ReloadStats:
        for _ in range(3):
            await self.files.look()
        return self.files.stats

    def knows(self, key: TokenKey) -> bool:
        try:
            return bool(self.verifier.verify(minted(key), 1001.0))
        except UnrecognizedClientException:
            return False


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


async def test_a_new_key_is_taken_and_an_old_one_ends_with_its_file(rig: Rig) -> None:
    assert await rig.settle() == ReloadStats()
    new = token.private_key("9999-01", LATER.private or b"")
    rig.write("keys/9999-01.pem", LATER.private or b"")
    rig.write("session-keys/9999-01.secret", SECRET.private or b"")
    await rig.files.look()
    assert not rig.knows(new), "it may be half a copy"

    assert await rig.settle() == ReloadStats(loaded=1)
    assert rig.knows(new)
    assert rig.knows(rig.first)
    made = rig.sessions.mint(REQUEST, 1000.0)
    grant = TokenVerifier([new], SETTINGS).verify(made.session_token, 1001.0)
    assert (grant.session_key_id, rig.sessions.secret_of(grant)) == ("9999-01", made.secret_access_key)

    (rig.folder / "keys" / f"{rig.first.kid}.pem").unlink()
    assert await rig.settle() == ReloadStats(loaded=2)
    assert not rig.knows(rig.first)


async def test_what_came_while_the_service_started_is_taken_too(rig: Rig) -> None:
    rig.write("keys/9999-01.pem", LATER.private or b"")
    assert await rig.settle() == ReloadStats(loaded=1)
    assert rig.knows(token.private_key("9999-01", LATER.private or b""))


async def test_what_cannot_be_used_is_told_once_and_the_keys_before_stay(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    path = rig.write("keys/9999-01.pem", LATER.private or b"", 0o644)
    assert await rig.settle() == await rig.settle() == ReloadStats(refused=1)
    assert rig.knows(rig.first)
    assert [(record.message, record.levelno) for record in caplog.records] == [
        ("the changed keys are not used", logging.ERROR)
    ]
    path.chmod(0o600)
    assert await rig.settle() == ReloadStats(loaded=1, refused=1)


async def test_two_keys_of_one_name_change_nothing(rig: Rig) -> None:
    rig.write(f"keys/{rig.first.kid}.pub", rig.first.public)
    rig.write("session-keys/9999-01.secret", SECRET.private or b"")
    assert await rig.settle() == ReloadStats(refused=1)
    made = rig.sessions.mint(REQUEST, 1000.0)
    assert rig.verifier.verify(made.session_token, 1001.0).session_key_id != "9999-01"


async def test_files_that_are_gone_leave_the_keys(rig: Rig) -> None:
    for folder in ("keys", "session-keys"):
        (rig.folder / folder).rename(rig.folder / f"{folder}.away")
    assert await rig.settle() == ReloadStats(refused=1)
    assert rig.knows(rig.first)


async def test_without_a_folder_nothing_is_watched(rig: Rig) -> None:
    files = KeyFiles(None, [], rig.verifier, rig.sessions)
    await files.look()
    await files.run()
    assert files.stats == ReloadStats()
