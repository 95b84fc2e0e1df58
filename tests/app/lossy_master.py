"""`heliograph master` whose datagrams to viewers get lost at random: `python -m tests.app.lossy_master PART WORDS...`.

Lost are RTP, repeated packets and RTCP alike, after they were encrypted and counted.
"""

import random
import sys
from collections.abc import Sequence

from app import cli
from media.peer.path import DtlsPath


def main(part: float, words: Sequence[str]) -> int:
    write, chance = DtlsPath.write, random.Random(1)

    def lossy(path: DtlsPath, datagrams: Sequence[bytes]) -> bool:
        kept = [datagram for datagram in datagrams if chance.random() >= part]
        return write(path, kept) if kept else True

    DtlsPath.write = lossy  # type: ignore[method-assign]
    return cli.main(["master", *words])


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2:]))
