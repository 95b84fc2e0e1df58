"""The stock JavaScript SDK under node against a real `heliograph serve`: wire form, order, limits, admission."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from channels.service import ServiceClient
from tests.interop import node
from tests.running import FREE_PORTS, heliograph, running

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

Result = dict[str, Any]
Scenario = Callable[..., Result]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    node.install_packages()
    home = tmp_path_factory.mktemp("service")
    with running("serve", *FREE_PORTS, home=home) as ready:
        yield home, ready["http"]


def mint(home: Path, channel: str, role: str, *more: str) -> str:
    done = heliograph("token", "--channel", channel, "--role", role, *more, home=home)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
async def scenario(service: tuple[Path, str], request: pytest.FixtureRequest) -> Scenario:
    """A function that runs one scenario on a channel of this test's own."""
    home, endpoint = service
    name = request.node.name
    token = mint(home, name, "admin")
    client = ServiceClient(endpoint, token)
    arn = (await client.call("/createSignalingChannel", {"ChannelName": name}))["ChannelARN"]
    configuration: Result = {"arn": arn, "token": token}
    for role in ("MASTER", "VIEWER"):
        wanted = {"Protocols": ["WSS"], "Role": role}
        body = {"ChannelARN": arn, "SingleMasterChannelEndpointConfiguration": wanted}
        answer = await client.call("/getSignalingChannelEndpoint", body)
        configuration[f"{role.lower()}Endpoint"] = answer["ResourceEndpointList"][0]["ResourceEndpoint"]

    def run(which: str, **more: Any) -> Result:
        result: Result = node.run("kvs_clients.mjs", which, given={**configuration, **more}, home=home)
        return result

    return run


async def test_offer_answer_and_early_candidates_pass_unchanged(scenario: Scenario) -> None:
    result = scenario("exchange")
    sent = result["sent"]
    assert result["offers"] == [{"name": "sdpOffer", "payload": sent["offer"], "clientId": "watching"}]
    assert [event["payload"] for event in result["early"]] == sent["candidates"][:2]
    assert {event["clientId"] for event in result["early"]} == {"watching"}
    # Messages to a viewer name no sender.
    assert result["answers"] == [{"name": "sdpAnswer", "payload": sent["answer"], "clientId": None}]
    assert [event["payload"] for event in result["back"]] == sent["candidates"][2:]


async def test_an_absent_recipient_is_reported_only_to_who_gave_a_correlation_id(scenario: Scenario) -> None:
    statuses = scenario("ghost")["statuses"]
    assert [status["payload"]["correlationId"] for status in statuses] == ["asked"]
    assert statuses[0]["payload"]["statusCode"] == "404"
    assert statuses[0]["payload"]["errorType"] == "ResourceNotFoundException"


async def test_a_second_master_closes_the_first(scenario: Scenario) -> None:
    result = scenario("secondMaster")
    assert result == {"first": ["open", "close"], "second": ["open", "sdpOffer"]}


async def test_a_second_viewer_of_one_client_id_closes_the_first(scenario: Scenario) -> None:
    result = scenario("sameViewer")
    assert result["first"] == ["open", "close"]
    assert result["offer"]["clientId"] == "same"


async def test_ten_viewers_enter_the_eleventh_is_refused_until_one_leaves(scenario: Scenario) -> None:
    result = scenario("crowd")
    assert result["inside"] == [True] * 10
    assert result["eleventh"] == ["error", "close"]
    assert result["next"] == ["open"]


async def test_an_offer_waits_for_a_master_that_comes_later(scenario: Scenario) -> None:
    result = scenario("viewerFirst")
    assert [event["payload"] for event in result["offers"]] == [result["sent"]]
    assert [event["payload"]["candidate"].split()[0] for event in result["candidates"]] == [
        "candidate:1",
        "candidate:2",
        "candidate:3",
    ]


async def test_tokens_open_only_their_role_channel_and_client_id(
    scenario: Scenario, service: tuple[Path, str], request: pytest.FixtureRequest
) -> None:
    home, _ = service
    name = request.node.name
    tokens = {
        "viewer": mint(home, name, "viewer"),
        "master": mint(home, name, "master"),
        "otherChannel": mint(home, "another", "viewer"),
        "bound": mint(home, name, "viewer", "--client-id", "me"),
    }
    result = scenario("tokens", tokens=tokens)
    refused = ("viewerAsMaster", "masterAsViewer", "otherChannel", "otherClientId", "noToken")
    assert {attempt: result[attempt] for attempt in refused} == {attempt: ["error", "close"] for attempt in refused}
    assert result["ownClientId"] == ["open"]
    assert result["master"] == ["open"]


def test_the_lock_file_holds_no_address() -> None:
    text = (node.FOLDER / "package-lock.json").read_text()
    assert "resolved" not in text
    assert "https://" not in text
