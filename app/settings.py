"""Settings of every command: flag, else HELIOGRAPH_* variable, else TOML file, else default; the only reader of
the environment and of settings files.

Each field of Settings is one setting: its name, type, bounds and help stand in the annotation, its default beside it.
"""

import enum
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, get_args

import msgspec
from msgspec import Meta

from app import conflicts
from app import setting_patterns as patterns
from app.setting import PREFIX, Field, hint, misspelled, whole_path
from app.setting import SettingsError as SettingsError
from channels.presence import CONNECTION_LEASE_S, NODE_LEASE_S

CONFIG_VARIABLE = PREFIX + "CONFIG"

Port = Annotated[int, Meta(ge=0, le=65535)]
RelayPort = Annotated[int, Meta(ge=1024, le=65535)]


class Origin(enum.Enum):
    """Where the value of a setting came from."""

    DEFAULT = "default"
    FILE = "file"
    ENVIRONMENT = "environment"
    FLAG = "flag"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Every setting with its default; ports are 0 for any free one, durations are seconds."""

    host: Annotated[str, Meta(description="address to bind; 0.0.0.0 opens it to the network")] = "127.0.0.1"
    http_port: Annotated[Port, Meta(description="HTTP and websocket port; 0 takes any free one")] = 8080
    tls: Annotated[bool, Meta(description="HTTPS and secure websockets beside plain HTTP")] = False
    https_port: Annotated[Port, Meta(description="HTTPS port, with `tls`; 0 takes any free one")] = 8443
    tls_certificate: Annotated[
        str, Meta(description="PEM file of the certificate and its chain; empty: one of a CA made in `data_dir`")
    ] = ""
    tls_key: Annotated[str, Meta(description="PEM file of its key; both are read again when they change")] = ""
    tls_names: Annotated[
        tuple[str, ...], Meta(description="more names and addresses for the made certificate, separated by commas")
    ] = ()
    turn_engine: Annotated[
        Literal["builtin", "coturn"],
        Meta(description="what relays: our own server, or a coturn that we start and watch"),
    ] = "builtin"
    turn_coturn_program: Annotated[str, Meta(min_length=1, description="program of coturn, a name or a path")] = (
        "turnserver"
    )
    turn_coturn_accept_old: Annotated[
        bool, Meta(description="take a coturn before 4.10, whose list of denied peers can be got round")
    ] = False
    turn_coturn_redis: Annotated[
        str,
        Meta(
            pattern=patterns.COTURN_REDIS,
            description="redis://[:PASSWORD@]IP[:PORT][/DB] of its own for coturn: secrets, denied peers, statistics",
            extra={"is_url": True},
        ),
    ] = ""
    turn_host: Annotated[str, Meta(description="address to bind for STUN/TURN; empty: that of `host`")] = ""
    turn_port: Annotated[Port, Meta(description="STUN/TURN port, UDP and TCP; 0 takes any free one")] = 3478
    turn_more_ports: Annotated[
        tuple[str, ...], Meta(description="more ports for STUN/TURN, such as 443/udp, 5349/tcp or 5349 for both")
    ] = ()
    turn_udp_443: Annotated[
        bool, Meta(description="STUN/TURN on UDP 443 too, where it can be bound and is not on loopback")
    ] = True
    turn_tcp: Annotated[bool, Meta(description="STUN/TURN over TCP, and over TLS where there is a certificate")] = True
    turn_tls_certificate: Annotated[
        str, Meta(description="PEM file of TURN's own certificate and its chain; empty: that of HTTPS, with `tls`")
    ] = ""
    turn_tls_key: Annotated[str, Meta(description="PEM file of its key; both are read again when they change")] = ""
    turn_host_name: Annotated[
        str,
        Meta(
            pattern=patterns.NAME,
            description="name in `turns:` URIs, one of the certificate; empty: the IP address",
        ),
    ] = ""
    ops_host: Annotated[str, Meta(description="address of the operations port; do not publish it")] = "127.0.0.1"
    ops_port: Annotated[Port, Meta(description="port of /livez, /readyz and /metrics; 0 takes any free one")] = 9090
    turn_min_port: Annotated[RelayPort, Meta(description="lowest relay port")] = 49160
    turn_max_port: Annotated[RelayPort, Meta(description="highest relay port")] = 49559
    turn_advertised_address: Annotated[
        tuple[str, ...],
        Meta(description="IP address that clients reach TURN at, or one IPv4 and one IPv6; empty: the bound one"),
    ] = ()
    turn_self_check: Annotated[
        bool, Meta(description="at the start, try whether the advertised address leads here; never on loopback")
    ] = True
    turn_realm: Annotated[
        str, Meta(pattern=patterns.REALM, description="realm of TURN credentials, 1 to 36 characters of ASCII")
    ] = "heliograph"
    turn_workers: Annotated[
        str,
        Meta(
            pattern=patterns.WORKERS,
            description="processes that share the TURN ports, 1 to 99; auto: one for each core",
        ),
    ] = "1"
    turn_allocations_per_channel: Annotated[
        int, Meta(ge=0, le=100_000, description="allocations of one channel at a time; 0: no limit but the ports")
    ] = 50
    turn_allocations_per_source: Annotated[
        int, Meta(ge=0, le=100_000, description="allocations of one client address at a time; 0: no limit")
    ] = 100
    turn_bitrate_bps: Annotated[
        int, Meta(ge=0, le=10**12, description="bit/s of one allocation in each direction; 0: no limit")
    ] = 5_000_000
    turn_total_bitrate_bps: Annotated[
        int, Meta(ge=0, le=10**12, description="bit/s of all that is relayed; 0: no limit")
    ] = 0
    turn_drain_s: Annotated[
        float, Meta(ge=0, le=86_400, description="seconds that open TURN allocations may go on after a stop")
    ] = 0.0
    turn_alternate_server: Annotated[
        str, Meta(description="ADDRESS:PORT of another TURN server, to which a stop sends new clients")
    ] = ""
    turn_mobility: Annotated[
        bool, Meta(description="let TURN clients keep their allocations when their own address changes (RFC 8016)")
    ] = False
    turn_tcp_relays: Annotated[
        bool, Meta(description="let TURN clients on TCP and TLS reach their peers by TCP (RFC 6062)")
    ] = False
    turn_legacy_channel_numbers: Annotated[
        bool, Meta(description="take channel numbers of RFC 5766 over 0x4FFF, for old TURN clients")
    ] = False
    allow_peer_cidrs: Annotated[
        tuple[str, ...], Meta(description="private networks that relays may reach, separated by commas")
    ] = ()
    public_host: Annotated[
        str,
        Meta(
            pattern=patterns.HOST,
            description="host name written into endpoint answers; empty: what the client asked",
        ),
    ] = ""
    public_scheme: Annotated[
        Literal["auto", "http", "https"],
        Meta(description="scheme of endpoint answers; https: a proxy in front of us has TLS; auto: what we serve"),
    ] = "auto"
    endpoint_wildcard: Annotated[
        str,
        Meta(
            pattern=patterns.WILDCARD,
            description="*.NAME under which every host leads here: endpoint answers have a host for each role",
        ),
    ] = ""
    allowed_origins: Annotated[
        tuple[str, ...],
        Meta(description="origins whose pages may open a websocket with a ticket, separated by commas; * for any"),
    ] = ()
    trusted_proxies: Annotated[
        tuple[str, ...],
        Meta(description="addresses and networks of proxies in front, whose X-Forwarded-For and -Proto are believed"),
    ] = ()
    region: Annotated[str, Meta(pattern=r"^[a-z0-9-]+\Z", description="AWS region in ARNs")] = "us-west-2"
    signing_regions: Annotated[
        tuple[str, ...],
        Meta(description="further regions that AWS signatures may name, separated by commas; * for any"),
    ] = ()
    account: Annotated[str, Meta(pattern=r"^[0-9]{12}\Z", description="account in ARNs, 12 digits")] = "000000000000"
    partition: Annotated[str, Meta(pattern=r"^[a-z0-9-]+\Z", description="AWS partition in ARNs")] = "aws"
    account_channel_limit: Annotated[int, Meta(ge=1, le=1_000_000, description="channels an account may hold")] = 10_000
    data_dir: Annotated[
        str, Meta(min_length=1, description="folder of catalog, keys and TURN secret, made with mode 0700")
    ] = "~/.local/state/heliograph"
    redis_url: Annotated[
        str,
        Meta(
            pattern=patterns.REDIS,
            description="Redis that all nodes of a service share, such as redis://HOST:6379; empty: this node is alone",
            extra={"is_url": True, "alias": "--redis"},
        ),
    ] = ""
    catalog_url: Annotated[
        str,
        Meta(
            pattern=patterns.REDIS,
            description="Redis of channels, keys and secrets, when it is another one; empty: `redis_url`",
            extra={"is_url": True},
        ),
    ] = ""
    presence_url: Annotated[
        str,
        Meta(
            pattern=patterns.REDIS,
            description="Redis of connections and messages between nodes, when it is another one; empty: `redis_url`",
            extra={"is_url": True},
        ),
    ] = ""
    redis_prefix: Annotated[
        str,
        Meta(
            pattern=patterns.REDIS_PREFIX,
            description="what all names in Redis begin with, so that two services can share it",
        ),
    ] = "heliograph"
    redis_secret: Annotated[
        str,
        Meta(
            pattern=patterns.LONG,
            description="32 characters or more, the same on all nodes, that seal the keys in Redis; empty: in clear",
            extra={"is_secret": True},
        ),
    ] = ""
    redis_allow_unsafe: Annotated[
        bool,
        Meta(description="keep the catalog in a Redis that may lose it: without append-only file, or evicting keys"),
    ] = False
    degraded_local: Annotated[
        bool, Meta(description="while Redis is away, new connections meet those on the same node; else they get 503")
    ] = False
    node_lease_s: Annotated[
        float, Meta(ge=1, le=60, description="seconds of silence after which a node is dead, the same on all nodes")
    ] = NODE_LEASE_S
    connection_lease_s: Annotated[
        float, Meta(ge=3, le=600, description="seconds until the slot of a connection that nobody renews is free")
    ] = CONNECTION_LEASE_S
    workers: Annotated[
        str,
        Meta(pattern=patterns.WORKERS, description="how many processes serve, each at own ports: 4; auto: one a core"),
    ] = "1"
    slot: Annotated[
        str,
        Meta(pattern=patterns.SLOT, description="number of this process, or the first of several: 4; empty: its last"),
    ] = ""
    slot_host: Annotated[
        str, Meta(pattern=patterns.SLOT_HOST, description="`public_host` of each process, {slot} being its number")
    ] = ""
    recordings: Annotated[
        str, Meta(description="folder that masters of this machine record into, served to who may; empty: none")
    ] = ""
    limits_profile: Annotated[
        Literal["aws", "relaxed"], Meta(description="limits of signaling and TURN: like AWS, or relaxed")
    ] = "aws"
    control_messages: Annotated[
        bool, Meta(description="tell clients GO_AWAY before they are closed; a stock C SDK 1.14 freezes on it")
    ] = False
    websocket: Annotated[
        Literal["auto", "own", "stock"],
        Meta(description="whose code serves websockets; auto: our own wherever the installed uvicorn takes it"),
    ] = "auto"
    drain_s: Annotated[float, Meta(ge=0, le=600, description="seconds a stop spreads closes over; 20 with Redis")] = 1.0
    endpoint: Annotated[
        str, Meta(pattern="^https?://[^/]", description="service that channel, master, viewer and turn check call")
    ] = "http://127.0.0.1:8080"
    token: Annotated[
        str, Meta(description="JWT that channel, master and viewer present", extra={"is_secret": True})
    ] = ""
    access_key_id: Annotated[
        str, Meta(description="access key that channel, master and viewer sign with, in place of a token")
    ] = ""
    secret_access_key: Annotated[str, Meta(description="secret of the access key", extra={"is_secret": True})] = ""
    session_token: Annotated[
        str, Meta(description="session token of the access key, when it is of a session", extra={"is_secret": True})
    ] = ""
    ca_file: Annotated[
        str, Meta(description="PEM certificates that channel, master, viewer and turn check trust beside the system's")
    ] = ""
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Meta(description="least severe event that is logged; demo and viewer: warning by default"),
    ] = "info"
    log_format: Annotated[
        Literal["auto", "json", "text"],
        Meta(description="form of the log lines on stderr; auto: json for serve and turn, else text"),
    ] = "auto"
    audit_log: Annotated[
        str, Meta(description="file that calls and connects are noted in, beside the log; empty: none")
    ] = ""

    def __repr__(self) -> str:
        return f"Settings({', '.join(f'{f.name}={f.shown(getattr(self, f.name))!r}' for f in FIELDS)})"

    @property
    def turn_place(self) -> str:
        """The address that STUN/TURN binds."""
        return self.turn_host or self.host

    @property
    def data_path(self) -> Path:
        """The data folder, absolute, with `~` replaced. Raises: SettingsError (this user has no home)."""
        return whole_path("DATA_DIR", self.data_dir)


def cache_folder() -> Path | None:
    """Where files lie that can be made again at any time; None for a user without a home."""
    try:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:
        return None
    return home / "heliograph"


def _fields() -> tuple[Field, ...]:
    rows = []
    for field in msgspec.structs.fields(Settings):
        base, *constraints = get_args(field.type)
        rows.append(Field(field.name, base, field.default, tuple(constraints)))
    return tuple(rows)


FIELDS = _fields()
BY_NAME = {field.name: field for field in FIELDS}
SHORT_KEYS = {flag[2:].replace("-", "_").upper(): field.key for field in FIELDS for flag in field.flags[1:]}


class Loaded(msgspec.Struct, frozen=True):
    """Settings, the origin of each by name, what looked like a setting but is none, and the settings file."""

    settings: Settings
    origins: dict[str, Origin]
    warnings: tuple[str, ...] = ()
    file: str = ""

    def preferring(self, **own: object) -> Settings:
        """Return the settings with a command's own values in the place of general defaults and of `auto`."""
        return msgspec.structs.replace(
            self.settings,
            **{
                name: value
                for name, value in own.items()
                if self.origins[name] is Origin.DEFAULT or getattr(self.settings, name) == "auto"
            },
        )


def load(flags: Mapping[str, object], environment: Mapping[str, str], config: str | None = None) -> Loaded:
    """Read every setting once; `flags` holds only what the command line gave, by setting name.

    A variable that is empty counts as not set, as compose files leave them.

    Raises: SettingsError, which names the first wrong key.
    """
    path = config or environment.get(CONFIG_VARIABLE) or ""
    file = _read_file(path)
    values: dict[str, object] = {}
    origins: dict[str, Origin] = {}
    for field in FIELDS:
        given, origin = _pick(field, flags, environment, file)
        origins[field.name] = origin
        if origin is not Origin.DEFAULT:
            values[field.name] = _parse(field, given, _source(field, origin, path))
    if origins["data_dir"] is Origin.DEFAULT and environment.get("XDG_STATE_HOME"):
        values["data_dir"] = str(Path(environment["XDG_STATE_HOME"]) / "heliograph")
    settings = msgspec.convert(values, Settings)
    conflicts.check(settings, lambda name: _source(BY_NAME[name], origins[name], path))
    known = [*(field.key for field in FIELDS), CONFIG_VARIABLE.removeprefix(PREFIX)]
    return Loaded(settings, origins, tuple(misspelled(environment, known, SHORT_KEYS)), path)


def _pick(
    field: Field, flags: Mapping[str, object], environment: Mapping[str, str], file: Mapping[str, object]
) -> tuple[object, Origin]:
    if field.name in flags:
        return flags[field.name], Origin.FLAG
    if environment.get(field.variable):
        return environment[field.variable], Origin.ENVIRONMENT
    if field.name in file:
        return file[field.name], Origin.FILE
    return field.default, Origin.DEFAULT


def _source(field: Field, origin: Origin, path: str) -> str:
    return {Origin.FLAG: field.flags[-1], Origin.ENVIRONMENT: field.variable, Origin.FILE: path}.get(
        origin, "its default"
    )


def _parse(field: Field, given: object, source: str) -> object:
    try:
        return field.parse(given)
    except SettingsError as error:
        raise SettingsError(f"{error} (from {source})") from None


def _read_file(path: str) -> dict[str, object]:
    if not path:
        return {}
    try:
        values = tomllib.loads(Path(path).expanduser().read_text())
    except OSError as error:
        raise SettingsError(f"CONFIG: {path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"CONFIG: {path} is not TOML: {error}") from None
    for name in values:
        if name not in BY_NAME:
            raise SettingsError(f"{name}: no such setting in {path}{hint(name, BY_NAME)}")
    return values
