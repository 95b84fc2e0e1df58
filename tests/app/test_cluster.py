"""Two real services over one Redis are one: channels, keys, tickets, revocations, messages and deletions."""

import contextlib
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.nodes import LIMIT_S, Service
from tests.redis_server import RedisServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


class Cluster(Service):
    """Two nodes over a Redis of their own, and websockets to them."""

    def __init__(self, folder: Path, redis: RedisServer, stack: contextlib.ExitStack) -> None:
        super().__init__(folder, redis.url)
        self.redis = redis
        self._stack = stack

    def socket(self, node: int, role: str, **query: str) -> ClientConnection:
        query = query if "ticket" in query else {"token": self.token, **query}
        address = f"{self.nodes[node].websocket}/{role}?{urlencode(query)}"
        for left in reversed(range(5)):
            try:
                return self._stack.enter_context(connect(address, compression=None))
            except InvalidStatus as error:  # 503 while Redis does not answer in time
                if error.response.status_code != 503 or not left:
                    raise
        raise AssertionError


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    with RedisServer(folder / "redis", appendonly=True) as redis, contextlib.ExitStack() as stack:
        yield stack.enter_context(Cluster(folder, redis, stack))


def send(socket: ClientConnection, action: str, payload: str, **more: str) -> None:
    socket.send(json.dumps({"action": action, "messagePayload": payload, **more}))


def close_of(socket: ClientConnection) -> tuple[int, str]:
    with pytest.raises(ConnectionClosed) as closed:
        socket.recv(timeout=LIMIT_S)
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code, closed.value.rcvd.reason


def test_master_and_viewer_of_two_nodes_exchange_offer_and_answer(service: Cluster) -> None:
    arn = {"X-Amz-ChannelARN": service.create("door")}
    master = service.socket(0, "master", **arn)
    viewer = service.socket(1, "viewer", **arn, **{"X-Amz-ClientId": "v-1"})
    send(viewer, "SDP_OFFER", "b2ZmZXI=")
    offer = json.loads(master.recv(timeout=LIMIT_S))
    assert (offer["messageType"], offer["messagePayload"], offer["senderClientId"]) == ("SDP_OFFER", "b2ZmZXI=", "v-1")
    send(master, "SDP_ANSWER", "YW5zd2Vy", recipientClientId="v-1")
    answer = json.loads(viewer.recv(timeout=LIMIT_S))
    assert (answer["messageType"], answer["messagePayload"]) == ("SDP_ANSWER", "YW5zd2Vy")


def test_a_ticket_of_one_node_opens_a_socket_at_the_other(service: Cluster) -> None:
    arn = service.create("ticketed")
    ticket = service.call(0, "/v1/connect-ticket", {"channelArn": arn, "role": "VIEWER", "clientId": "v-1"})["ticket"]
    assert service.socket(1, "viewer", ticket=ticket).ping().wait(LIMIT_S)


def test_a_revoked_credential_ends_its_sockets_on_both_nodes(service: Cluster) -> None:
    arn = {"X-Amz-ChannelARN": service.create("revoked")}
    text = str(service.command("token", "--role", "viewer", node=1)["token"])
    sockets = [service.socket(node, "viewer", **arn, **{"X-Amz-ClientId": f"v-{node}"}, token=text) for node in (0, 1)]
    service.command("key", "revoke", text)
    assert [close_of(socket) for socket in sockets] == [(1008, "the credential was revoked")] * 2


def test_a_deleted_channel_ends_its_sockets_on_both_nodes_and_is_gone(service: Cluster) -> None:
    arn = {"X-Amz-ChannelARN": service.create("deleted", node=1)}
    sockets = [service.socket(0, "master", **arn), service.socket(1, "viewer", **arn, **{"X-Amz-ClientId": "v-1"})]
    service.call(1, "/deleteSignalingChannel", {"ChannelARN": arn["X-Amz-ChannelARN"]})
    assert [close_of(socket) for socket in sockets] == [(1001, "the channel was deleted")] * 2
    with pytest.raises(urllib.error.HTTPError, match="404"):
        service.call(0, "/describeSignalingChannel", {"ChannelName": "deleted"})


def test_a_deletion_that_was_not_heard_ends_the_sockets_when_the_node_is_back(service: Cluster) -> None:
    arn = {"X-Amz-ChannelARN": service.create("missed")}
    kept = service.socket(1, "master", **{"X-Amz-ChannelARN": service.create("kept")})
    socket = service.socket(1, "master", **arn)
    service.redis.command("HDEL", "heliograph:{catalog:000000000000:us-west-2}:channels", "missed")
    service.redis.command("CLIENT", "KILL", "TYPE", "pubsub")
    assert close_of(socket) == (1001, "the channel was deleted")
    assert kept.ping().wait(LIMIT_S)


def test_relays_of_all_nodes_take_credentials_of_one_secret(service: Cluster) -> None:
    arn = service.create("relayed")
    servers = [service.call(node, "/v1/get-ice-server-config", {"ChannelARN": arn}) for node in (0, 1)]
    assert len({json.dumps(each) for each in servers}) == 2  # each its own relay
    shared = [Path(folder) for folder in service.folder.glob("*/state/heliograph/shared/turn.secret")]
    assert len({path.read_text() for path in shared}) == 1
    assert len(shared) >= 3
