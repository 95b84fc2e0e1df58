"""How one setting is named and parsed, whatever it is."""

import pytest
from msgspec import Meta

from app.setting import HIDDEN, Field, SettingsError


def test_a_setting_has_one_name_in_each_spelling() -> None:
    field = Field("http_port", int, 8080, (Meta(ge=0, description="port"),))
    assert (field.key, field.variable, field.flag) == ("HTTP_PORT", "HELIOGRAPH_HTTP_PORT", "--http-port")
    assert (field.help, field.kind) == ("port", "integer")


def test_a_secret_is_shown_as_such_once_it_is_set() -> None:
    field = Field("token", str, "", (Meta(extra={"is_secret": True}),))
    assert (field.shown("abc"), field.shown("")) == (HIDDEN, "")


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
