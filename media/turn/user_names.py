"""The user names that were given out, by their USERHASH (RFC 8489, 14.4): none can be read from a hash. No clock."""

from collections import OrderedDict

from media.turn import stun

MOST_NAMES = 65_536


class UserNames:
    """A bounded table of one realm that forgets by expiry. `forgotten` counts the names that had to go before it."""

    def __init__(self, realm: str, most: int = MOST_NAMES) -> None:
        self.forgotten = 0
        self._realm = realm
        self._most = most
        self._names: OrderedDict[bytes, tuple[str, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._names)

    def learn(self, username: str, expires_at: float, now: float) -> None:
        """Know this name until it expires; where there is no room the oldest goes."""
        userhash = stun.userhash(username, self._realm)
        self._names[userhash] = username, expires_at
        self._names.move_to_end(userhash)
        # all live for the same time, so those that expire first stand first; else one only stays longer than it had to
        while self._names and next(iter(self._names.values()))[1] <= now:
            self._names.popitem(last=False)
        if len(self._names) > self._most:
            self._names.popitem(last=False)
            self.forgotten += 1

    def username_for(self, userhash: bytes) -> str | None:
        """Return the name behind a USERHASH; maybe one that has expired, which its keys tell."""
        found = self._names.get(userhash)
        return None if found is None else found[0]
