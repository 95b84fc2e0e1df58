"""Pages come from memory, with their type, a tag, and headers that let them do only what they need."""

from pathlib import Path

import pytest
from starlette.requests import Request

from app.assets import PAGES, Assets

STATIC = Path(__file__).parents[2] / "app" / "static"


def request(method: str = "GET", held: str | None = None) -> Request:
    headers = [] if held is None else [(b"if-none-match", held.encode())]
    return Request({"type": "http", "method": method, "path": "/", "headers": headers, "query_string": b""})


@pytest.fixture(scope="module")
def assets() -> Assets:
    return Assets(STATIC)


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/viewer", "text/html; charset=utf-8"),
        ("/master", "text/html; charset=utf-8"),
        ("/static/viewer.js", "text/javascript; charset=utf-8"),
        ("/static/style.css", "text/css; charset=utf-8"),
        ("/static/mark.svg", "image/svg+xml"),
    ],
)
def test_asset_has_its_type_and_the_strict_headers(assets: Assets, path: str, content_type: str) -> None:
    response = assets.answer(path, request())
    assert response is not None
    assert response.status_code == 200
    headers = response.headers
    assert headers["content-type"] == content_type
    assert headers["content-length"] == str(len(response.body))
    assert headers["cache-control"] == "no-cache"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["x-content-type-options"] == "nosniff"
    assert "camera=(self), microphone=(self)" in headers["permissions-policy"]
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["object-src"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert "unsafe" not in headers["content-security-policy"]
    assert "*" not in headers["content-security-policy"]


def test_pages_are_the_files(assets: Assets) -> None:
    for path, name in PAGES.items():
        response = assets.answer(path, request())
        assert response is not None
        assert response.body == (STATIC / name).read_bytes()


def test_who_has_the_asset_is_told_so_without_a_body(assets: Assets) -> None:
    first = assets.answer("/viewer", request())
    assert first is not None
    etag = first.headers["etag"]
    for held in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        response = assets.answer("/viewer", request(held=held))
        assert response is not None
        assert (response.status_code, response.body) == (304, b"")
        assert response.headers["etag"] == etag
    for held in ("", '"other"', etag.strip('"')):
        response = assets.answer("/viewer", request(held=held))
        assert response is not None
        assert response.status_code == 200


def test_changed_file_has_another_tag(tmp_path: Path) -> None:
    tags = set()
    for text in ("a", "b"):
        for name in PAGES.values():
            (tmp_path / name).write_text(text)
        response = Assets(tmp_path).answer("/", request())
        assert response is not None
        tags.add(response.headers["etag"])
    assert len(tags) == 2


@pytest.mark.parametrize(
    "path",
    [
        "/static/",
        "/static/../assets.py",
        "/static/nothing.js",
        "/Viewer",
        "/viewer/",
        "/index.html",
        "/static/VIEWER.js",
    ],
)
def test_other_path_is_no_asset(assets: Assets, path: str) -> None:
    assert assets.answer(path, request()) is None


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_assets_are_only_read(assets: Assets, method: str) -> None:
    assert assets.answer("/viewer", request(method)) is None
    assert assets.answer("/viewer", request("HEAD")) is not None


def test_missing_page_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"index\.html"):
        Assets(tmp_path)
