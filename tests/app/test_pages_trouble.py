"""What the pages say and do when something is wrong, in real Chromium against a real `heliograph serve`."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Route

from tests.chromium import Visit, chromium
from tests.running import FREE_PORTS, environment, heliograph, running

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

Open = Callable[..., Visit]
REPLACED = 20
NO_NUMBER = "\u2013"


class Service:
    """A running `heliograph serve` and what its command line does."""

    def __init__(self, home: Path, ready: dict[str, Any]) -> None:
        self.home = home
        self.endpoint: str = ready["http"]
        self.admin = self.token("*", "admin")

    def token(self, channel: str, role: str, *more: str) -> str:
        done = heliograph("token", "--channel", channel, "--role", role, *more, home=self.home)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return heliograph(*arguments, "--endpoint", self.endpoint, "--token", self.admin, home=self.home)

    def create(self, channel: str) -> str:
        done = self.run("channel", "create", channel)
        assert done.returncode == 0, done.stderr
        return channel

    @contextmanager
    def master(self, channel: str) -> "Iterator[subprocess.Popen[bytes]]":
        """A master process of the test pattern."""
        command = [sys.executable, "-m", "app", "master", "--channel", channel, "--endpoint", self.endpoint]
        with (self.home / f"master-{channel}.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                env={**environment(self.home), "HELIOGRAPH_TOKEN": self.admin},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()  # a shell that starts tests behind itself has them ignore SIGINT
                process.wait(60)

    def viewer(self, channel: str, more: str = "", token: str | None = None) -> str:
        return f"/viewer#channel={channel}{more}&token={self.admin if token is None else token}"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("chromium")) as started:
        yield started


@pytest.fixture(scope="module")
def service(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    home = tmp_path_factory.mktemp("service")
    with running("serve", *FREE_PORTS, home=home) as ready:
        yield Service(home, ready)


@pytest.fixture
def visit(browser: Browser, service: Service) -> Iterator[Open]:
    """Open a page of the service; what each did is checked in the end."""
    visits: list[Visit] = []

    def start(address: str, origin: str = "", **options: Any) -> Visit:
        made = Visit(browser, origin or service.endpoint, **options)
        visits.append(made)
        made.page.goto((origin or service.endpoint) + address)
        return made

    yield start
    try:
        for made in visits:
            made.assert_clean(service.admin)
    finally:
        for made in visits:
            made.context.close()


def said(made: Visit) -> tuple[str, str]:
    return made.page.inner_text("#notice-sentence"), made.page.inner_text("#notice-next")


def test_a_page_without_a_token_asks_for_one(visit: Open) -> None:
    made = visit("/viewer#channel=demo")
    made.wait("failed", failure="no-token")
    assert made.page.is_visible("#token")
    assert visit("/").page.is_visible("#token")


def test_a_foreign_token_is_refused_with_a_sentence(visit: Open) -> None:
    made = visit("/viewer#channel=demo&token=eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.AAAA")
    made.wait("failed", failure="token-refused")
    assert "does not accept this token" in said(made)[0]
    assert visit("/viewer#channel=demo&token=nonsense").wait("failed", failure="token-refused")


def test_an_expired_token_says_so_and_a_new_one_enters(visit: Open, service: Service) -> None:
    channel = service.create("expiring")
    made = visit(service.viewer(channel, token=service.token(channel, "viewer", "--ttl", "1")))
    # The service grants 30 s of leeway: move its answer, not the clock.
    made.context.route("**/describeSignalingChannel", expired)
    made.page.reload()
    made.page.fill("#token", service.token(channel, "viewer"))
    made.page.click("text=Enter")
    made.wait("failed", failure="token-expired")
    made.context.unroute("**/describeSignalingChannel")
    made.page.fill("#token", service.token(channel, "viewer"))
    made.page.click("text=Enter")
    made.wait("waiting", failure="no-master")


def expired(route: Route) -> None:
    route.fulfill(
        status=403,
        headers={"x-amzn-ErrorType": "ExpiredTokenException"},
        content_type="application/json",
        body=json.dumps({"message": "the token expired"}),
    )


def test_a_token_for_another_channel_may_not_watch(visit: Open, service: Service) -> None:
    service.create("private")
    made = visit(service.viewer("private", token=service.token("another", "viewer")))
    made.wait("failed", failure="not-allowed")
    assert said(made)[0] == "This token may not watch channel “private”."


def test_a_token_bound_to_a_client_id_is_used_under_it(visit: Open, service: Service) -> None:
    channel = service.create("bound")
    made = visit(service.viewer(channel, token=service.token(channel, "viewer", "--client-id", "kitchen")))
    assert made.wait("waiting")["clientId"] == "kitchen"


def test_a_missing_channel_is_named_with_the_command_that_makes_it(visit: Open, service: Service) -> None:
    made = visit(service.viewer("missing"))
    made.wait("failed", failure="no-channel")
    assert "“missing”" in said(made)[0]
    command = made.page.inner_text("#notice-command")
    assert command == f"heliograph channel create missing --endpoint {service.endpoint}"
    assert service.run(*command.split()[1:4]).returncode == 0
    made.page.click("#retry")
    made.wait("waiting", failure="no-master")
    made.page.click("#notice-command")  # one click selects all of it
    selected = made.page.evaluate("getSelection().toString()")
    assert selected == f"heliograph master --channel missing --endpoint {service.endpoint}"


def test_without_a_master_the_page_waits_and_the_picture_starts_by_itself(visit: Open, service: Service) -> None:
    channel = service.create("lonely")
    made = visit(service.viewer(channel))
    made.wait("waiting", failure="no-master")
    assert "No master answers" in said(made)[0]
    with service.master(channel):
        made.wait("playing", failure="", offers="1")  # the offer was held: no second one was needed
        made.until(f"document.getElementById('fps').textContent !== '{NO_NUMBER}'")
    made.wait("waiting", failure="no-master")
    numbers = made.page.eval_on_selector_all(".figures dd", "(all) => all.map((each) => each.textContent)")
    assert numbers == [NO_NUMBER] * 10  # no media, no numbers


def test_a_relay_that_refuses_gives_the_candidates_tried(visit: Open, service: Service) -> None:
    channel = service.create("walled")

    def spoil(route: Route) -> None:
        answer = route.fetch()
        fields = answer.json()
        for server in fields["IceServerList"]:
            server["Password"] = "wrong"
        route.fulfill(response=answer, json=fields)

    with service.master(channel):
        made = visit("/viewer")
        made.context.route("**/v1/get-ice-server-config", spoil)
        made.page.goto(service.endpoint + service.viewer(channel, "&relay=1"))
        made.page.wait_for_selector("body[data-failure='ice-failed']", state="attached")
        sentence, following = said(made)
        assert "tried no candidate here" in sentence
        assert "401" in following


def test_a_service_without_ice_servers_leaves_the_direct_path(visit: Open, service: Service) -> None:
    channel = service.create("direct")
    with service.master(channel):
        made = visit("/viewer")
        made.context.route("**/v1/get-ice-server-config", lambda route: route.fulfill(status=403, body="{}"))
        made.page.goto(service.endpoint + service.viewer(channel))
        made.wait("playing", path="host")
        made.page.get_by_label("Relay only").check()
        made.page.wait_for_selector("body[data-failure='no-relay']", state="attached")


def test_a_token_of_one_channel_finds_it_on_the_first_page(visit: Open, service: Service) -> None:
    channel = service.create("alone")
    made = visit(f"/#token={service.token(channel, 'viewer')}")
    made.wait("ready", channels="1")
    made.page.get_by_label(f"Watch: {channel}").click()
    made.wait("waiting", failure="no-master")


@pytest.mark.alone
def test_a_frozen_master_is_noticed_and_the_picture_comes_back(visit: Open, service: Service) -> None:
    channel = service.create("frozen")
    with service.master(channel) as master:
        made = visit(service.viewer(channel))
        made.wait("playing")
        master.send_signal(signal.SIGSTOP)
        made.page.wait_for_selector("body[data-failure='media-stopped']", state="attached")
        assert "The picture stopped" in said(made)[0]
        master.send_signal(signal.SIGCONT)
        made.wait("playing")
        made.decodes(15)


@pytest.mark.alone
def test_viewers_follow_to_a_second_master(visit: Open, service: Service) -> None:
    channel = service.create("handover")
    with service.master(channel) as first:
        made = visit(service.viewer(channel))
        made.wait("playing", offers="1")
        with service.master(channel):
            assert first.wait(60) == REPLACED
            made.page.wait_for_selector("body[data-offers='2']", state="attached")
            made.wait("playing")
            made.decodes(15)
            assert made.page.evaluate("window.sockets.length") == 1


def test_the_same_client_id_elsewhere_stops_this_page(visit: Open, service: Service) -> None:
    channel = service.create("twice")
    first = visit(service.viewer(channel, "&client=me"))
    first.wait("waiting")
    visit(service.viewer(channel, "&client=me")).wait("waiting")
    first.wait("failed", failure="replaced")
    assert "“me”" in said(first)[0]


def test_the_browsers_camera_is_seen_by_the_headless_viewer(visit: Open, service: Service) -> None:
    channel = service.create("camera")
    made = visit(service.viewer(channel).replace("/viewer", "/master"))
    made.page.click("#start")
    made.wait("open")
    watching = service.run("viewer", "--channel", channel, "--frames", "60", "--timeout", "60", "--json")
    assert watching.returncode == 0, watching.stderr
    report = json.loads(watching.stdout)
    print("camera seen by the headless viewer:", report)
    assert report["frames"] >= 60
    assert report["width"] >= 320
    second = visit(service.viewer(channel))
    second.wait("playing")
    made.page.wait_for_selector("#viewer-rows tr[data-state='connected']")


def test_a_replaced_camera_says_so_and_stops(visit: Open, service: Service) -> None:
    channel = service.create("duel")
    address = service.viewer(channel).replace("/viewer", "/master")
    first, second = visit(address), visit(address)
    for made in (first, second):
        made.page.click("#start")
        made.wait("open")
    first.wait("ended", failure="replaced")
    assert "A newer master took over" in said(first)[0]
    assert first.page.evaluate("document.getElementById('preview').srcObject") is None
    assert second.said()["state"] == "open"


def test_off_loopback_over_plain_http_the_camera_page_says_what_it_needs(visit: Open, service: Service) -> None:
    origin = service.endpoint.replace("127.0.0.1", "heliograph.test")
    made = visit(service.viewer("demo").replace("/viewer", "/master"), origin=origin)
    made.wait("failed", failure="insecure-context")
    assert "secure page" in said(made)[0]
    port = origin.rpartition(":")[2]
    assert made.page.inner_text("#notice-command") == f"ssh -N -L {port}:127.0.0.1:{port} heliograph.test"
    assert made.page.is_disabled("#start")


def test_a_service_that_went_away_is_named_and_waited_for(browser: Browser, tmp_path: Path) -> None:
    with running("serve", *FREE_PORTS, home=tmp_path) as ready:
        service = Service(tmp_path, ready)
        service.create("gone")
        made = Visit(browser, service.endpoint)
        made.page.goto(service.endpoint + service.viewer("gone"))
        made.wait("waiting")
    made.page.wait_for_selector("body[data-failure='unreachable']", state="attached")
    assert service.endpoint in said(made)[0]
    assert made.said()["state"] == "connecting"
    made.context.close()


@pytest.mark.alone
def test_a_picture_outlives_the_service_and_the_page_says_both(browser: Browser, tmp_path: Path) -> None:
    with ExitStack() as masters:
        with running("serve", *FREE_PORTS, home=tmp_path) as ready:
            service = Service(tmp_path, ready)
            masters.enter_context(service.master(service.create("orphan")))
            made = Visit(browser, service.endpoint)
            made.page.goto(service.endpoint + service.viewer("orphan"))
            made.wait("playing", path="host")
        made.wait("playing", failure="unreachable")
        assert said(made)[0] == f"The picture goes on, but the service at {service.endpoint} does not answer."
        made.decodes(15)
        made.page.screenshot(path=tmp_path / "orphan.png")
    made.context.close()


def test_a_plain_get_is_the_page_under_a_strict_policy(visit: Open, service: Service) -> None:
    for path in ("/", "/viewer", "/master"):
        made = visit("/")
        answer = made.page.request.get(service.endpoint + path)
        assert answer.status == 200
        assert answer.headers["content-type"].startswith("text/html")
        policy = answer.headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "unsafe" not in policy
        assert answer.headers["referrer-policy"] == "no-referrer"


def test_nothing_the_pages_load_names_another_host() -> None:
    static = Path(__file__).parent.parent.parent / "app" / "static"
    for path in static.iterdir():
        text = path.read_text().replace("http://www.w3.org/2000/svg", "")
        assert "https://" not in text, path
        assert "http://" not in text, path
        assert "localStorage" not in text, path
