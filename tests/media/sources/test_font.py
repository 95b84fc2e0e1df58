"""The bitmap font."""

import pytest

from media.sources.font import ADVANCE, CHARACTERS, HEIGHT, Font


def drawn(text: str, scale: int = 1) -> list[str]:
    width = len(text) * ADVANCE * scale
    luma = bytearray(width * HEIGHT * scale)
    Font(scale, ink=200, paper=10).draw(luma, width, 0, 0, text)
    return [
        "".join("#" if value == 200 else "." for value in luma[at : at + width]) for at in range(0, len(luma), width)
    ]


def test_one_looks_like_a_one() -> None:
    assert drawn("1") == ["..#...", ".##...", "..#...", "..#...", "..#...", "..#...", ".###.."]


def test_characters_all_differ() -> None:
    assert len({tuple(drawn(character)) for character in CHARACTERS}) == len(CHARACTERS)


def test_scale_repeats_dots() -> None:
    small, big = drawn("47"), drawn("47", 3)
    assert big == ["".join(dot * 3 for dot in row) for row in small for _ in range(3)]


def test_text_stands_where_it_was_put_and_nowhere_else() -> None:
    luma = bytearray(40 * 20)
    Font(1, 200, 10).draw(luma, 40, 5, 6, "88")
    touched = [at for at, value in enumerate(luma) if value]
    assert min(touched) == 6 * 40 + 5
    assert max(touched) == 12 * 40 + 5 + 2 * ADVANCE - 1
    assert all(5 <= at % 40 < 5 + 2 * ADVANCE for at in touched)


def test_unknown_character_is_an_error() -> None:
    with pytest.raises(KeyError):
        drawn("?")
