"""Under which URLs a channel is reached: GetSignalingChannelEndpoint's answer, and the way back from a host to a role.

Roles are told apart by the endpoint, since some masters send a client id. Some clients drop a path, and some a port, so
that each role can have a host name of its own: `m-`, `v-` and `r-` with a label of the channel under a wildcard name.
Of several processes the one that the channel belongs to is told: by its slot in that name, by a name or by a port.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from channels.names import ChannelArn, Role

Scheme = Literal["http", "https"]
_DEFAULT_PORT: Final = {"http": ":80", "https": ":443"}
_SOCKET_SCHEME: Final = {"http": "ws", "https": "wss"}
_PATH: Final = {Role.MASTER: "/master", Role.VIEWER: "/viewer"}
_LABEL: Final = {Role.MASTER: "m", Role.VIEWER: "v", None: "r"}
_ROLES: Final = {"m": Role.MASTER, "v": Role.VIEWER}
_LABEL_BYTES: Final = 4
_ROLE_LABEL: Final = re.compile(rf"([mv])-(s[0-9]{{1,4}}-)?[0-9a-f]{{{2 * _LABEL_BYTES}}}")
SLOT: Final = "{slot}"
_PLACE: Final = re.compile(r"(\[[^\]]*\]|[^:]*)(:[0-9]+)?")


class Asked(msgspec.Struct, frozen=True):
    """How a caller found us: its Host header and the scheme."""

    scheme: str
    host: str


class Owner(msgspec.Struct, frozen=True):
    """The process that a channel belongs to: its slot, and the host that it was told to have, if it was.

    `ports` are its own by scheme where it differs from us in nothing else; empty for a process elsewhere.
    """

    slot: int
    host: str = ""
    ports: Mapping[str, int] = {}


class EndpointSettings(msgspec.Struct, frozen=True):
    """Under which names clients reach this service.

    `public_host` is `host` or `host:port` (None: what the caller asked), `public_scheme` what a proxy in front speaks
    (None: there is none), `https_port` our own TLS port if there is one, `wildcard` the name of which every host leads
    here, without `*.` and with a port unless clients use the default one. `slot_host` is the `public_host` of each
    process with `{slot}` in the place of its number.
    """

    public_host: str | None = None
    public_scheme: Scheme | None = None
    https_port: int | None = None
    wildcard: str = ""
    slot_host: str = ""
    http_port: int | None = None

    def rest_url(self, arn: ChannelArn, asked: Asked, owner: Owner | None = None) -> str:
        """The URL of the operations; asked without TLS it has none, so that clients without our CA go on."""
        scheme: Scheme = self.public_scheme or ("https" if asked.scheme == "https" else "http")
        return f"{scheme}://{self._place(scheme, None, arn, asked, owner)}"

    def socket_url(self, role: Role, arn: ChannelArn, asked: Asked, owner: Owner | None = None) -> str:
        """The URL of the websocket of `role`, `wss://` wherever there is TLS: common clients refuse all else."""
        has_tls = asked.scheme == "https" or self.https_port is not None
        scheme: Scheme = self.public_scheme or ("https" if has_tls else "http")
        path = "" if self._is_by_host(scheme) else _PATH[role]
        return f"{_SOCKET_SCHEME[scheme]}://{self._place(scheme, role, arn, asked, owner)}{path}"

    def role_of_host(self, host: str) -> Role | None:
        """The role whose endpoint has this Host header; None for every other host."""
        if not self.wildcard:
            return None
        label, _, rest = _split(host.lower())[0].partition(".")
        found = _ROLE_LABEL.fullmatch(label)
        return _ROLES[found[1]] if found and rest == _split(self.wildcard.lower())[0] else None

    def _is_by_host(self, scheme: Scheme) -> bool:
        return bool(self.wildcard) and not self._is_beside_tls(scheme)

    def _is_beside_tls(self, scheme: Scheme) -> bool:
        """Whether this is our plain port while the names are those of the TLS port."""
        return scheme == "http" and self.https_port is not None

    def _place(self, scheme: Scheme, role: Role | None, arn: ChannelArn, asked: Asked, owner: Owner | None) -> str:
        name, port = _split(asked.host)
        next_door = self._port_next_door(scheme, asked, owner)
        if self._is_beside_tls(scheme):
            return (name + (next_door or port)).removesuffix(_DEFAULT_PORT[scheme])
        if scheme != asked.scheme and self.public_scheme is None:  # asked without TLS, answered with it
            port = f":{self.https_port}"
        if self.wildcard:
            wildcard, wildcard_port = _split(self.wildcard)
            slot = f"s{owner.slot}-" if owner else ""
            name = f"{_LABEL[role]}-{slot}{_label(arn)}.{wildcard}"
            port = wildcard_port or ("" if self.public_scheme else port)
        elif own := self._named(owner):
            name, port = _split(own)
        else:
            port = next_door or port
        return (name + port).removesuffix(_DEFAULT_PORT[scheme])

    def _named(self, owner: Owner | None) -> str:
        """The host, with or without a port, that the owner was told to have; empty where nobody was told any."""
        if owner is not None and self.slot_host:
            return self.slot_host.replace(SLOT, str(owner.slot))
        return (owner.host if owner and self.public_host else "") or self.public_host or ""

    def _port_next_door(self, scheme: Scheme, asked: Asked, owner: Owner | None) -> str:
        """The owner's port, where the caller came straight to ours and so can go to that one; else nothing."""
        own = self.https_port if asked.scheme == "https" else self.http_port
        port = _split(asked.host)[1] or _DEFAULT_PORT.get(asked.scheme, "")
        is_straight = self.public_scheme is None and own is not None and port == f":{own}"
        found = owner.ports.get(scheme) if owner is not None and is_straight else None
        return f":{found}" if found else ""


def _split(place: str) -> tuple[str, str]:
    """Host and port of `host:port`; the port has its colon and may be empty."""
    found = _PLACE.fullmatch(place)
    return (found[1], found[2] or "") if found else (place, "")


def _label(arn: ChannelArn) -> str:
    """What tells the hosts of channels apart; the same after every start, as clients keep endpoints for hours."""
    return hashlib.sha256(str(arn).encode()).hexdigest()[: 2 * _LABEL_BYTES]
