from pathlib import Path

import pytest

from app import settings
from app.cli import build_parser
from app.setting import HIDDEN
from app.settings import FIELDS, Origin, Settings, SettingsError, load


def test_defaults_are_those_of_the_manual() -> None:
    values = load({}, {}).settings
    assert (values.host, values.http_port, values.https_port) == ("127.0.0.1", 8080, 8443)
    assert (values.turn_port, values.ops_port) == (3478, 9090)
    assert (values.turn_min_port, values.turn_max_port) == (49160, 49559)
    assert (values.region, values.account, values.partition) == ("us-west-2", "000000000000", "aws")
    assert values.limits_profile == "aws"


def test_flag_beats_variable_beats_file_beats_default(tmp_path: Path) -> None:
    file = tmp_path / "heliograph.toml"
    file.write_text('http_port = 1\nops_port = 2\nregion = "file-1"\n')
    environment = {"HELIOGRAPH_HTTP_PORT": "3", "HELIOGRAPH_OPS_PORT": "4", "HELIOGRAPH_CONFIG": str(file)}
    loaded = load({"http_port": "5"}, environment)
    values = loaded.settings
    assert (values.http_port, values.ops_port, values.region, values.turn_port) == (5, 4, "file-1", 3478)
    origins = [loaded.origins[name] for name in ("http_port", "ops_port", "region", "turn_port")]
    assert origins == [Origin.FLAG, Origin.ENVIRONMENT, Origin.FILE, Origin.DEFAULT]


def test_the_config_flag_beats_its_variable(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("http_port = 1")
    (tmp_path / "b.toml").write_text("http_port = 2")
    environment = {"HELIOGRAPH_CONFIG": str(tmp_path / "a.toml")}
    assert load({}, environment, str(tmp_path / "b.toml")).settings.http_port == 2


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("TURN_MIN_PORT", "70000", "TURN_MIN_PORT: 70000 is over 65535"),
        ("TURN_MIN_PORT", "80", "TURN_MIN_PORT: 80 is under 1024"),
        ("HTTP_PORT", "-1", "HTTP_PORT: -1 is under 0"),
        ("HTTP_PORT", "web", "HTTP_PORT: web is not an integer"),
        ("HTTP_PORT", "80.0", "HTTP_PORT: 80.0 is not an integer"),
        ("DRAIN_S", "nan", "DRAIN_S: nan is not a number"),
        ("PUBLIC_HOST", "https://kvs.example.com/", "PUBLIC_HOST: 'https://kvs.example.com/' is not allowed"),
        ("PUBLIC_HOST", "kvs.example.com\n", "PUBLIC_HOST: 'kvs.example.com\\n' is not allowed"),
        ("LIMITS_PROFILE", "none", "LIMITS_PROFILE: none is none of aws, relaxed"),
        ("ACCOUNT", "12", "ACCOUNT: '12' is not allowed; it is the account in ARNs, 12 digits"),
        ("ACCOUNT", "000000000000\n", "ACCOUNT: '000000000000\\n' is not allowed"),
        ("REGION", "us-west-2\n", "REGION: 'us-west-2\\n' is not allowed"),
        (
            "ENDPOINT",
            "localhost:8080",
            "ENDPOINT: 'localhost:8080' is not allowed; http:// is missing: http://localhost:8080",
        ),
        ("TURN_MIN_PORT", "50000", "TURN_MIN_PORT: 50000 is over TURN_MAX_PORT 49559"),
        ("TURN_PORT", "49200", "TURN_PORT: 49200 lies inside the relay ports 49160-49559"),
        ("OPS_PORT", "8080", "OPS_PORT: 8080 is HTTP_PORT too"),
        ("ALLOW_PEER_CIDRS", "10.0.0.0/8,ten", "ALLOW_PEER_CIDRS: 'ten' does not appear to be"),
        ("HOST", "example", "HOST: example is not an IP address (from HELIOGRAPH_HOST)"),
        ("TURN_REALM", "r" * 37, f"TURN_REALM: '{'r' * 37}' is not allowed; it is the realm of TURN credentials"),
        ("TURN_ADVERTISED_ADDRESS", "me", "TURN_ADVERTISED_ADDRESS: me is not an IP address"),
    ],
)
def test_a_wrong_value_is_told_by_its_key(name: str, text: str, sentence: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load({}, {f"HELIOGRAPH_{name}": text})
    assert str(caught.value).startswith(sentence)
    assert caught.value.code == 2


def test_tls_is_a_switch_of_the_command_line_too() -> None:
    parser = build_parser()
    for words, given in ((["--tls"], True), (["--tls=false"], False), (["--tls", "yes"], True)):
        assert load({"tls": parser.parse_args(["serve", *words]).tls}, {}).settings.tls is given
    assert "tls" not in parser.parse_args(["serve"])


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"tls_certificate": "c.pem"}, "TLS_CERTIFICATE: give TLS_CERTIFICATE and TLS_KEY, or neither"),
        ({"tls_key": "k.pem", "tls": "1"}, "TLS_KEY: give TLS_CERTIFICATE and TLS_KEY, or neither"),
        ({"tls_certificate": "c.pem", "tls_key": "k.pem"}, "TLS_CERTIFICATE: without TLS it has no use; add --tls"),
        ({"tls_names": "a.test,b c"}, "TLS_NAMES: b c is neither a host name nor an IP address"),
        ({"tls_names": "a.*.test"}, "TLS_NAMES: a.*.test is neither"),
        ({"tls": "1", "https_port": "8080"}, "HTTPS_PORT: 8080 is HTTP_PORT too; choose another"),
        ({"tls": "1", "https_port": "9090"}, "HTTPS_PORT: 9090 is OPS_PORT too; choose another"),
    ],
)
def test_settings_of_tls_that_do_not_fit_are_told(given: dict[str, str], sentence: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(given, {})
    assert str(caught.value).startswith(sentence)


def test_names_for_the_certificate_are_names_wildcards_and_addresses() -> None:
    names = ("kvs.test", "*.kvs.test", "192.0.2.1", "2001:db8::1", "kvs")
    assert load({"tls_names": ",".join(names), "https_port": "8080"}, {}).settings.tls_names == names


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("http_prot = 1", "http_prot: no such setting in"),
        ('http_port = "80', "is not TOML"),
        ("http_port = true", "HTTP_PORT: True is not an integer (from {file})"),
        ("http_port = 1.5", "HTTP_PORT: 1.5 is not an integer"),
        ("region = 7", "REGION: 7 is not a text"),
        ("allow_peer_cidrs = 7", "ALLOW_PEER_CIDRS: 7 is not a list of texts"),
    ],
)
def test_a_wrong_file_is_told(tmp_path: Path, text: str, sentence: str) -> None:
    file = tmp_path / "heliograph.toml"
    file.write_text(text)
    with pytest.raises(SettingsError) as caught:
        load({}, {}, str(file))
    assert sentence.format(file=file) in str(caught.value)


def test_an_unknown_key_of_a_file_gets_a_guess(tmp_path: Path) -> None:
    file = tmp_path / "heliograph.toml"
    file.write_text("http_prot = 1")
    with pytest.raises(SettingsError, match=r"did you mean http_port\?"):
        load({}, {}, str(file))


def test_a_missing_file_is_told() -> None:
    with pytest.raises(SettingsError, match=r"CONFIG: /nowhere/h\.toml cannot be read: No such file"):
        load({}, {}, "/nowhere/h.toml")


def test_a_misspelled_variable_is_a_warning_and_a_foreign_one_is_not() -> None:
    environment = {"HELIOGRAPH_HTTP_PROT": "1", "HELIOGRAPH_PORT": "tcp://10.0.0.1:80", "HELIOGRAPH_SERVICE_HOST": "x"}
    assert load({}, environment).warnings == ("HELIOGRAPH_HTTP_PROT is no setting; did you mean HELIOGRAPH_HTTP_PORT?",)


def test_a_variable_named_like_a_short_flag_is_told() -> None:
    """Else each node would be alone without a word."""
    loaded = load({}, {"HELIOGRAPH_REDIS": "redis://h", "HELIOGRAPH_REDIS_PORT": "tcp://10.0.0.1:6379"})
    assert loaded.warnings == ("HELIOGRAPH_REDIS is no setting; did you mean HELIOGRAPH_REDIS_URL?",)


def test_no_folder_is_no_data_folder() -> None:
    with pytest.raises(SettingsError, match=r"^DATA_DIR: '' is not allowed"):
        load({"data_dir": ""}, {})


def test_the_data_folder_follows_the_state_home_of_the_desktop() -> None:
    loaded = load({}, {"XDG_STATE_HOME": "/state"})
    assert loaded.settings.data_path == Path("/state/heliograph")
    assert load({}, {}).settings.data_path == Path.home() / ".local/state/heliograph"


def test_a_data_folder_is_told_in_whole() -> None:
    """What is printed of it, such as where the CA is, is good in any folder."""
    assert load({"data_dir": "here"}, {}).settings.data_path == Path.cwd() / "here"


def test_lists_come_from_texts_and_files(tmp_path: Path) -> None:
    assert load({"allow_peer_cidrs": "10.0.0.0/8, fd00::/8"}, {}).settings.allow_peer_cidrs == (
        "10.0.0.0/8",
        "fd00::/8",
    )
    file = tmp_path / "heliograph.toml"
    file.write_text('allow_peer_cidrs = ["10.0.0.0/8"]')
    assert load({}, {}, str(file)).settings.allow_peer_cidrs == ("10.0.0.0/8",)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"access_key_id": "AKIA"}, "ACCESS_KEY_ID: give ACCESS_KEY_ID and SECRET_ACCESS_KEY, or neither"),
        ({"secret_access_key": "s"}, "ACCESS_KEY_ID: give ACCESS_KEY_ID and SECRET_ACCESS_KEY, or neither"),
        ({"session_token": "t"}, "SESSION_TOKEN: it goes with the ACCESS_KEY_ID"),
        ({"access_key_id": "AKIA", "secret_access_key": "s", "token": "t"}, "TOKEN: give a token or an ACCESS_KEY_ID"),
    ],
)
def test_half_an_access_key_and_two_credentials_are_told(given: dict[str, object], words: str) -> None:
    with pytest.raises(SettingsError, match=f"^{words}"):
        load(given, {})


@pytest.mark.parametrize("given", ["*", "null", "https://app.example.org", "http://localhost:3000/", "app://local"])
def test_an_origin_has_scheme_and_host(given: str) -> None:
    assert load({"allowed_origins": given}, {}).settings.allowed_origins == (given,)


@pytest.mark.parametrize("given", ["app.example.org", "https://", "https://app.example.org/page", "https://a b"])
def test_what_is_no_origin_is_told(given: str) -> None:
    with pytest.raises(SettingsError, match=r"^ALLOWED_ORIGINS: .* is no origin; one looks like"):
        load({"allowed_origins": given}, {})


def test_a_trusted_proxy_is_an_address_or_a_network() -> None:
    assert load({"trusted_proxies": "10.0.0.7,fd00::/8"}, {}).settings.trusted_proxies == ("10.0.0.7", "fd00::/8")
    for given in ("*", "proxy.example.org", "10.0.0.7/8"):
        with pytest.raises(SettingsError, match=r"^TRUSTED_PROXIES: .*\(from "):
            load({"trusted_proxies": given}, {})


def test_a_further_region_is_a_name_or_a_star() -> None:
    assert load({"signing_regions": "eu-west-1,*"}, {}).settings.signing_regions == ("eu-west-1", "*")
    with pytest.raises(SettingsError, match=r"^SIGNING_REGIONS: eu west is no region; one looks like eu-west-1"):
        load({"signing_regions": "eu west"}, {})


@pytest.mark.parametrize("host", ["", "kvs.example.com", "kvs.example.com:8443", "[2001:db8::1]:8443", "10.0.0.1"])
def test_a_public_host_is_a_name_or_an_address(host: str) -> None:
    assert load({"public_host": host}, {}).settings.public_host == host


@pytest.mark.parametrize("name", ["", "*.kvs.example.com", "*.localhost:8443"])
def test_a_wildcard_name_is_one(name: str) -> None:
    assert load({"endpoint_wildcard": name}, {}).settings.endpoint_wildcard == name
    if name:
        with pytest.raises(SettingsError, match=r"ENDPOINT_WILDCARD: .* is not allowed; it is the \*\.NAME"):
            load({"endpoint_wildcard": name.removeprefix("*.")}, {})


def test_the_token_never_shows() -> None:
    loaded = load({"token": "abc.def.ghi"}, {})
    assert "abc.def.ghi" not in repr(loaded)
    assert settings.BY_NAME["token"].shown(loaded.settings.token) == HIDDEN


def test_every_setting_says_what_it_is() -> None:
    for field in FIELDS:
        assert field.help
        assert not field.help.endswith(".")
        assert field.kind


def test_a_command_prefers_its_own_defaults_to_the_general_ones_only() -> None:
    loaded = load({}, {"HELIOGRAPH_LOG_LEVEL": "debug"})
    values = loaded.preferring(log_level="warning", log_format="text")
    assert (values.log_level, values.log_format) == ("debug", "text")


@pytest.mark.parametrize(("given", "form"), [("auto", "text"), ("json", "json"), ("text", "text")])
def test_auto_leaves_the_form_of_the_log_to_the_command(given: str, form: str) -> None:
    assert load({"log_format": given}, {}).preferring(log_format="text").log_format == form


def test_an_empty_variable_counts_as_not_set() -> None:
    loaded = load({}, {"HELIOGRAPH_HTTP_PORT": "", "HELIOGRAPH_TOKEN": "", "HELIOGRAPH_HOST": ""})
    assert loaded.settings == Settings()
    assert set(loaded.origins.values()) == {Origin.DEFAULT}
