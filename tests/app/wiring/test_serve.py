from pathlib import Path

import pytest

from app.settings import Settings, SettingsError
from app.wiring import serve


def test_a_data_folder_gives_the_same_keys_every_time(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    settings = Settings(data_dir=str(tmp_path))
    first, second = (serve.order(settings, tmp_path) for _ in range(2))
    assert first.turn_secrets == second.turn_secrets
    assert first.keys == second.keys
    assert len(first.keys) == 1
    assert first.keys[0].algorithm == "ES256"
    assert first.catalog == str(tmp_path / "catalog.sqlite")
    assert first.keys_folder == tmp_path
    assert first.access == second.access
    assert first.access is not None
    assert first.access.store == str(tmp_path / "keys.sqlite")


def test_a_node_with_redis_follows_no_copy_of_the_keys_that_nodes_share(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    settings = Settings(data_dir=str(tmp_path), redis_url="redis://127.0.0.1:1")
    assert serve.order(settings, tmp_path).keys_folder is None


def test_a_broken_key_is_told_by_its_setting(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    folder.mkdir(mode=0o700)
    (folder / "2026.pem").write_text("nonsense")
    (folder / "2026.pem").chmod(0o600)
    with pytest.raises(SettingsError, match="DATA_DIR: the token keys cannot be used"):
        serve.order(Settings(data_dir=str(tmp_path)), tmp_path)
