"""Debian's chromium for tests: one browser with a private HOME, and pages that watch what they must never do."""

import json
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Playwright, sync_playwright

from tests.programs import require
from tests.running import environment

# Of several such switches the last one counts: these are playwright's own, of those that concern pages of ours, and the
# lists below the address bar, two pages that each new window draws at the cost of 100 to 400 ms of a processor: a test
# opens a window where a person opens a tab.
_FEATURES_OFF = (
    "AvoidUnnecessaryBeforeUnloadCheckSync",
    "DestroyProfileOnBrowserClose",
    "HttpsFirstBalancedModeAutoEnable",
    "HttpsUpgrades",
    "MediaRouter",
    "NetworkTimeServiceQuerying",
    "OptimizationHints",
    "PaintHolding",
    "PreconnectToSearch",
    "ThirdPartyStoragePartitioning",
    "WebUIOmniboxAimPopup",
    "WebUIOmniboxFullPopup",
    "WebUIOmniboxPopup",
)
FLAGS = (
    "--no-sandbox",
    f"--disable-features={','.join(_FEATURES_OFF)}",
    "--autoplay-policy=no-user-gesture-required",
    "--mute-audio",
    "--use-fake-device-for-media-stream=fps=30",
    "--use-fake-ui-for-media-stream",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # A name that is not loopback, for the rules of secure contexts.
    "--host-resolver-rules=MAP heliograph.test 127.0.0.1",
)
# Keeps every peer connection and socket of the page within reach of the test: the truth is in getStats.
HOOKS = """
(() => {
  window.peers = [];
  window.sockets = [];
  const keep = (name, list) => {
    window[name] = new Proxy(window[name], {
      construct(target, args) { const made = new target(...args); list.push(made); return made; },
    });
  };
  keep("RTCPeerConnection", window.peers);
  keep("WebSocket", window.sockets);
})();
"""
LAUNCH_LIMIT_MS = 60_000  # on a machine that is busy with other tests
LIVE_PEER = "window.peers.filter((peer) => peer.connectionState === 'connected').at(-1)"


@contextmanager
def chromium(home: Path, program: str = "", flags: Sequence[str] = ()) -> Iterator[Browser]:
    """Run one headless browser; `program` starts Debian's in a way of its own."""
    with sync_playwright() as playwright, launched(playwright, home, program, flags) as browser:
        yield browser


@contextmanager
def launched(playwright: Playwright, home: Path, program: str = "", flags: Sequence[str] = ()) -> Iterator[Browser]:
    """One of several browsers that are driven together; see `chromium`."""
    browser = playwright.chromium.launch(
        executable_path=program or require("chromium"),
        args=[*FLAGS, *flags],
        env={**environment(home), "TZ": "UTC"},
        timeout=LAUNCH_LIMIT_MS,
    )
    try:
        yield browser
    finally:
        browser.close()


def trust(home: Path, ca_file: Path | str) -> None:
    """Import a CA as a user of this HOME would."""
    certutil, store = require("certutil"), home / ".pki" / "nssdb"
    store.mkdir(parents=True)
    for words in (("-N", "--empty-password"), ("-A", "-n", "heliograph", "-t", "C,,", "-i", ca_file)):
        subprocess.run([certutil, "-d", f"sql:{store}", *words], check=True, capture_output=True, timeout=60)


class Visit:
    """One page in a context of its own; `assert_clean` tells what it did that no page may do."""

    def __init__(self, browser: Browser, endpoint: str, **options: Any) -> None:
        self.context: BrowserContext = browser.new_context(**options)
        self.context.add_init_script(HOOKS)
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(60_000)
        self.hosts = {urlsplit(endpoint).netloc}
        self.addresses: list[str] = []
        self.errors: list[str] = []
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.addresses.append(request.url))
        self.page.on("websocket", lambda socket: self.addresses.append(socket.url))

    def _console(self, message: ConsoleMessage) -> None:
        # Refused calls belong to the failure tests, and plain HTTP off loopback voids one header; all else is a fault.
        expected = ("Failed to load resource", "Cross-Origin-Opener-Policy header has been ignored")
        if message.type in ("error", "warning") and not any(text in message.text for text in expected):
            self.errors.append(message.text)

    def wait(self, state: str, **facts: str) -> dict[str, str]:
        """Wait until the page's body says so; gives all that it says."""
        wanted = "".join(f'[data-{name.replace("_", "-")}="{value}"]' for name, value in facts.items())
        self.page.wait_for_selector(f'body[data-state="{state}"]{wanted}', state="attached")
        return self.said()

    def until(self, claim: str) -> None:
        """Wait until a JavaScript claim holds; the page's policy forbids playwright's own way, which uses eval."""
        self.page.evaluate(f"""async () => {{
          const deadline = performance.now() + 60000;
          while (!({claim})) {{
            if (performance.now() > deadline) throw new Error("never came true");
            await new Promise((resolve) => setTimeout(resolve, 20));
          }}
        }}""")

    def said(self) -> dict[str, str]:
        """The data attributes of the page's body."""
        facts: dict[str, str] = self.page.evaluate("({...document.body.dataset})")
        return facts

    def decodes(self, count: int, limit_s: float = 60.0) -> float:
        """Wait until so many more frames are decoded, by getStats; how many a second that made."""
        rate: float = self.page.evaluate(
            f"""async ([count, limit]) => {{
              const peer = {LIVE_PEER};
              const frames = async () => [...(await peer.getStats()).values()]
                .find((entry) => entry.type === "inbound-rtp" && entry.kind === "video")?.framesDecoded ?? 0;
              const [before, began] = [await frames(), performance.now()];
              for (;;) {{
                const [decoded, passed] = [(await frames()) - before, performance.now() - began];
                if (decoded >= count) return decoded * 1000 / passed;
                if (passed > limit) throw new Error(`${{decoded}} of ${{count}} frames decoded in ${{passed}} ms`);
                await new Promise((resolve) => setTimeout(resolve, 50));
              }}
            }}""",
            [count, limit_s * 1000],
        )
        return rate

    def selected_pair(self) -> dict[str, Any]:
        """`{local, remote, relayProtocol, frameWidth, codec}` of the connected peer, from getStats."""
        pair: dict[str, Any] = self.page.evaluate(
            f"""async () => {{
              const entries = new Map([...(await {LIVE_PEER}.getStats()).values()].map((entry) => [entry.id, entry]));
              const all = [...entries.values()];
              const transport = all.find((entry) => entry.type === "transport");
              const pair = entries.get(transport.selectedCandidatePairId);
              const video = all.find((entry) => entry.type === "inbound-rtp" && entry.kind === "video");
              return {{
                local: entries.get(pair.localCandidateId).candidateType,
                remote: entries.get(pair.remoteCandidateId).candidateType,
                relayProtocol: entries.get(pair.localCandidateId).relayProtocol ?? "",
                frameWidth: video.frameWidth,
                codec: entries.get(video.codecId).mimeType,
              }};
            }}"""
        )
        return pair

    def assert_clean(self, *secrets: str) -> None:
        """No error, no policy violation, no foreign host, no secret in an address, nothing stored."""
        assert not self.errors, self.errors
        foreign = [address for address in self.addresses if urlsplit(address).netloc not in self.hosts]
        assert not foreign, foreign
        told = [address for address in self.addresses for secret in secrets if secret in address.partition("#")[0]]
        assert not told, told
        stored = json.loads(
            self.page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])")
        )
        assert stored == [{}, {}, ""], stored
        assert not any(secret in self.page.url for secret in secrets), self.page.url
