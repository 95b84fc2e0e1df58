import pytest

from app import bench_flags
from app.cli_parser import Parser


def test_what_is_not_given_is_left_to_the_benchmark() -> None:
    parser = Parser()
    bench_flags.add(parser)
    found = parser.parse_args(["fleet", "--cameras", "300", "--nodes", "2"])
    assert {name: getattr(found, name) for name in bench_flags.OPTIONS} == {
        "rows": None,
        "seconds": None,
        "scenario": None,
        "cameras": 300,
        "nodes": 2,
        "duty_s": None,
        "pace": None,
    }


@pytest.mark.parametrize("words", ["--cameras 0", "--nodes 3", "--scenario rain", "--duty-s -1", "--pace 0"])
def test_what_no_fleet_can_be_is_refused(words: str) -> None:
    parser = Parser()
    bench_flags.add(parser)
    with pytest.raises(SystemExit):
        parser.parse_args(["fleet", *words.split()])
