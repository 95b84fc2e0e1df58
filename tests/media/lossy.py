"""A path that loses packets at random: RTP and repeated packets, after they were numbered and counted."""

from collections.abc import Callable, Sequence
from random import Random

from media.peer.path import DtlsPath
from media.rtp.send import Sealed

Seal = Callable[[DtlsPath, Sequence[bytes], Sequence[bytes], int], Sealed]


def lossy(share: float, chance: Random, counts: list[int]) -> Seal:
    """What may take the place of `DtlsPath.seal`; `counts` are packets kept and packets lost."""
    seal = DtlsPath.seal

    def seal_some(path: DtlsPath, heads: Sequence[bytes], payloads: Sequence[bytes], at: int) -> Sealed:
        kept = [index for index in range(len(heads)) if chance.random() >= share]
        counts[0] += len(kept)
        counts[1] += len(heads) - len(kept)
        if not kept:
            return memoryview(b""), 1
        return seal(path, [heads[index] for index in kept], [payloads[index] for index in kept], at)

    return seal_some
