"""Services of several real nodes over Redis: each node a process with its own folder and ports, under real signals."""

import contextlib
import json
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, Self

from app.exits import Exit
from tests.running import FREE_PORTS, heliograph, started

LIMIT_S: Final = 30.0


class Node:
    """One `heliograph serve` with the flags `words`; `within` stands before the command (`env NAME=VALUE`)."""

    def __init__(self, home: Path, *words: str, within: Sequence[str] = ()) -> None:
        self.home = home
        self.http = self.ops = ""
        self._words = words
        self._within = within
        self._stack = contextlib.ExitStack()
        self._process: subprocess.Popen[str] | None = None
        self.killed_at = float("inf")  # of the monotonic clock

    def start(self) -> Self:
        """Run it until it is ready, on new ports; its log goes on."""
        self.home.mkdir(parents=True, exist_ok=True)
        errors = self._stack.enter_context((self.home / "log").open("ab"))
        words = ("serve", *self._words)
        service = self._stack.enter_context(
            started(*words, ports=FREE_PORTS, stderr=errors, home=self.home, within=self._within)
        )
        self._process = service.process
        self.http, self.ops = service.ready["http"], service.ready["ops"]
        return self

    @property
    def process(self) -> subprocess.Popen[str]:
        """The process, which may have ended."""
        assert self._process is not None, "the node was never started"
        return self._process

    @property
    def websocket(self) -> str:
        """What the addresses of its websockets begin with."""
        return self.http.replace("http://", "ws://")

    @property
    def log(self) -> str:
        """All that it has said."""
        return (self.home / "log").read_text()

    def kill(self) -> None:
        """SIGKILL: nothing is said to anybody, connections end by the kernel."""
        self.killed_at = time.monotonic()
        self.process.kill()
        self.process.wait(LIMIT_S)

    def stop(self) -> None:
        """SIGSTOP: connections stay open and nothing is read, until `cont`."""
        self.process.send_signal(signal.SIGSTOP)

    def cont(self) -> None:
        """SIGCONT: go on, with all that was sent meanwhile."""
        self.process.send_signal(signal.SIGCONT)

    def terminate(self) -> None:
        """SIGTERM: drain; `process.wait` tells the end."""
        self.process.terminate()

    def close(self) -> None:
        """End it however it is; twice is harmless."""
        if self._process is not None and self._process.poll() is None:
            self.kill()
        self._stack.close()

    def ready(self) -> dict[str, Any]:
        """The answer of /readyz: `status`, and why in `failing`."""
        try:
            with urllib.request.urlopen(self.ops + "/readyz", timeout=LIMIT_S) as answer:
                found: dict[str, Any] = json.loads(answer.read())
        except urllib.error.HTTPError as error:
            found = json.loads(error.read())
        return found

    def is_live(self) -> bool:
        """Whether /livez is green."""
        with urllib.request.urlopen(self.ops + "/livez", timeout=LIMIT_S) as answer:
            return bool(answer.status == 200)

    def metric(self, name: str) -> float:
        """The value of one line of /metrics, given as it stands there: name and labels."""
        with urllib.request.urlopen(self.ops + "/metrics", timeout=LIMIT_S) as answer:
            lines = answer.read().decode().splitlines()
        return float(next((line.rpartition(" ")[2] for line in lines if line.rpartition(" ")[0] == name), 0.0))


class Service:
    """Nodes, by number, that share a Redis; a context manager."""

    def __init__(
        self,
        folder: Path,
        url: str,
        *words: str,
        count: int = 2,
        own: Sequence[Sequence[str]] = (),
        within: Sequence[Sequence[str]] = (),
    ) -> None:
        """`url` is the Redis for all; `own` are more flags of single nodes, `within` the words before their command."""
        self.folder = folder
        self.token = ""
        self._url = url
        self.nodes = [
            Node(
                folder / f"node-{number}",
                *("--redis", url, "--drain-s", "1", *words, *(own[number] if own else ())),
                within=within[number] if within else (),
            )
            for number in range(count)
        ]

    def __enter__(self) -> Self:
        try:
            with ThreadPoolExecutor() as pool:
                list(pool.map(Node.start, self.nodes))
            self.token = str(self.command("token", "--role", "admin")["token"])
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for node in self.nodes:
            node.close()

    def command(self, *words: str, node: int = 0) -> dict[str, Any]:
        """Run the command line as on the machine of a node, again where Redis did not answer in time."""
        for _ in range(5):
            done = heliograph(*words, "--redis", self._url, "--json", home=self.folder / f"command-{node}")
            if done.returncode != Exit.UNREACHABLE:
                break
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def call(self, node: int, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """One request of the API. Raises: urllib.error.HTTPError."""
        request = urllib.request.Request(
            self.nodes[node].http + path, json.dumps(body).encode(), {"Authorization": f"Bearer {self.token}"}
        )
        with urllib.request.urlopen(request, timeout=LIMIT_S) as answer:
            found: dict[str, Any] = json.loads(answer.read())
        return found

    def create(self, name: str, node: int = 0, tries: int = 5) -> str:
        """Make a channel, again while Redis does not answer in time; its ARN. Raises: urllib.error.HTTPError."""
        for left in reversed(range(tries)):
            try:
                return str(self.call(node, "/createSignalingChannel", {"ChannelName": name})["ChannelARN"])
            except urllib.error.HTTPError as error:
                if error.code == 400 and left < tries - 1:
                    break  # the try before made it, and its answer was lost
                if error.code != 503 or not left:
                    raise
        return str(self.call(node, "/describeSignalingChannel", {"ChannelName": name})["ChannelInfo"]["ChannelARN"])
