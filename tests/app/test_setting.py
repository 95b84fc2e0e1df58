"""How one setting is named and parsed, whatever it is."""

from pathlib import Path

import pytest
from msgspec import Meta

from app.setting import HIDDEN, Field, SettingsError, whole_path


def test_a_setting_has_one_name_in_each_spelling() -> None:
    field = Field("http_port", int, 8080, (Meta(ge=0, description="port"),))
    assert (field.key, field.variable, field.flag) == ("HTTP_PORT", "HELIOGRAPH_HTTP_PORT", "--http-port")
    assert (field.help, field.kind) == ("port", "integer")


def test_a_secret_is_shown_as_such_once_it_is_set() -> None:
    field = Field("token", str, "", (Meta(extra={"is_secret": True}),))
    assert (field.shown("abc"), field.shown("")) == (HIDDEN, "")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://host:6379/1", "redis://host:6379/1"),
        ("redis://:pass@host", "redis://***@host"),
        ("redis://user:p@ss:word@host/2", "redis://***@host/2"),
        ("redis+sentinel://:p@a,b/main?sentinel_password=q", "redis+sentinel://***@a,b/main?***"),
        ("unix://:p@/run/redis.sock?db=1", "unix://***@/run/redis.sock?***"),
        ("redis//:p@a:1", "***@a:1"),
        (":p://q@a", "***@a"),
        ("", ""),
    ],
)
def test_a_url_is_shown_without_what_may_be_a_password(url: str, shown: str) -> None:
    assert Field("redis_url", str, "", (Meta(extra={"is_url": True}),)).shown(url) == shown


def test_a_setting_may_have_a_short_flag_beside_its_own() -> None:
    field = Field("redis_url", str, "", (Meta(extra={"alias": "--redis"}), Meta(description="url")))
    assert field.flags == ("--redis-url", "--redis")
    assert Field("region", str, "", ()).flags == ("--region",)


@pytest.mark.parametrize(
    ("given", "value"),
    [("true", True), ("Yes", True), ("1", True), (True, True), ("FALSE", False), ("no", False), ("0", False)],
)
def test_a_switch_is_true_or_false(given: object, value: bool) -> None:
    assert Field("tls", bool, False, ()).parse(given) is value


@pytest.mark.parametrize("given", ["on", "", 1, None, "2"])
def test_what_is_neither_true_nor_false_is_told(given: object) -> None:
    with pytest.raises(SettingsError, match=f"^TLS: {given} is neither true nor false"):
        Field("tls", bool, False, ()).parse(given)


def test_a_path_without_a_home_is_told_with_what_to_give() -> None:
    """As in a container whose user is a number that no file knows."""
    with pytest.raises(
        SettingsError, match=r"^DATA_DIR: there is no home for ~nobody-here/d; .* --data-dir or HELIOGRAPH_D"
    ):
        whole_path("DATA_DIR", "~nobody-here/d")
    assert whole_path("DATA_DIR", "d") == Path.cwd() / "d"
