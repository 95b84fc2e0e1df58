"""Candidates that came before their offer: kept per client id, bounded in number and time. No I/O, no clock.

The service keeps the order of one sender, but a viewer may send candidates first (KVS delivers them as they come).
"""

from media.peer.description import Candidate

KEPT_S = 20.0
PER_CLIENT = 64
CLIENTS = 256


class EarlyCandidates:
    """A waiting room; `now` is monotonic seconds."""

    def __init__(self) -> None:
        self._rooms: dict[str, tuple[float, list[Candidate]]] = {}

    def keep(self, client_id: str, candidate: Candidate, now: float) -> bool:
        """Keep a candidate for 20 s from the first one of its client; False when there is no room."""
        self._expire(now)
        if client_id not in self._rooms:
            if len(self._rooms) >= CLIENTS:
                return False
            self._rooms[client_id] = (now + KEPT_S, [])
        _, waiting = self._rooms[client_id]
        if len(waiting) >= PER_CLIENT:
            return False
        waiting.append(candidate)
        return True

    def take(self, client_id: str, now: float) -> list[Candidate]:
        """What came for this client, in order; the room is empty afterwards."""
        self._expire(now)
        return self._rooms.pop(client_id, (0.0, []))[1]

    def _expire(self, now: float) -> None:
        for client_id in [client_id for client_id, (until, _) in self._rooms.items() if until <= now]:
            del self._rooms[client_id]
