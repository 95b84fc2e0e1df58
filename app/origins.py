"""Which pages may open a websocket with a ticket, or with what a browser sends along.

A browser lets any page open a websocket anywhere, sends its cookies with it and says from which origin it does. A token
or a signature in the URL or the subprotocol must be known to the page, so these are not bound to an origin; what stands
in a header beside a cookie may come from a proxy that took the cookie for it. Source: RFC 6454; RFC 6455, 10.2.
"""

from collections.abc import Callable, Collection
from urllib.parse import SplitResult, urlsplit

import msgspec
from starlette.requests import HTTPConnection

from app import query
from app.authenticate import BEARER_SUBPROTOCOL, TICKET_PARAMETER, TOKEN_PARAMETERS
from channels.auth.sigv4 import SIGNATURE_MARKS
from channels.errors import AccessDeniedException

ANY = "*"
_OF_THE_PAGE = frozenset((*TOKEN_PARAMETERS, *SIGNATURE_MARKS))
_DEFAULT_PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443}
_SHOWN = 256  # characters


class Origins(msgspec.Struct, frozen=True):
    """Pages of these origins (`https://app.example.org`, `*` for any) may connect, and our own always may.

    Our own are those of the Host that was asked, of `public_host` and of every name under `wildcard` (empty: none);
    `ports` gives further ports at which this service serves pages, `hosts` those of its other processes.
    """

    allowed: tuple[str, ...] = ()
    public_host: str = ""
    wildcard: str = ""
    ports: Callable[[], Collection[int]] = tuple
    hosts: Callable[[], Collection[str]] = tuple

    def check(self, connection: HTTPConnection) -> None:
        """Do nothing when this websocket is not opened by a page, or by one that may.

        Raises: AccessDeniedException naming the origin and the setting.
        """
        origins = connection.headers.getlist("origin")
        if not origins or ANY in self.allowed or not _is_bound(connection):
            return
        host = connection.headers.get("host", "")
        for origin in origins:
            if not self._is_allowed(origin, host):
                raise AccessDeniedException(
                    f"pages of {origin[:_SHOWN]} may not open a websocket with a ticket or a cookie: name the origin "
                    "in allowed_origins (HELIOGRAPH_ALLOWED_ORIGINS)"
                )

    def _is_allowed(self, origin: str, host: str) -> bool:
        if origin.lower() in (known.lower().rstrip("/") for known in self.allowed):
            return True
        page = _split(origin)
        if page is None:
            return False
        return any(self._is_of(page, own) for own in (host, self.public_host, self.wildcard, *self.hosts()) if own)

    def _is_of(self, page: SplitResult, own: str) -> bool:
        asked = _split(f"{page.scheme}://{own}")
        if asked is None or asked.hostname is None or page.hostname is None:
            return False
        is_under = own == self.wildcard and page.hostname.endswith("." + asked.hostname)
        if not is_under and page.hostname != asked.hostname:
            return False
        return _port(page) == _port(asked) or _port(page) in self.ports()


def _is_bound(connection: HTTPConnection) -> bool:
    names = {name.lower() for name, _ in query.parameters(connection)}
    if TICKET_PARAMETER in names:
        return True
    if connection.headers.get("cookie") is None or names & _OF_THE_PAGE:
        return False
    return not any(text.lower().startswith(BEARER_SUBPROTOCOL) for text in connection.scope.get("subprotocols", ()))


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        return parts if parts.hostname and parts.port != 0 else None
    except ValueError:
        return None


def _port(parts: SplitResult) -> int | None:
    return parts.port or _DEFAULT_PORTS.get(parts.scheme)
