"""The stock JavaScript clients in Chromium, on a page of another origin: watches our master, serves our viewer.

The page is bundled from node_modules; the browser trusts the service's CA as a user's would, by its certificate store.
Numbers in brackets are those of the conformance checklist.
"""

import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from playwright.sync_api import Browser

from tests.chromium import Visit, chromium, trust
from tests.interop import node
from tests.interop.conftest import Note
from tests.interop.kvs import Kvs, channel_name

pytestmark = [pytest.mark.browser, pytest.mark.alone, pytest.mark.interop, pytest.mark.timeout(240)]

Open = Callable[[], Visit]


class Page(BaseHTTPRequestHandler):
    """Serves three files and no more."""

    files: ClassVar[dict[str, tuple[str, bytes]]] = {}

    def do_GET(self) -> None:
        kind, body = self.files.get(self.path, ("", b""))
        self.send_response(200 if kind else 404)
        self.send_header("Content-Type", kind or "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def page() -> Iterator[str]:
    """The address of the page: an origin of its own, and a secure one, so that it gets the camera."""
    node.install_packages()
    Page.files = {
        "/": ("text/html", (node.FOLDER / "kvs_page.html").read_bytes()),
        "/kvs_page.js": ("text/javascript", node.bundle("kvs_page.mjs").encode()),
        "/kvs-webrtc.min.js": ("text/javascript", node.SIGNALING_SCRIPT.read_bytes()),
    }
    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://localhost:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def browser(kvs: Kvs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    home = tmp_path_factory.mktemp("chromium")
    trust(home, kvs.ca_file)
    with chromium(home) as started:
        yield started


@pytest.fixture
def visit(browser: Browser, page: str) -> Iterator[Open]:
    """Open the page; that none of it said an error is checked in the end."""
    visits: list[Visit] = []

    def start() -> Visit:
        made = Visit(browser, page)
        visits.append(made)
        made.page.goto(page)
        return made

    yield start
    try:
        assert not [made.errors for made in visits if made.errors]
    finally:
        for made in visits:
            made.context.close()


@pytest.fixture
def told(note: Note, browser: Browser) -> Callable[[str, str], None]:
    versions = f"Chromium {browser.version.partition('.')[0]}, SDK {node.version(node.CONTROL)}"
    return partial(note, f"{versions}, kvs-webrtc {node.version(node.SIGNALING)}")


def configured(kvs: Kvs, name: str, **more: Any) -> dict[str, Any]:
    return {"endpoint": kvs.https, "channelName": name, "credentials": kvs.key.javascript(), **more}


def start(made: Visit, role: str, configuration: dict[str, Any]) -> None:
    made.page.evaluate(f"configuration => window.kvs.{role}(configuration)", configuration)


def playing(made: Visit) -> None:
    made.until("document.querySelector('video').videoWidth === 1280")


def test_the_page_watches_our_master(
    visit: Open,
    kvs: Kvs,
    told: Callable[[str, str], None],
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    """[25, 42, 43]"""
    name = channel_name(request)
    kvs.create(name)
    with kvs.master(name):
        made = visit()
        start(made, "viewer", configured(kvs, name, clientId="page"))
        playing(made)
        print(f"{made.decodes(250):.1f} frames a second")
        pair = made.selected_pair()
        made.page.screenshot(path=tmp_path / "viewer.png")
    assert pair["frameWidth"] == 1280
    assert "relay" not in (pair["local"], pair["remote"])
    told("watches `heliograph master`", f"{pair['codec']} 1280 wide, at least 250 frames, path {pair['local']}")


def test_with_relay_forced_the_pair_is_relay(
    visit: Open, kvs: Kvs, told: Callable[[str, str], None], request: pytest.FixtureRequest
) -> None:
    """[43]"""
    name = channel_name(request)
    kvs.create(name)
    with kvs.master(name):
        made = visit()
        start(made, "viewer", configured(kvs, name, clientId="page", isRelayOnly=True))
        playing(made)
        made.decodes(60)
        assert made.selected_pair()["local"] == "relay"
    told("watches `heliograph master`, relay only", "path relay")


def test_the_page_serves_our_viewer(
    visit: Open, kvs: Kvs, told: Callable[[str, str], None], request: pytest.FixtureRequest
) -> None:
    """[42]"""
    name = channel_name(request)
    kvs.create(name)
    made = visit()
    start(made, "master", configured(kvs, name))
    report = kvs.watch(name, frames=210)
    assert report["frames"] >= 210
    told("serves `heliograph viewer`", f"at least 210 frames, {report['codec']} by {report['path']}")


def test_a_page_of_another_origin_reads_errors_and_their_headers(
    visit: Open, kvs: Kvs, told: Callable[[str, str], None]
) -> None:
    """[25]"""
    made = visit()
    refusal = made.page.evaluate("configuration => window.kvs.refusal(configuration)", configured(kvs, "not-there"))
    assert (refusal["name"], refusal["status"]) == ("ResourceNotFoundException", 404)
    assert refusal["requestId"]
    assert {"date", "x-amzn-requestid", "x-amzn-errortype"} <= set(refusal["headers"])
    told("DescribeSignalingChannel of an unknown name", "404 ResourceNotFoundException, exposed headers readable")
