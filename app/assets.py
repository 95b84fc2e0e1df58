"""The pages and what they load: read once at start, answered from memory with strict security headers."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

# A page talks to its own origin, and by websocket to the endpoint that the service names, which may be another host.
CONTENT_SECURITY_POLICY: Final = (
    "default-src 'self'; connect-src 'self' ws: wss:; media-src 'self' blob:; object-src 'none'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
HEADERS: Final = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cache-Control": "no-cache",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(self), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
PAGES: Final = {"/": "index.html", "/viewer": "viewer.html", "/master": "master.html", "/recording": "recording.html"}
_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".json": "application/json",
    ".woff2": "font/woff2",
}


class _Asset(msgspec.Struct, frozen=True):
    body: bytes
    headers: dict[str, str]


class Assets:
    """The assets of a folder by URL path. Raises: FileNotFoundError when a page is not there."""

    def __init__(self, folder: Path) -> None:
        assets = {f"/static/{path.name}": _load(path) for path in folder.iterdir() if path.suffix in _TYPES}
        assets |= {path: _load(folder / name) for path, name in PAGES.items()}
        self._assets: Mapping[str, _Asset] = assets

    def answer(self, path: str, request: Request) -> Response | None:
        """Answer a GET or HEAD of `path`, by 304 when the caller has it; None when no asset is there."""
        asset = self._assets.get(path) if request.method in ("GET", "HEAD") else None
        if asset is None:
            return None
        if _has(request, asset.headers["ETag"]):
            return Response(status_code=304, headers=asset.headers)
        return Response(asset.body, headers=asset.headers)


def _load(path: Path) -> _Asset:
    body = path.read_bytes()
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    return _Asset(body, {**HEADERS, "Content-Type": _TYPES[path.suffix], "ETag": etag})


def _has(request: Request, etag: str) -> bool:
    """RFC 9110, 13.1.2: a list of tags, compared weakly, or `*`."""
    held = request.headers.get("if-none-match", "")
    return etag in (tag.strip().removeprefix("W/") for tag in held.split(",")) or held.strip() == "*"
