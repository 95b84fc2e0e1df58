"""Two real services over one Redis are one: channels, keys, tickets, revocations, messages and deletions."""

import contextlib
import json
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.redis_server import RedisServer
from tests.running import FREE_PORTS, heliograph, running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]
LIMIT_S = 5.0


class Service:
    """Two nodes, by number, with a Redis of their own."""

    def __init__(self, folder: Path, redis: RedisServer, stack: contextlib.ExitStack) -> None:
        self.redis = redis
        self._folder = folder
        self._stack = stack
        self.nodes = [
            stack.enter_context(running("serve", "--redis", redis.url, *FREE_PORTS, home=folder / f"node-{number}"))
            for number in range(2)
        ]
        self.token = str(self.command("token", "--role", "admin")["token"])

    def command(self, *words: str, node: int = 0) -> dict[str, Any]:
        """Run the command line as on the machine of a node."""
        home = self._folder / f"command-{node}"
        done = heliograph(*words, "--redis", self.redis.url, "--json", home=home)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def call(self, node: int, path: str, body: dict[str, Any]) -> dict[str, Any]:
        request = urllib.request.Request(
            self.nodes[node]["http"] + path, json.dumps(body).encode(), {"Authorization": f"Bearer {self.token}"}
        )
        with urllib.request.urlopen(request, timeout=LIMIT_S) as answer:
            found: dict[str, Any] = json.loads(answer.read())
        return found

    def create(self, name: str, node: int = 0) -> str:
        return str(self.call(node, "/createSignalingChannel", {"ChannelName": name})["ChannelARN"])

    def socket(self, node: int, role: str, **query: str) -> ClientConnection:
        place = self.nodes[node]["http"].replace("http://", "ws://")
        query = query if "ticket" in query else {"token": self.token, **query}
        return self._stack.enter_context(connect(f"{place}/{role}?{urlencode(query)}", compression=None))

    def ready(self, node: int) -> dict[str, Any]:
        try:
            with urllib.request.urlopen(self.nodes[node]["ops"] + "/readyz", timeout=LIMIT_S) as answer:
                found: dict[str, Any] = json.loads(answer.read())
        except urllib.error.HTTPError as error:
            found = json.loads(error.read())
        return found


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("cluster")
    with RedisServer(folder / "redis", appendonly=True) as redis, contextlib.ExitStack() as stack:
        yield Service(folder, redis, stack)


def send(socket: ClientConnection, action: str, payload: str, **more: str) -> None:
    socket.send(json.dumps({"action": action, "messagePayload": payload, **more}))


def close_of(socket: ClientConnection) -> tuple[int, str]:
    with pytest.raises(ConnectionClosed) as closed:
        socket.recv(timeout=LIMIT_S)
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code, closed.value.rcvd.reason


def test_master_and_viewer_of_two_nodes_exchange_offer_and_answer(service: Service) -> None:
    arn = {"X-Amz-ChannelARN": service.create("door")}
    master = service.socket(0, "master", **arn)
    viewer = service.socket(1, "viewer", **arn, **{"X-Amz-ClientId": "v-1"})
    send(viewer, "SDP_OFFER", "b2ZmZXI=")
    offer = json.loads(master.recv(timeout=LIMIT_S))
    assert (offer["messageType"], offer["messagePayload"], offer["senderClientId"]) == ("SDP_OFFER", "b2ZmZXI=", "v-1")
    send(master, "SDP_ANSWER", "YW5zd2Vy", recipientClientId="v-1")
    answer = json.loads(viewer.recv(timeout=LIMIT_S))
    assert (answer["messageType"], answer["messagePayload"]) == ("SDP_ANSWER", "YW5zd2Vy")


def test_a_ticket_of_one_node_opens_a_socket_at_the_other(service: Service) -> None:
    arn = service.create("ticketed")
    ticket = service.call(0, "/v1/connect-ticket", {"channelArn": arn, "role": "VIEWER", "clientId": "v-1"})["ticket"]
    assert service.socket(1, "viewer", ticket=ticket).ping().wait(LIMIT_S)


def test_a_revoked_credential_ends_its_sockets_on_both_nodes(service: Service) -> None:
    arn = {"X-Amz-ChannelARN": service.create("revoked")}
    text = str(service.command("token", "--role", "viewer", node=1)["token"])
    sockets = [service.socket(node, "viewer", **arn, **{"X-Amz-ClientId": f"v-{node}"}, token=text) for node in (0, 1)]
    service.command("key", "revoke", text)
    started = time.monotonic()
    assert [close_of(socket) for socket in sockets] == [(1008, "the credential was revoked")] * 2
    assert time.monotonic() - started < 2.0


def test_a_deleted_channel_ends_its_sockets_on_both_nodes_and_is_gone(service: Service) -> None:
    arn = {"X-Amz-ChannelARN": service.create("deleted", node=1)}
    sockets = [service.socket(0, "master", **arn), service.socket(1, "viewer", **arn, **{"X-Amz-ClientId": "v-1"})]
    service.call(1, "/deleteSignalingChannel", {"ChannelARN": arn["X-Amz-ChannelARN"]})
    assert [close_of(socket) for socket in sockets] == [(1001, "the channel was deleted")] * 2
    with pytest.raises(urllib.error.HTTPError, match="404"):
        service.call(0, "/describeSignalingChannel", {"ChannelName": "deleted"})


def test_a_deletion_that_was_not_heard_ends_the_sockets_when_the_node_is_back(service: Service) -> None:
    arn = {"X-Amz-ChannelARN": service.create("missed")}
    kept = service.socket(1, "master", **{"X-Amz-ChannelARN": service.create("kept")})
    socket = service.socket(1, "master", **arn)
    service.redis.command("HDEL", "heliograph:{catalog:000000000000:us-west-2}:channels", "missed")
    service.redis.command("CLIENT", "KILL", "TYPE", "pubsub")
    assert close_of(socket) == (1001, "the channel was deleted")
    assert kept.ping().wait(LIMIT_S)


def test_relays_of_all_nodes_take_credentials_of_one_secret(service: Service) -> None:
    arn = service.create("relayed")
    servers = [service.call(node, "/v1/get-ice-server-config", {"ChannelARN": arn}) for node in (0, 1)]
    assert len({json.dumps(each) for each in servers}) == 2  # each its own relay
    shared = [Path(folder) for folder in service._folder.glob("*/state/heliograph/shared/turn.secret")]
    assert len({path.read_text() for path in shared}) == 1
    assert len(shared) >= 3


def test_readiness_is_red_without_redis_and_liveness_is_not(service: Service) -> None:
    assert service.ready(0)["status"] == "ok"
    service.redis.stop()
    give_up_at = time.monotonic() + 15.0
    while "redis" not in service.ready(0)["failing"]:
        assert time.monotonic() < give_up_at
    with urllib.request.urlopen(service.nodes[0]["ops"] + "/livez", timeout=LIMIT_S) as answer:
        assert answer.status == 200
    service.redis.cont()
    for node in (0, 1):
        while service.ready(node)["status"] != "ok":
            assert time.monotonic() < give_up_at + 15.0
