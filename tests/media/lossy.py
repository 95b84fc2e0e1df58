"""A path that loses packets at random: RTP and repeated packets, after they were numbered and counted."""

from collections.abc import Callable, Sequence
from random import Random

from media.peer.path import DtlsPath

Send = Callable[[DtlsPath, Sequence[bytes], Sequence[bytes]], tuple[int, bool]]


def lossy(share: float, chance: Random, counts: list[int]) -> Send:
    """What may take the place of `DtlsPath.send`; `counts` are packets kept and packets lost."""
    send = DtlsPath.send

    def send_some(path: DtlsPath, heads: Sequence[bytes], payloads: Sequence[bytes]) -> tuple[int, bool]:
        kept = [index for index in range(len(heads)) if chance.random() >= share]
        counts[0] += len(kept)
        counts[1] += len(heads) - len(kept)
        if not kept:
            return 0, False
        return send(path, [heads[index] for index in kept], [payloads[index] for index in kept])

    return send_some
