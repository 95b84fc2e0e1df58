"""A camera's picture from Chromium to Chromium, relay to relay, over every way to the relay that a browser has."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec
import pytest
from playwright.sync_api import Browser

from tests import certificates
from tests.chromium import Visit, chromium, trust
from tests.interop.turn import Served, credential, relay_in_a_thread
from tests.ports import free_port

pytestmark = [pytest.mark.browser, pytest.mark.alone, pytest.mark.interop, pytest.mark.timeout(240)]

CALL = """async (server) => {
  const configuration = {iceServers: [server], iceTransportPolicy: "relay"};
  const [sender, receiver] = [new RTCPeerConnection(configuration), new RTCPeerConnection(configuration)];
  const failed = [];
  for (const [one, other] of [[sender, receiver], [receiver, sender]]) {
    one.onicecandidate = ({candidate}) => candidate && other.addIceCandidate(candidate);
    one.onicecandidateerror = ({errorCode, errorText, url}) => failed.push(`${errorCode} ${errorText} ${url}`);
  }
  window.failed = failed;
  const camera = await navigator.mediaDevices.getUserMedia({video: true});
  sender.addTrack(camera.getTracks()[0], camera);
  const video = document.createElement("video");
  video.muted = true;
  document.body.append(video);
  receiver.ontrack = ({streams}) => { video.srcObject = streams[0]; video.play(); };
  await sender.setLocalDescription(await sender.createOffer());
  await receiver.setRemoteDescription(sender.localDescription);
  await receiver.setLocalDescription(await receiver.createAnswer());
  await sender.setRemoteDescription(receiver.localDescription);
}"""


class EmptyPage(BaseHTTPRequestHandler):
    """A page without anything, in a secure context."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class Way(msgspec.Struct, frozen=True):
    """A URI's form, and what getStats and our counters must say of it; `is_second`: on the relay's other port."""

    form: str
    protocol: str
    transport: str
    is_second: bool = False

    def __str__(self) -> str:
        return self.form.replace("{}", "second" if self.is_second else "first")


WAYS = (
    Way("turn:127.0.0.1:{}?transport=udp", "udp", ""),
    Way("turn:127.0.0.1:{}?transport=tcp", "tcp", "tcp"),
    Way("turns:127.0.0.1:{}?transport=tcp", "tls", "tls"),
    Way("turns:127.0.0.1:{}?transport=tcp", "tls", "tls", True),
    # Chromium takes this for TLS over TCP, on the same port number
    Way("turns:127.0.0.1:{}?transport=udp", "tls", "tls"),
    Way("turn:[::1]:{}?transport=tcp", "tcp", "tcp"),
)


class Place(msgspec.Struct, frozen=True):
    served: Served
    second_port: int
    browser: Browser


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("turn")
    files = certificates.made(folder)
    trust(folder, files.ca)
    second_port = free_port()
    with relay_in_a_thread(files, more_ports=((second_port, "both"),)) as served, chromium(folder) as browser:
        yield Place(served, second_port, browser)


@pytest.fixture(scope="module")
def page() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), EmptyPage) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://localhost:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_the_picture_comes_by_relay_and_get_stats_says_how(place: Place, page: str, way: Way) -> None:
    stats = place.served.relay.stats
    before = dict(stats.connections_total)
    port = place.second_port if way.is_second else place.served.port
    username, secret = credential()
    visit = Visit(place.browser, page)
    try:
        visit.page.goto(page)
        visit.page.evaluate(CALL, {"urls": way.form.format(port), "username": username, "credential": secret})
        visit.until("window.peers.every((peer) => peer.connectionState === 'connected')")
        visit.until("document.querySelector('video').videoWidth > 0")
        visit.decodes(20)
        pair = visit.selected_pair()
        assert (pair["local"], pair["remote"], pair["relayProtocol"]) == ("relay", "relay", way.protocol)
    finally:
        print(visit.page.evaluate("window.failed"))
        visit.context.close()
    new = {name: count - before.get(name, 0) for name, count in stats.connections_total.items()}
    assert not any(new.values()) if not way.transport else new[way.transport] >= 2
