"""What a parent tells its children: one JSON line each, with settings and secrets, and news. Light to import."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from app.settings import Settings


class TurnOrder(msgspec.Struct, frozen=True):
    """Work for the TURN process; with `may_move` a taken port gives way to any free one.

    Of `secrets` the newest comes first. `certificate` are the paths of the certificate and its key for TLS and DTLS.
    `worker` of `workers` processes shares the ports with the others. With `hears_names` it is told every user name.
    At `board` they tell each other their relay ports.
    """

    settings: Settings
    secrets: tuple[str, ...]
    may_move: bool = False
    certificate: tuple[str, str] | None = None
    worker: int = 0
    workers: int = 1
    hears_names: bool = False
    board: str = ""

    @classmethod
    def of(
        cls,
        settings: Settings,
        secrets: Sequence[bytes],
        certificate: tuple[str, str] | None = None,
        *,
        may_move: bool = False,
    ) -> "TurnOrder":
        """The order for the relay of a service that tells it user names; of `secrets` the newest comes last."""
        newest_first = tuple(secret.decode() for secret in reversed(secrets))
        return cls(settings, newest_first, may_move, certificate, hears_names=True)

    def __repr__(self) -> str:
        return f"TurnOrder({self.settings!r}, {len(self.secrets)} secrets, may_move={self.may_move})"


def own_certificate(settings: Settings) -> tuple[str, str] | None:
    """Return certificate and key that TURN has of its own, if it has."""
    if not settings.turn_tls_certificate:
        return None
    certificate, key = (Path(text).expanduser() for text in (settings.turn_tls_certificate, settings.turn_tls_key))
    return str(certificate), str(key)


class Revoked(msgspec.Struct, frozen=True, omit_defaults=True, tag="revoked"):
    """News for the TURN process: what is no longer good, in hexadecimal. `channels` are digests of deleted channels,
    `holders` tags of revoked credentials.
    """

    channels: tuple[str, ...] = ()
    holders: tuple[str, ...] = ()


class Minted(msgspec.Struct, frozen=True, tag="minted"):
    """News for the TURN process: a user name that a client was given, and its expiry (epoch s)."""

    username: str
    expires_at: float

    def __repr__(self) -> str:
        return f"Minted(expires_at={self.expires_at})"


News = Revoked | Minted


class WorkerOrder(msgspec.Struct, frozen=True):
    """Work for one of several processes that serve; `settings` are its own, with the ports that are bound.

    `keys_folder` has what nodes share; `http`, `ops` and `https` are descriptors of its sockets, `certificate` and `ca`
    files. `index` counts the workers, `given_port` is the HTTP port that it was told to have, 0 for any.
    """

    settings: Settings
    keys_folder: str
    index: int
    given_port: int
    http: int
    ops: int
    https: int | None = None
    certificate: tuple[str, str] = ("", "")
    ca: str = ""
    turn_uris: tuple[str, ...] = ()

    @property
    def descriptors(self) -> tuple[int, ...]:
        """All sockets that it inherits."""
        return (self.http, self.ops) if self.https is None else (self.http, self.ops, self.https)


class RecordOrder(msgspec.Struct, frozen=True):
    """Where a master records, and how much of it is kept; None keeps without end."""

    folder: str
    max_age_s: float | None = None
    max_bytes: int | None = None

    @classmethod
    def of(cls, folder: str, max_age_s: float | None, max_bytes: int) -> "RecordOrder | None":
        """The order that flags give: none without a folder, no bound of size for 0 bytes.

        The folder is made absolute: a child may be started elsewhere.
        """
        return cls(str(Path(folder).expanduser().resolve()), max_age_s, max_bytes or None) if folder else None


class MasterOrder(msgspec.Struct, frozen=True):
    """Work for a master; `settings` hold endpoint and token, `talkback` names a speaker and `ptz_command` a program.

    `encoder` is `auto` or the name of one that is never replaced; `max_layers` counts the full size, too.
    """

    settings: Settings
    channel: str
    source: str
    persist: bool = False
    encoder: str = "auto"
    bitrate_bps: int = 2_000_000
    max_layers: int = 3
    talkback: str | None = None
    talkback_mode: Literal["mix", "floor"] = "mix"
    ptz_command: tuple[str, ...] = ()
    record: RecordOrder | None = None
