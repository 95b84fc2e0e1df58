import argparse

import pytest

from app.cli_parser import (
    Parser,
    add_settings,
    bitrate,
    json_flag,
    names,
    positive,
    program,
    seconds,
    size,
    texts,
    trial_flags,
)


def a_parser() -> Parser:
    parser = Parser(prog="shine", **{k: v for k, v in texts("make light", "shine --json").items() if k != "help"})
    json_flag(parser)
    add_settings(parser, ("tls", "turn_port"))
    return parser


def test_settings_are_flags_and_say_their_default(capsys: pytest.CaptureFixture[str]) -> None:
    assert vars(a_parser().parse_args([])) == {"json": False, "config": None}
    given = a_parser().parse_args(["--json", "--tls", "--turn-port", "3480"])
    assert (given.json, given.tls, given.turn_port) == (True, "true", "3480")
    with pytest.raises(SystemExit):
        a_parser().parse_args(["--help"])
    text = capsys.readouterr().out
    assert "Make light." in text
    assert "(default: 3478)" in " ".join(text.split())
    assert "example: shine --json" in text


def test_a_trial_is_asked_for() -> None:
    parser = Parser(prog="shine")
    trial_flags(parser)
    assert vars(parser.parse_args([])) == {"json": False, "dry_run": False}
    assert vars(parser.parse_args(["--dry-run", "--json"])) == {"json": True, "dry_run": True}


def test_a_short_flag_sets_the_same_setting() -> None:
    parser = Parser(prog="shine")
    add_settings(parser, ("redis_url",))
    assert parser.parse_args(["--redis", "redis://a"]).redis_url == "redis://a"
    assert parser.parse_args(["--redis-url", "redis://a"]).redis_url == "redis://a"


def test_an_error_is_two_lines_with_a_guess(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        a_parser().parse_args(["--turn-prot", "1"])
    assert caught.value.code == 2
    assert capsys.readouterr().err == (
        "shine: unknown: --turn-prot 1; did you mean --turn-port?\nusage: shine [flags]; try shine --help\n"
    )


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "", "٣"])
def test_a_positive_number_is_whole_and_above_zero(text: str) -> None:
    assert positive("12") == 12
    with pytest.raises(argparse.ArgumentTypeError, match="positive whole number"):
        positive(text)


@pytest.mark.parametrize("text", ["0", "nan", "-1", "x", "1e9"])
def test_seconds_are_finite_and_above_zero(text: str) -> None:
    assert seconds("0.5") == 0.5
    with pytest.raises(argparse.ArgumentTypeError, match="number of seconds"):
        seconds(text)


def test_a_size_has_units_of_1024() -> None:
    assert (size("0"), size("500"), size("2k"), size("10G")) == (0, 500, 2048, 10 * 1024**3)
    for text in ("", "G", "-1", "1.5G", "10GB", "9" * 16):
        with pytest.raises(argparse.ArgumentTypeError, match="number of bytes"):
            size(text)


def test_a_program_is_split_into_words_and_must_exist() -> None:
    assert program("true --at 'two words' \"$HOME;\"") == ("true", "--at", "two words", "$HOME;")
    for text in ("", "'open", "/nowhere/ptz now"):
        with pytest.raises(argparse.ArgumentTypeError):
            program(text)


def test_a_bitrate_has_a_unit_or_none() -> None:
    assert [bitrate(text) for text in ("800k", "2M", "1.5M", "64000")] == [800_000, 2_000_000, 1_500_000, 64_000]
    for text in ("", "k", "2G", "nan", "nanM", "inf", "-2M", "10k", "200M", "2 m"):
        with pytest.raises(argparse.ArgumentTypeError, match="example: 2M"):
            bitrate(text)


@pytest.mark.parametrize(("text", "found"), [("a", ("a",)), ("a,b", ("a", "b")), ("a,,b,", ("a", "b"))])
def test_names_have_commas_between_them(text: str, found: tuple[str, ...]) -> None:
    assert names(text) == found


@pytest.mark.parametrize("text", ["", ",", ",,"])
def test_no_names_are_none_to_choose_from(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="names nothing"):
        names(text)
