"""What the control plane refuses, and how much it takes and answers."""

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from channels.quotas import Quotas
from tests.app.api.rig import UNKNOWN, Service


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"ChannelName": ""},
        {"ChannelName": "a" * 257},
        {"ChannelName": "two words"},
        {"ChannelName": "demo\n"},
        {"ChannelName": None},
        {"ChannelName": 7},
        {"ChannelName": "demo", "ChannelType": "MESH"},
        {"ChannelName": "demo", "ChannelType": "FULL_MESH"},
        {"ChannelName": "demo", "SingleMasterConfiguration": {"MessageTtlSeconds": 4}},
        {"ChannelName": "demo", "SingleMasterConfiguration": {"MessageTtlSeconds": 121}},
        {"ChannelName": "demo", "SingleMasterConfiguration": {"MessageTtlSeconds": 58.0}},
        {"ChannelName": "demo", "SingleMasterConfiguration": []},
        {"ChannelName": "demo", "Tags": {"a": "b"}},
        {"ChannelName": "demo", "Tags": [{"Key": "a"}]},
        {"ChannelName": "demo", "Tags": [{"Key": "", "Value": ""}]},
        {"ChannelName": "demo", "Tags": [{"Key": "a;b", "Value": ""}]},
        {"ChannelName": "demo", "Tags": [{"Key": "a", "Value": ""}, {"Key": "a", "Value": ""}]},
    ],
)
async def test_a_wrong_channel_is_refused(service: Service, body: Any) -> None:
    assert await service.code("/createSignalingChannel", body) == "InvalidArgumentException 400"
    assert (await service.ok("/listSignalingChannels"))["ChannelInfoList"] == []


async def test_limits_of_names_tags_and_the_account(service: Service) -> None:
    await service.create("a" * 256, Tags=[{"Key": f"k{n}", "Value": ""} for n in range(50)])
    too_many = {"ChannelName": "b", "Tags": [{"Key": f"k{n}", "Value": ""} for n in range(51)]}
    assert await service.code("/createSignalingChannel", too_many) == "TagsPerResourceExceededLimitException 400"
    assert await service.code("/createSignalingChannel", {"ChannelName": "a" * 256}) == "ResourceInUseException 400"
    for number in range(59):
        await service.create(f"c{number}")
    answer = await service.post("/createSignalingChannel", {"ChannelName": "late"})
    assert answer.json()["__type"] == "AccountChannelLimitExceededException"
    assert answer.json()["limit"] == {"name": "channels_per_account", "value": 60}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"ChannelARN": "demo"},
        {"ChannelName": "demo", "ChannelARN": UNKNOWN},
        {"ChannelARN": "arn:aws:s3:::bucket"},
        {"ChannelARN": "x" * 1025},
    ],
)
@pytest.mark.parametrize("path", ["/describeSignalingChannel", "/describeMediaStorageConfiguration"])
async def test_a_reference_that_names_no_channel_is_refused(service: Service, path: str, body: Any) -> None:
    assert await service.code(path, body) == "InvalidArgumentException 400"


@pytest.mark.parametrize(
    "body",
    [
        {"MaxResults": 0},
        {"MaxResults": 10_001},
        {"MaxResults": "5"},
        {"NextToken": "abcd"},
        {"NextToken": "****"},
        {"NextToken": "A" * 1025},
        {"ChannelNameCondition": {"ComparisonOperator": "ENDS_WITH", "ComparisonValue": "x"}},
        {"ChannelNameCondition": {"ComparisonValue": "two words"}},
        {"ChannelNameCondition": {"ComparisonValue": ""}},
    ],
)
async def test_a_wrong_listing_is_refused(service: Service, body: Any) -> None:
    assert await service.code("/listSignalingChannels", body) == "InvalidArgumentException 400"


async def test_wrong_tags_are_refused(service: Service) -> None:
    arn = await service.create(Tags=[{"Key": f"k{n}", "Value": ""} for n in range(50)])
    one = {"ResourceARN": arn, "Tags": [{"Key": "one", "Value": "more"}]}
    assert await service.code("/TagResource", one) == "TagsPerResourceExceededLimitException 400"
    for path, body in (
        ("/TagResource", {"Tags": []}),
        ("/TagResource", {}),
        ("/TagResource", {"Tags": [{"Key": "k" * 129, "Value": ""}]}),
        ("/UntagResource", {"TagKeyList": []}),
        ("/UntagResource", {"TagKeyList": [f"k{n}" for n in range(51)]}),
        ("/UntagResource", {"TagKeyList": ["a;b"]}),
        ("/ListTagsForResource", {"NextToken": "AAAA"}),
    ):
        assert await service.code(path, {"ResourceARN": arn, **body}) == "InvalidArgumentException 400"


@pytest.mark.parametrize(
    "configuration",
    [
        {"Protocols": ["WEBRTC"]},
        {"Protocols": []},
        {"Protocols": ["WSS"] * 6},
        {"Protocols": ["ws"]},
        {"Role": "OWNER"},
        {"Role": "master"},
    ],
)
async def test_a_wrong_endpoint_question_is_refused(service: Service, configuration: Any) -> None:
    body = {"ChannelARN": await service.create(), "SingleMasterChannelEndpointConfiguration": configuration}
    assert await service.code("/getSignalingChannelEndpoint", body) == "InvalidArgumentException 400"


async def test_the_aws_profile_holds_a_channel_to_its_calls_per_second() -> None:
    service = Service(Quotas.aws())
    arn = await service.create()
    await service.create("other")
    for _ in range(10):
        await service.ok("/describeSignalingChannel", {"ChannelName": "demo"})
    answer = await service.post("/describeSignalingChannel", {"ChannelARN": arn})
    assert (answer.status_code, answer.json()["__type"]) == (400, "ClientLimitExceededException")
    assert answer.json()["limit"] == {"name": "calls_per_second_per_channel", "value": 5, "retryAfterSeconds": 0.2}
    assert answer.headers["retry-after"] == "1"
    await service.ok("/describeSignalingChannel", {"ChannelName": "other"})
    await service.close()


async def test_the_largest_answers_for_devices_stay_small(service: Service) -> None:
    tags = [{"Key": f"{n:0128}", "Value": "v" * 256} for n in range(50)]
    arn = await service.create("n" * 256, Tags=tags)
    for path, body in (
        ("/describeSignalingChannel", {"ChannelARN": arn}),
        ("/getSignalingChannelEndpoint", {"ChannelARN": arn}),
    ):
        assert len((await service.post(path, body)).content) < 3500


FIELDS = ["ChannelName", "ChannelARN", "ResourceARN", "CurrentVersion", "Tags", "TagKeyList", "NextToken", "MaxResults"]
FIELDS += ["SingleMasterConfiguration", "SingleMasterChannelEndpointConfiguration", "ChannelNameCondition"]
GOOD = ["demo", UNKNOWN, "v1", [{"Key": "a", "Value": "b"}], ["a"], 5, {"MessageTtlSeconds": 60}, {"Role": "MASTER"}]
GOOD += [{"Protocols": ["WSS"]}, {"ComparisonValue": "d"}, [], {}, "", 2**70, 1.5]
VALUE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from(GOOD),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["Key", "Value", "Role"]), inner),
    max_leaves=6,
)


CALL = st.tuples(st.integers(0, 99), st.dictionaries(st.sampled_from(FIELDS), VALUE, max_size=4))


@pytest.mark.slow
@settings(max_examples=60)
@given(st.lists(CALL, min_size=3, max_size=8))
def test_no_body_makes_the_service_fail(calls: list[tuple[int, Any]]) -> None:
    async def run() -> None:
        service = Service()
        await service.create()
        for number, body in calls:
            operation = service.operations[number % len(service.operations)]
            answer = await service.post(operation.path, body)
            assert answer.status_code in (200, 400, 404), answer.text
        await service.close()

    asyncio.run(run())
