"""What a parent tells its children: one JSON line each, with settings and secrets, and news. Light to import."""

import msgspec

from app.settings import Settings


class TurnOrder(msgspec.Struct, frozen=True):
    """Work for the TURN process; with `may_move` a taken port gives way to any free one."""

    settings: Settings
    secrets: tuple[str, ...]
    may_move: bool = False

    def __repr__(self) -> str:
        return f"TurnOrder({self.settings!r}, {len(self.secrets)} secrets, may_move={self.may_move})"


class Revoked(msgspec.Struct, frozen=True, omit_defaults=True):
    """News for the TURN process: what is no longer good, in hexadecimal. `channels` are digests of deleted channels,
    `holders` tags of revoked credentials.
    """

    channels: tuple[str, ...] = ()
    holders: tuple[str, ...] = ()


class MasterOrder(msgspec.Struct, frozen=True):
    """Work for a master; `settings` hold endpoint and token."""

    settings: Settings
    channel: str
    source: str
    persist: bool = False
