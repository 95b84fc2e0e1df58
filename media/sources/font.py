"""A small bitmap font for numbers in pictures: glyphs as rows of luma. No I/O."""

HEIGHT = 7
ADVANCE = 6
_DOTS = {
    "0": (".###.", "#...#", "#..##", "#.#.#", "##..#", "#...#", ".###."),
    "1": ("..#..", ".##..", "..#..", "..#..", "..#..", "..#..", ".###."),
    "2": (".###.", "#...#", "....#", "..##.", ".#...", "#....", "#####"),
    "3": (".###.", "#...#", "....#", "..##.", "....#", "#...#", ".###."),
    "4": ("...#.", "..##.", ".#.#.", "#..#.", "#####", "...#.", "...#."),
    "5": ("#####", "#....", "####.", "....#", "....#", "#...#", ".###."),
    "6": (".###.", "#....", "#....", "####.", "#...#", "#...#", ".###."),
    "7": ("#####", "....#", "...#.", "..#..", "..#..", ".#...", ".#..."),
    "8": (".###.", "#...#", "#...#", ".###.", "#...#", "#...#", ".###."),
    "9": (".###.", "#...#", "#...#", ".####", "....#", "....#", ".###."),
    ":": (".....", "..#..", "..#..", ".....", "..#..", "..#..", "....."),
    ".": (".....", ".....", ".....", ".....", ".....", "..#..", "..#.."),
    "#": (".#.#.", ".#.#.", "#####", ".#.#.", "#####", ".#.#.", ".#.#."),
    " ": (".....",) * HEIGHT,
}
CHARACTERS = "".join(_DOTS)


class Font:
    """Glyphs at one scale: each dot is `scale` pixels wide and high, `ink` on `paper` (luma)."""

    def __init__(self, scale: int, ink: int, paper: int) -> None:
        self.scale = scale
        self.height = HEIGHT * scale
        self.advance = ADVANCE * scale
        dots = {"#": bytes([ink]) * scale, ".": bytes([paper]) * scale}
        self._rows = {
            character: tuple(b"".join([dots[dot] for dot in f"{row}."]) for row in rows)
            for character, rows in _DOTS.items()
        }

    def draw(self, luma: bytearray | memoryview, line_size: int, left: int, top: int, text: str) -> None:
        """Write `text` into a luma plane with its upper left corner at (left, top); it must lie inside.

        Raises: KeyError: a character that is not in `CHARACTERS`.
        """
        glyphs = [self._rows[character] for character in text]
        start = top * line_size + left
        for row in range(HEIGHT):
            pixels = b"".join([glyph[row] for glyph in glyphs])
            for _ in range(self.scale):
                luma[start : start + len(pixels)] = pixels
                start += line_size
