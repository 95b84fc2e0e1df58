"""`serve --workers`: ports for each process, and real groups of processes over a real Redis."""

import contextlib
import json
import os
import signal
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

from app import cli_workers
from app.exits import Exit
from app.settings import Settings, SettingsError
from tests.redis_server import RedisServer
from tests.running import FREE_PORTS, Started, ends_within, heliograph, started

LIMIT_S = 30.0
MOVED_S = 30.0
slow = [pytest.mark.slow, pytest.mark.timeout(240)]


class Group:
    """One `serve --workers 2`, called with a token of an admin."""

    def __init__(self, service: Started, token: str, log: Path, stack: contextlib.ExitStack) -> None:
        self.ready = service.ready
        self.service = service
        self.token = token
        self.log = log
        self._stack = stack

    @property
    def workers(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ready["workers"]
        return found

    def call(self, worker: int, path: str, body: dict[str, Any]) -> dict[str, Any]:
        request = urllib.request.Request(
            self.workers[worker]["http"] + path, json.dumps(body).encode(), {"Authorization": f"Bearer {self.token}"}
        )
        with urllib.request.urlopen(request, timeout=LIMIT_S) as answer:
            found: dict[str, Any] = json.loads(answer.read())
        return found

    def create(self, name: str) -> str:
        return str(self.call(0, "/createSignalingChannel", {"ChannelName": name})["ChannelARN"])

    def channel_of(self, worker: int, name: str) -> str:
        """Make a channel that belongs to this worker."""
        numbers = range(30)  # all of another one's by a chance of one in a billion
        return next(arn for number in numbers if self.owner(arn := self.create(f"{name}-{number}")) == worker)

    def endpoint(self, arn: str, worker: int = 0, role: str = "MASTER") -> str:
        wanted = {"Protocols": ["WSS"], "Role": role}
        body = {"ChannelARN": arn, "SingleMasterChannelEndpointConfiguration": wanted}
        answer = self.call(worker, "/getSignalingChannelEndpoint", body)
        return str(answer["ResourceEndpointList"][0]["ResourceEndpoint"])

    def owner(self, arn: str, asked: int = 0) -> int:
        """Which worker the endpoint of a channel leads to, when this one is asked."""
        place = self.endpoint(arn, asked).replace("ws://", "http://").removesuffix("/master")
        return [worker["http"] for worker in self.workers].index(place)

    def moved(self, is_so: Callable[[], bool]) -> float:
        """Seconds until it is so."""
        began = time.monotonic()
        while not is_so():
            assert time.monotonic() - began < MOVED_S
            time.sleep(0.02)
        return time.monotonic() - began

    def socket(self, url: str, arn: str, **query: str) -> ClientConnection:
        words = urlencode({"X-Amz-ChannelARN": arn, "token": self.token, **query})
        return self._stack.enter_context(connect(f"{url}?{words}", compression=None))

    @contextlib.contextmanager
    def closing_sockets(self) -> Iterator[None]:
        """Close the websockets that are opened in the block when it ends."""
        before = self._stack
        with contextlib.ExitStack() as self._stack:
            yield
        self._stack = before

    def metrics(self, worker: int) -> list[str]:
        with urllib.request.urlopen(self.workers[worker]["ops"] + "/metrics", timeout=LIMIT_S) as answer:
            return list(answer.read().decode().splitlines())

    def knows_both(self, worker: int) -> bool:
        return self.is_ready(worker) and 'heliograph_slots{state="serving"} 2.0' in self.metrics(worker)

    def is_ready(self, worker: int) -> bool:
        with contextlib.suppress(OSError), urllib.request.urlopen(self.workers[worker]["ops"] + "/readyz") as answer:
            return bool(answer.status == 200)
        return False

    def pid(self, worker: int) -> int:
        """The process of a worker now: that which has its port open, beside the parent."""
        children = Path(f"/proc/{self.service.process.pid}/task/{self.service.process.pid}/children").read_text()
        port = self.workers[worker]["http"].rpartition(":")[2]
        inode = next(
            line.split()[9] for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
            if line.split()[1].endswith(f":{int(port):04X}") and line.split()[3] == "0A"
        )  # fmt: skip
        return next(int(pid) for pid in children.split() if _has_open(pid, f"socket:[{inode}]"))


def _has_open(pid: str, name: str) -> bool:
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            if str(path.readlink()) == name:
                return True
    return False


def exchange(viewer: ClientConnection, master: ClientConnection) -> None:
    viewer.send(json.dumps({"action": "SDP_OFFER", "messagePayload": "b2ZmZXI="}))
    offer = json.loads(master.recv(timeout=LIMIT_S))
    reply = {"action": "SDP_ANSWER", "messagePayload": "YQ==", "recipientClientId": offer["senderClientId"]}
    master.send(json.dumps(reply))
    assert json.loads(viewer.recv(timeout=LIMIT_S))["messageType"] == "SDP_ANSWER"


@contextlib.contextmanager
def group(redis: RedisServer, home: Path, *words: str, prefix: str = "heliograph") -> Iterator[Group]:
    home.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack, (home / "log").open("ab") as log:
        where = ("--redis", redis.url, "--redis-prefix", prefix)
        several = ("--workers", "2", "--drain-s", "1")
        service = stack.enter_context(started("serve", *where, *several, *words, home=home, stderr=log))
        for _ in range(5):
            done = heliograph("token", "--role", "admin", *where, home=home)
            if done.returncode != Exit.UNREACHABLE:  # Redis had no time
                break
        assert done.returncode == 0, done.stderr
        yield Group(service, done.stdout.strip(), home / "log", stack)


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis"), appendonly=True) as server:
        yield server


@pytest.fixture(scope="module")
def one_group(redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Group]:
    with group(redis, tmp_path_factory.mktemp("two")) as found:
        yield found


@pytest.fixture
def two(one_group: Group) -> Iterator[Group]:
    """Both workers, which may have been ended by another test, serve and know it; its websockets are all gone."""
    for worker in (0, 1):
        one_group.moved(lambda worker=worker: one_group.knows_both(worker))
    one_group.moved(lambda: _connections(one_group) == [0, 0])
    with one_group.closing_sockets():
        yield one_group


class TestTwoWorkers:
    pytestmark = slow

    def test_the_ready_line_has_the_ports_of_all_and_one_relay(self, two: Group) -> None:
        assert [worker["slot"] for worker in two.workers] == [0, 1]
        assert two.ready["http"] == two.workers[0]["http"] != two.workers[1]["http"]
        assert two.workers[0]["ops"] != two.workers[1]["ops"]
        arn = two.create("relay")
        uris = [two.call(n, "/v1/get-ice-server-config", {"ChannelARN": arn})["IceServerList"] for n in (0, 1)]
        assert two.ready["turn"] in uris[0][0]["Uris"]
        assert uris[0][0]["Uris"] == uris[1][0]["Uris"]
        assert [two.is_ready(worker) for worker in (0, 1)] == [True, True]

    def test_metrics_and_logs_tell_the_slot_and_the_relay_counts_once(self, two: Group) -> None:
        for number in (0, 1):
            assert f'heliograph_slot_info{{slot="{number}"}} 1.0' in two.metrics(number)
            two.call(number, "/listSignalingChannels", {})
        told = [json.loads(line) for line in two.log.read_text().splitlines() if line.startswith("{")]
        assert {line["slot"] for line in told if line.get("operation") == "ListSignalingChannels"} == {0, 1}

    def test_both_roles_of_a_channel_land_in_its_process(self, two: Group) -> None:
        for owner in (0, 1):
            arn = two.channel_of(owner, f"local-{owner}")
            assert [two.owner(arn, asked) for asked in (0, 1)] == [owner, owner]
            before = _connections(two)
            master = two.socket(two.endpoint(arn), arn)
            viewer = two.socket(two.endpoint(arn, 1, "VIEWER"), arn, **{"X-Amz-ClientId": "v-1"})
            exchange(viewer, master)
            after = _connections(two)
            assert [after[n] - before[n] for n in (0, 1)] == [2 if n == owner else 0 for n in (0, 1)]

    def test_a_misplaced_viewer_talks_to_its_master(self, two: Group) -> None:
        arn = two.channel_of(0, "misplaced")
        master = two.socket(two.endpoint(arn), arn)
        elsewhere = two.workers[1]["http"].replace("http://", "ws://") + "/viewer"
        exchange(two.socket(elsewhere, arn, **{"X-Amz-ClientId": "v-1"}), master)

    def test_a_killed_worker_is_back_at_its_ports_and_slot_and_who_came_meanwhile_is_served(self, two: Group) -> None:
        arn, before = two.channel_of(1, "killed"), two.pid(1)
        os.kill(before, signal.SIGKILL)
        assert two.call(1, "/describeSignalingChannel", {"ChannelARN": arn})["ChannelInfo"]["ChannelARN"] == arn
        assert two.pid(1) != before
        assert 'heliograph_slot_info{slot="1"} 1.0' in two.metrics(1)
        two.moved(lambda: [two.owner(arn, asked) for asked in (0, 1)] == [1, 1])  # a start may outlast the lease
        assert "heliograph: worker 2 ended by itself (signal SIGKILL); it is started again in 0." in two.log.read_text()

    def test_the_channels_of_a_dead_worker_are_the_others_until_it_is_back(self, two: Group) -> None:
        arn = two.channel_of(1, "dead")
        two.service.process.send_signal(signal.SIGSTOP)  # so that nobody starts it again
        try:
            os.kill(two.pid(1), signal.SIGKILL)
            two.moved(lambda: two.owner(arn) == 0)
        finally:
            two.service.process.send_signal(signal.SIGCONT)
        two.moved(lambda: two.owner(arn) == 1)
        assert two.owner(arn, 1) == 1

    def test_the_channels_of_a_frozen_worker_are_the_others_until_it_goes_on(self, two: Group) -> None:
        arn, frozen = two.channel_of(0, "frozen"), two.pid(0)
        os.kill(frozen, signal.SIGSTOP)
        try:
            two.moved(lambda: two.owner(arn, 1) == 1)
        finally:
            os.kill(frozen, signal.SIGCONT)
        two.moved(lambda: two.owner(arn, 1) == 0)

    def test_a_number_of_another_process_is_refused(self, two: Group, redis: RedisServer, tmp_path: Path) -> None:
        done = heliograph("serve", "--redis", redis.url, "--slot", "1", *FREE_PORTS, home=tmp_path)
        assert done.returncode == 2
        assert done.stderr.splitlines()[-1].startswith("heliograph: SLOT: another process has the number 1; stop it")

    def test_a_page_of_one_worker_opens_a_websocket_at_the_other(self, two: Group) -> None:
        arn = two.channel_of(1, "page")
        body = {"channelArn": arn, "role": "VIEWER", "clientId": "v-1"}
        ticket = two.call(0, "/v1/connect-ticket", body)["ticket"]
        url = two.endpoint(arn, 0, "VIEWER")
        with connect(f"{url}?ticket={ticket}", origin=Origin(two.workers[0]["http"])) as socket:
            assert socket.ping().wait(LIMIT_S)


def _connections(two: Group) -> list[int]:
    return [
        sum(int(float(line.split()[-1])) for line in two.metrics(n) if "signaling_connections{" in line) for n in (0, 1)
    ]


class TestGroups:
    pytestmark = slow

    def test_numbers_stay_over_a_restart_and_each_serves_tls(self, redis: RedisServer, tmp_path: Path) -> None:
        words = ("--tls", "--https-port", "0")
        with group(redis, tmp_path, *words, prefix="restarted") as one:
            assert [worker["slot"] for worker in one.workers] == [0, 1]
            ca = one.ready["ca_file"]
            for worker in one.workers:
                flags = ("--endpoint", worker["https"], "--token", one.token, "--ca-file", ca)
                done = heliograph("channel", "list", *flags)
                assert done.returncode == 0, done.stderr
            pids = [one.pid(n) for n in (0, 1)]
            assert one.service.stop()[0] == 0
            assert all(ends_within(pid, 30) for pid in pids)
        with group(redis, tmp_path, *words, prefix="restarted") as again:
            assert [worker["slot"] for worker in again.workers] == [0, 1]

    def test_no_endpoint_of_a_worker_that_drains_is_handed_out(self, redis: RedisServer, tmp_path: Path) -> None:
        """It gives its number back: waiting for a lease this long to end would be noticed."""
        with group(redis, tmp_path, "--node-lease-s", "60", "--connection-lease-s", "60", prefix="drained") as one:
            one.moved(lambda: one.knows_both(0))
            arn, leaving = one.channel_of(1, "drained"), one.pid(1)
            one.socket(one.endpoint(arn), arn)
            os.kill(leaving, signal.SIGTERM)
            one.moved(lambda: one.owner(arn) == 0)
            one.moved(lambda: one.owner(arn) == 1)  # it was started again
            assert one.pid(1) != leaving


def test_each_process_has_ports_of_its_own(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        first = cli_workers.seat(Settings(http_port=0, ops_port=0), 0, stack)
        port = first.settings.http_port
        assert port == first.http.getsockname()[1] != 0
        assert (first.given_port, first.https) == (0, None)
        assert cli_workers.seat(Settings(http_port=0, ops_port=0, slot="5"), 2, stack).settings.slot == "7"
        values = Settings(http_port=port, ops_port=0)
        with pytest.raises(SettingsError, match=f"HTTP_PORT: {port} on .* is taken"):
            cli_workers.seat(values, 0, stack)


@pytest.mark.parametrize(
    ("values", "index", "host"),
    [
        (Settings(public_host="a.test:8080"), 2, "a.test:8082"),
        (Settings(public_host="[::1]:8080"), 1, "[::1]:8081"),
        (Settings(public_host="a.test:8443", tls=True), 1, "a.test:8444"),
        (Settings(public_host="a.test:8080", tls=True), 1, "a.test:8080"),
        (Settings(public_host="a.test"), 1, "a.test"),
        (Settings(public_host="a.test:443", public_scheme="https"), 1, "a.test:443"),
        (Settings(public_host="a.test:8080", public_scheme="https"), 1, "a.test:8080"),
        (Settings(public_host="a.test:8080", http_port=0), 1, "a.test:8080"),
        (Settings(), 1, ""),
    ],
)
def test_a_public_host_with_our_own_port_names_the_others_by_theirs(values: Settings, index: int, host: str) -> None:
    assert cli_workers.public_host(values, index) == host
