"""Which packets of a stream are missing and when to ask for them again; bounded in number, tries and time. No clock."""

NACK_LIMIT = 512
"""Most packets that are asked for; more missing at once than this is a matter for a key frame."""
MESSAGE_LIMIT = 128
"""Most packets in one message, which then has at most 528 bytes."""
TRIES = 10

_FIRST_PAUSE_S = 0.04
_LONGEST_PAUSE_S = 0.2


class Repair:
    """The missing packets of one stream, by unwrapped sequence number; `now` is monotonic seconds."""

    def __init__(self) -> None:
        self._missing: dict[int, tuple[float, int]] = {}

    def __len__(self) -> int:
        return len(self._missing)

    def miss(self, first: int, end: int, now: float) -> bool:
        """The packets from `first` to before `end` did not come; False when they are too many to ask for."""
        if len(self._missing) + end - first > NACK_LIMIT:
            self._missing.clear()
            return False
        for index in range(first, end):
            self._missing[index] = (now, 0)
        return True

    def found(self, index: int) -> bool:
        """The packet came; whether it had been asked for."""
        known = self._missing.pop(index, None)
        return known is not None and known[1] > 0

    def forget(self, first_needed: int) -> None:
        """Nothing before this number is needed any more."""
        while self._missing and (oldest := next(iter(self._missing))) < first_needed:
            del self._missing[oldest]

    def due(self, now: float) -> list[int]:
        """What to ask for now, in order; each again after a pause that doubles, up to `TRIES` times."""
        asked: list[int] = []
        for index, (due_at, tries) in list(self._missing.items()):
            if due_at > now:
                continue
            if tries == TRIES:
                del self._missing[index]
            elif len(asked) < MESSAGE_LIMIT:
                pause_s = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2**tries)
                self._missing[index] = (now + pause_s, tries + 1)
                asked.append(index)
        return asked

    @property
    def next_deadline(self) -> float | None:
        """When `due` has something to say."""
        return min((due_at for due_at, _ in self._missing.values()), default=None)
