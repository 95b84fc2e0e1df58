"""Under which URLs a channel is reached: GetSignalingChannelEndpoint's answer, and the way back from a host to a role.

Roles are told apart by the endpoint, since some masters send a client id. Some clients drop a path, and some a port, so
that each role can have a host name of its own: `m-`, `v-` and `r-` with a label of the channel under a wildcard name.
"""

import hashlib
import re
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
_ROLE_LABEL: Final = re.compile(rf"([mv])-[0-9a-f]{{{2 * _LABEL_BYTES}}}")
_PLACE: Final = re.compile(r"(\[[^\]]*\]|[^:]*)(:[0-9]+)?")


class Asked(msgspec.Struct, frozen=True):
    """How a caller found us: its Host header and the scheme."""

    scheme: str
    host: str


class EndpointSettings(msgspec.Struct, frozen=True):
    """Under which names clients reach this service.

    `public_host` is `host` or `host:port` (None: what the caller asked), `public_scheme` what a proxy in front speaks
    (None: there is none), `https_port` our own TLS port if there is one, `wildcard` the name of which every host leads
    here, without `*.` and with a port unless clients use the default one.
    """

    public_host: str | None = None
    public_scheme: Scheme | None = None
    https_port: int | None = None
    wildcard: str = ""

    def rest_url(self, arn: ChannelArn, asked: Asked) -> str:
        """The URL of the operations; asked without TLS it has none, so that clients without our CA go on."""
        scheme: Scheme = self.public_scheme or ("https" if asked.scheme == "https" else "http")
        return f"{scheme}://{self._place(scheme, None, arn, asked)}"

    def socket_url(self, role: Role, arn: ChannelArn, asked: Asked) -> str:
        """The URL of the websocket of `role`, `wss://` wherever there is TLS: common clients refuse all else."""
        has_tls = asked.scheme == "https" or self.https_port is not None
        scheme: Scheme = self.public_scheme or ("https" if has_tls else "http")
        path = "" if self._is_by_host(scheme) else _PATH[role]
        return f"{_SOCKET_SCHEME[scheme]}://{self._place(scheme, role, arn, asked)}{path}"

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

    def _place(self, scheme: Scheme, role: Role | None, arn: ChannelArn, asked: Asked) -> str:
        name, port = _split(asked.host)
        if self._is_beside_tls(scheme):
            return (name + port).removesuffix(_DEFAULT_PORT[scheme])
        if scheme != asked.scheme and self.public_scheme is None:  # asked without TLS, answered with it
            port = f":{self.https_port}"
        if self.wildcard:
            wildcard, wildcard_port = _split(self.wildcard)
            name = f"{_LABEL[role]}-{_label(arn)}.{wildcard}"
            port = wildcard_port or ("" if self.public_scheme else port)
        elif self.public_host:
            name, port = _split(self.public_host)
        return (name + port).removesuffix(_DEFAULT_PORT[scheme])


def _split(place: str) -> tuple[str, str]:
    """Host and port of `host:port`; the port has its colon and may be empty."""
    found = _PLACE.fullmatch(place)
    return (found[1], found[2] or "") if found else (place, "")


def _label(arn: ChannelArn) -> str:
    """What tells the hosts of channels apart; the same after every start, as clients keep endpoints for hours."""
    return hashlib.sha256(str(arn).encode()).hexdigest()[: 2 * _LABEL_BYTES]
