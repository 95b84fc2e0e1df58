from typing import Any

import httpx
import pytest

from app.api.emulator import EmulatorApi, EmulatorRoutes
from channels.errors import InvalidArgumentException, ResourceNotFoundException
from channels.names import ChannelArn
from channels.signaling.messages import Event

ARN = "arn:aws:kinesisvideo:us-west-2:000000000000:channel/demo/1700000000000"


class World:
    """Notes what it is told to do."""

    def __init__(self) -> None:
        self.offset_s = 0.0
        self.done: list[object] = []

    async def reset(self) -> None:
        self.done.append("reset")

    async def advance(self, by_s: float) -> float:
        self.offset_s += by_s
        return self.offset_s

    def fail(self, operation: str, error: str, times: int) -> None:
        if operation == "Nothing":
            raise InvalidArgumentException("operation must be one of these")
        self.done.append((operation, error, times))

    async def cut(self, arn: ChannelArn, code: int, reason: str) -> None:
        if arn.name == "nowhere":
            raise ResourceNotFoundException("there is no such channel")
        self.done.append((arn.name, code, reason))

    async def send(self, arn: ChannelArn, event: Event) -> int:
        self.done.append((arn.name, event))
        return 3


async def others(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 418, "headers": []})
    await send({"type": "http.response.body", "body": scope["path"].encode()})


def client(world: World, base: str = "http://127.0.0.1:8080") -> httpx.AsyncClient:
    routes = EmulatorRoutes(EmulatorApi(world), lambda: world.offset_s, others)
    return httpx.AsyncClient(transport=httpx.ASGITransport(routes), base_url=base)


async def test_a_reset_is_answered_when_it_is_done() -> None:
    world = World()
    async with client(world) as http:
        answer = await http.post("/_emulator/reset")
        assert (answer.status_code, answer.json()) == (200, {})
        assert (await http.post("/_emulator//reset", json={})).status_code == 200
    assert world.done == ["reset", "reset"]


async def test_the_clock_jumps_and_tells_how_far_it_is() -> None:
    async with client(World()) as http:
        assert (await http.get("/_emulator/clock")).json() == {"offsetSeconds": 0.0}
        assert (await http.post("/_emulator/clock", json={"advanceSeconds": 3600})).json() == {"offsetSeconds": 3600.0}
        assert (await http.post("/_emulator/clock", json={"advanceSeconds": 0.5})).json() == {"offsetSeconds": 3600.5}
        assert (await http.get("/_emulator/clock")).json() == {"offsetSeconds": 3600.5}


@pytest.mark.parametrize("body", [{}, {"advanceSeconds": -1}, {"advanceSeconds": "1"}, {"advanceSeconds": 1e300}])
async def test_the_clock_never_goes_back_nor_far_beyond(body: dict[str, object]) -> None:
    world = World()
    async with client(world) as http:
        answer = await http.post("/_emulator/clock", json=body)
    assert (answer.status_code, answer.json()["__type"]) == (400, "InvalidArgumentException")
    assert world.offset_s == 0.0


async def test_faults_and_cuts_reach_the_world() -> None:
    world = World()
    fault = {"operation": "CreateSignalingChannel", "error": "ClientLimitExceededException", "times": 2}
    async with client(world) as http:
        assert (await http.post("/_emulator/faults", json=fault)).status_code == 200
        assert (await http.post("/_emulator/cut", json={"channelArn": ARN, "code": 4000})).status_code == 200
        refused = await http.post("/_emulator/faults", json=fault | {"operation": "Nothing"})
        assert refused.json()["message"] == "operation must be one of these"
        nowhere = await http.post("/_emulator/cut", json={"channelArn": ARN.replace("demo", "nowhere")})
        assert nowhere.status_code == 404
    assert world.done == [
        ("CreateSignalingChannel", "ClientLimitExceededException", 2),
        ("demo", 4000, "cut by the emulator"),
    ]


async def test_events_are_told_and_counted() -> None:
    world = World()
    async with client(world) as http:
        answer = await http.post("/_emulator/send", json={"channelArn": ARN, "type": "GO_AWAY"})
        assert (answer.status_code, answer.json()) == (200, {"sent": 3})
        refused = await http.post("/_emulator/send", json={"channelArn": ARN, "type": "SDP_OFFER"})
    assert refused.status_code == 400
    assert world.done == [("demo", Event.GO_AWAY)]


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 2999, 5000])
async def test_a_code_that_no_server_may_send_is_refused(code: int) -> None:
    world = World()
    async with client(world) as http:
        answer = await http.post("/_emulator/cut", json={"channelArn": ARN, "code": code})
    assert (answer.status_code, world.done) == (400, [])


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:8080"},
        {"Host": "localhost.evil.example"},
        {"Host": "192.0.2.7:8080"},
        {"Host": ""},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:9999"},
        {"Origin": "https://127.0.0.1:8080"},
        {"Host": "localhost:8080", "Origin": "http://127.0.0.1:8080"},
    ],
    ids=str,
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_pages_of_others_drive_nothing(headers: dict[str, str], method: str) -> None:
    world = World()
    async with client(world) as http:
        answer = await http.request(method, "/_emulator/clock", json={"advanceSeconds": 60}, headers=headers)
    assert (answer.status_code, answer.json()["__type"]) == (401, "AccessDeniedException")
    assert world.offset_s == 0.0


async def test_our_own_page_and_every_loopback_name_may() -> None:
    async with client(World()) as http:
        for host in ("localhost:8080", "127.0.0.1:8080", "[::1]:8080", "m-1.kvs.localhost"):
            headers = {"Host": host, "Origin": f"http://{host}"}
            assert (await http.get("/_emulator/clock", headers=headers)).status_code == 200


async def test_no_answer_may_be_read_from_another_origin() -> None:
    async with client(World()) as http:
        for method in ("GET", "POST", "OPTIONS"):
            answer = await http.request(method, "/_emulator/clock", headers={"Origin": "https://evil.example"})
            assert answer.status_code >= 400
            assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_what_is_not_of_the_emulator_is_passed_on() -> None:
    async with client(World()) as http:
        assert (await http.get("/_emulators")).text == "/_emulators"
        assert (await http.post("/describeSignalingChannel", headers={"Host": "elsewhere"})).status_code == 418
        unknown = await http.get("/_emulator/nothing")
    assert (unknown.status_code, unknown.json()["__type"]) == (404, "UnknownOperationException")
    assert "/_emulator/reset" in unknown.json()["message"]
