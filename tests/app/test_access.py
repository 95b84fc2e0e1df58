"""From settings to the access of channel, master and viewer."""

from pathlib import Path

import pytest

from app.access import access_of
from app.settings import Settings, SettingsError
from channels.access import Access
from channels.auth.sigv4 import Credentials


def test_a_token_is_the_access_where_there_are_no_keys() -> None:
    assert access_of(Settings(token="a.b.c")) == Access("a.b.c")


def test_keys_sign_for_the_region_of_the_settings() -> None:
    settings = Settings(access_key_id="AKIA", secret_access_key="s", session_token="t", region="eu-west-1")
    assert access_of(settings) == Access("", Credentials("AKIA", "s", "t"), "eu-west-1")


def test_a_ca_file_of_no_use_is_told_by_its_setting(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"^CA_FILE: .*none\.pem cannot be read"):
        access_of(Settings(ca_file=str(tmp_path / "none.pem")))
