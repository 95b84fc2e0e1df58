"""Tags follow the service model: which characters, how long, how many."""

import pytest

from channels.errors import InvalidArgumentException, TagsPerResourceExceededLimitException
from channels.tags import merge, parse_tag_key, parse_tags


def test_tags_become_a_mapping() -> None:
    assert parse_tags([("room", "5"), ("Größe", "zwölf km/h"), ("名前", "カメラ"), ("empty", "")]) == {
        "room": "5",
        "Größe": "zwölf km/h",
        "名前": "カメラ",
        "empty": "",
    }


@pytest.mark.parametrize("key", ["", "k" * 129, "a\nb", "a;b", "a\u0000", "<b>", "🎥"])
def test_a_wrong_key_is_refused(key: str) -> None:
    with pytest.raises(InvalidArgumentException, match="Key of a tag"):
        parse_tags([(key, "value")])
    with pytest.raises(InvalidArgumentException, match="Key of a tag"):
        parse_tag_key(key)


@pytest.mark.parametrize("value", ["v" * 257, "a\tb", "a*b", "a,b"])
def test_a_wrong_value_is_refused(value: str) -> None:
    with pytest.raises(InvalidArgumentException, match="Value of a tag"):
        parse_tags([("key", value)])


def test_the_longest_key_and_value_pass() -> None:
    assert parse_tags([("k" * 128, "_.:/=+-@ " * 28)])
    assert parse_tag_key("k" * 128)


def test_a_key_given_twice_is_refused() -> None:
    with pytest.raises(InvalidArgumentException, match="twice"):
        parse_tags([("key", "1"), ("key", "2")])


def test_fifty_tags_pass_and_the_next_is_refused_with_the_limit() -> None:
    fifty = parse_tags([(f"k{n}", "") for n in range(50)])
    with pytest.raises(TagsPerResourceExceededLimitException) as caught:
        parse_tags([(f"k{n}", "") for n in range(51)])
    assert caught.value.limit is not None
    assert caught.value.limit.value == 50
    assert merge(fifty, {"k0": "other"})["k0"] == "other"
    with pytest.raises(TagsPerResourceExceededLimitException):
        merge(fifty, {"one": "more"})
