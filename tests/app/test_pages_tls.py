"""The pages in real Chromium against a real `heliograph serve --tls`, over plain HTTP and over HTTPS."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.chromium import Visit, chromium
from tests.running import FREE_PORTS, heliograph, running

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("chromium")) as started:
        yield started


@pytest.fixture(scope="module")
def service(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    home = tmp_path_factory.mktemp("service")
    with running("serve", *FREE_PORTS, "--tls", "--https-port", "0", home=home) as ready:
        token = heliograph("token", "--role", "admin", home=home).stdout.strip()
        made = heliograph("channel", "create", "door", "--endpoint", ready["http"], "--token", token, home=home)
        assert made.returncode == 0, made.stderr
        yield {**ready, "token": token, "home": Path(home)}


@pytest.mark.parametrize(("scheme", "socket"), [("http", "ws"), ("https", "wss")])
def test_the_camera_of_one_page_plays_in_another(
    browser: Browser, service: dict[str, Any], scheme: str, socket: str
) -> None:
    address = service[scheme]
    visits = [Visit(browser, address, ignore_https_errors=scheme == "https") for _ in range(2)]
    try:
        for made, page in zip(visits, ("master", "viewer"), strict=True):
            made.page.goto(f"{address}/{page}#channel=door&token={service['token']}")
            if page == "master":
                made.page.click("#start")
                made.wait("open")
            else:
                made.wait("playing")
            opened = [url for url in made.addresses if url.startswith("ws")]
            assert [url.partition("?")[0] for url in opened] == [f"{socket}://{address.partition('//')[2]}/{page}"]
            made.assert_clean(service["token"])
    finally:
        for made in visits:
            made.context.close()
