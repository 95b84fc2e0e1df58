"""`heliograph master` whose packets to viewers get lost at random: `python -m tests.app.lossy_master PART WORDS...`."""

import random
import sys
from collections.abc import Sequence

from app import cli
from media.peer.path import DtlsPath
from tests.media.lossy import lossy


def main(part: float, words: Sequence[str]) -> int:
    DtlsPath.seal = lossy(part, random.Random(1), [0, 0])  # type: ignore[method-assign]
    return cli.main(["master", *words])


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2:]))
