"""How Redis is reached and how long it may take: the URL in all its forms. No connection."""

import enum
from typing import Any, Final, Self
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

Address = tuple[str, int]
_FORMS: Final = "redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://"
_FILES: Final = ("ca_file", "certificate_file", "key_file")
_FAILOVER_BACKOFF_S: Final = 0.5  # where somebody else brings Redis back within seconds, it is looked for often


class Kind(enum.Enum):
    """Who knows where Redis is."""

    SERVER = "redis"
    SENTINEL = "redis+sentinel"
    CLUSTER = "redis+cluster"


_PORTS: Final = {Kind.SERVER: 6379, Kind.SENTINEL: 26379, Kind.CLUSTER: 6379}


class RedisUrlError(ValueError):
    """The URL is none that leads to Redis; the text says what to write, and holds no password."""


class RedisSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where Redis is and how patient we are; durations are seconds. `parse` makes one of a URL."""

    kind: Kind = Kind.SERVER
    addresses: tuple[Address, ...] = ()
    socket_path: str = ""  # of a Unix socket, in the place of an address
    service: str = ""  # the name of the primary, with Sentinel
    db: int = 0
    username: str = ""
    password: str = ""
    sentinel_password: str = ""
    is_tls: bool = False
    ca_file: str = ""
    certificate_file: str = ""
    key_file: str = ""

    prefix: str = "heliograph"  # of every key and topic: two installations can share a server
    client_name: str = "heliograph"  # in CLIENT LIST
    limit_s: float = 2.0  # for each command and each attempt to connect
    heartbeat_s: float = 1.0
    watchdog_s: float = 2.9  # without a heartbeat of our own the connections are dropped: a freeze shows within 3 s
    backoff_s: float = 0.1  # doubled with each failure
    backoff_limit_s: float = 5.0
    waiting_limit: int = 16_384  # messages that Redis has not answered yet
    waiting_bytes_limit: int = 32 * 2**20  # of them, those that the network has not taken yet

    @classmethod
    def parse(cls, url: str) -> Self:
        """Read a URL; user, password and file names may be percent-encoded.

        `redis://[[user]:password@]host[:port][/db]`, the same with `rediss` for TLS, `unix://[[user]:password@]/path`,
        `redis+sentinel://host[:port],.../service[/db]`, `redis+cluster://host[:port],...`; TLS there with `rediss+`.
        Options after `?`: db, ca_file, certificate_file, key_file, sentinel_password. Raises: RedisUrlError.
        """
        scheme, separator, rest = url.partition("://")
        if not separator or scheme not in _SCHEMES:
            raise RedisUrlError(f"a Redis URL begins with {_FORMS}")
        parts = urlsplit("//" + rest)
        if "@" in parts.path or parts.fragment:
            raise RedisUrlError("in the password of a Redis URL write / as %2F, ? as %3F and # as %23")
        options = _options(parts.query)
        userinfo, _, hosts = parts.netloc.rpartition("@")
        username, _, password = userinfo.partition(":")
        options |= {"username": unquote(username), "password": unquote(password)}
        if scheme == "unix":
            return cls(socket_path=_socket_path(hosts + unquote(parts.path)), **options)
        is_tls, kind = scheme.startswith("rediss"), Kind(scheme.replace("rediss", "redis"))
        service, db = _place(kind, parts.path, options.pop("db", 0))
        if not is_tls and (unused := next((name for name in _FILES if name in options), None)):
            raise RedisUrlError(f"{unused} is for TLS: write {scheme.replace('redis', 'rediss', 1)}://")
        if kind is not Kind.SERVER:
            options["backoff_limit_s"] = _FAILOVER_BACKOFF_S
        return cls(kind=kind, addresses=_addresses(hosts, kind), service=service, db=db, is_tls=is_tls, **options)

    @property
    def place(self) -> str:
        """The URL without user, password and options, for logs and messages."""
        if self.socket_path:
            return f"unix://{self.socket_path}"
        scheme = self.kind.value.replace("redis", "rediss", 1) if self.is_tls else self.kind.value
        hosts = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.addresses)
        service = f"/{self.service}" if self.service else ""
        return f"{scheme}://{hosts}{service}{f'/{self.db}' if self.db else ''}"

    @property
    def topic_prefix(self) -> str:
        """What topics begin with: unlike keys they are not apart by database. On a cluster all are in one slot."""
        if self.kind is Kind.CLUSTER:
            return f"{{{self.prefix}}}:"
        return f"{self.prefix}:{self.db}:" if self.db else f"{self.prefix}:"

    def __repr__(self) -> str:
        return f"RedisSettings({self.place})"

    __str__ = __repr__


_SCHEMES: Final = frozenset({"unix", *(kind.value for kind in Kind), *(f"rediss{k.value[5:]}" for k in Kind)})


def _addresses(hosts: str, kind: Kind) -> tuple[Address, ...]:
    found = []
    for text in hosts.split(","):
        try:
            parts = urlsplit("//" + text)
            host, port = parts.hostname, parts.port
        except ValueError:
            host = port = None
        if host is None or "@" in text:
            raise RedisUrlError(
                f"a Redis URL names a host, and perhaps a port, after ://, as in {kind.value}://127.0.0.1:{_PORTS[kind]}"
            )
        found.append((host, _PORTS[kind] if port is None else port))
    if kind is Kind.SERVER and len(found) > 1:
        raise RedisUrlError("redis:// takes one host; several belong to redis+sentinel:// or redis+cluster://")
    return tuple(found)


def _place(kind: Kind, path: str, db: int) -> tuple[str, int]:
    words = [unquote(word) for word in path.split("/") if word]
    service = ""
    if kind is Kind.SENTINEL:
        if not words:
            raise RedisUrlError("redis+sentinel:// names the primary after the hosts, as in .../main")
        service = words.pop(0)
    if words:
        db = _database(words.pop(0))
    if words:
        raise RedisUrlError("a Redis URL ends with the number of the database, as in .../0")
    if kind is Kind.CLUSTER and db:
        raise RedisUrlError("Redis Cluster has database 0 only: leave the number out")
    return service, db


def _socket_path(path: str) -> str:
    if not path.startswith("/"):
        raise RedisUrlError("unix:// goes with the whole path of the socket, as in unix:///run/redis/redis.sock")
    return path


def _database(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise RedisUrlError("the database of a Redis URL is a number, as in .../0")
    return int(text)


def _options(query: str) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name == "db":
            options[name] = _database(value)
        elif name in (*_FILES, "sentinel_password"):
            options[name] = value
        else:
            known = ", ".join(("db", *_FILES, "sentinel_password"))
            raise RedisUrlError(f"a Redis URL has no option of that name; known are {known}")
    return options
