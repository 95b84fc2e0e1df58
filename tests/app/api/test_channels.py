"""The control plane over HTTP: paths, wire names, permissions, quotas, endpoints."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.endpoints import EndpointSettings
from channels.auth.grant import Statement
from channels.names import ChannelArn
from channels.quotas import Quotas
from tests.app.api.rig import ACCOUNT, ANY, NOW_MS, UNKNOWN, Service, grant


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    made = Service()
    yield made
    await made.close()


async def test_a_channel_is_created_and_described_by_name_and_by_arn(service: Service) -> None:
    arn = await service.create(SingleMasterConfiguration={"MessageTtlSeconds": 30})
    by_name = await service.ok("/describeSignalingChannel", {"ChannelName": "demo"})
    assert by_name == await service.ok("/describeSignalingChannel", {"ChannelARN": arn})
    assert by_name == await service.ok("/describeSignalingChannel", {"ChannelARN": arn, "ChannelName": "demo"})
    info = by_name["ChannelInfo"]
    assert re.fullmatch(r"[a-zA-Z0-9]{1,64}", info.pop("Version"))
    assert info == {
        "ChannelName": "demo",
        "ChannelARN": f"arn:aws:kinesisvideo:us-west-2:{ACCOUNT}:channel/demo/{NOW_MS}",
        "ChannelType": "SINGLE_MASTER",
        "ChannelStatus": "ACTIVE",
        "CreationTime": 1_700_000_000.123,
        "SingleMasterConfiguration": {"MessageTtlSeconds": 30},
    }


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


async def test_null_is_as_good_as_nothing(service: Service) -> None:
    await service.create(ChannelType=None, SingleMasterConfiguration=None, Tags=None)
    await service.create("other", SingleMasterConfiguration={"MessageTtlSeconds": None})
    listed = await service.ok(
        "/listSignalingChannels", {"MaxResults": None, "NextToken": None, "ChannelNameCondition": None}
    )
    assert len(listed["ChannelInfoList"]) == 2


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
    ("path", "body"),
    [
        ("/describeSignalingChannel", {"ChannelName": "nobody"}),
        ("/describeSignalingChannel", {"ChannelARN": UNKNOWN}),
        ("/describeMediaStorageConfiguration", {"ChannelName": "nobody"}),
        ("/updateSignalingChannel", {"ChannelARN": UNKNOWN, "CurrentVersion": "v"}),
        ("/deleteSignalingChannel", {"ChannelARN": UNKNOWN}),
        ("/getSignalingChannelEndpoint", {"ChannelARN": UNKNOWN}),
        ("/TagResource", {"ResourceARN": UNKNOWN, "Tags": [{"Key": "a", "Value": "b"}]}),
        ("/UntagResource", {"ResourceARN": UNKNOWN, "TagKeyList": ["a"]}),
        ("/ListTagsForResource", {"ResourceARN": UNKNOWN}),
    ],
)
async def test_an_unknown_channel_is_not_found_but_denied_to_who_may_not_ask(
    service: Service, path: str, body: Any
) -> None:
    assert await service.code(path, body) == "ResourceNotFoundException 404"
    service.grant = grant()
    assert await service.code(path, body) == "AccessDeniedException 401"


async def test_update_and_delete_need_the_version_that_clients_see(service: Service) -> None:
    arn = await service.create()
    version = (await service.ok("/describeSignalingChannel", {"ChannelARN": arn}))["ChannelInfo"]["Version"]
    change = {"SingleMasterConfiguration": {"MessageTtlSeconds": 5}}
    body = {"ChannelARN": arn, "CurrentVersion": version, **change}
    assert await service.ok("/updateSignalingChannel", body) == {}
    info = (await service.ok("/describeSignalingChannel", {"ChannelARN": arn}))["ChannelInfo"]
    assert info["SingleMasterConfiguration"] == {"MessageTtlSeconds": 5}
    assert info["Version"] != version
    assert await service.code("/updateSignalingChannel", body) == "VersionMismatchException 400"
    stale = {"ChannelARN": arn, "CurrentVersion": version}
    assert await service.code("/deleteSignalingChannel", stale) == "VersionMismatchException 400"
    for wrong in ("", "v 1", "v" * 65):
        bad = {"ChannelARN": arn, "CurrentVersion": wrong}
        assert await service.code("/deleteSignalingChannel", bad) == "InvalidArgumentException 400"
    assert await service.ok("/deleteSignalingChannel", {"ChannelARN": arn, "CurrentVersion": info["Version"]}) == {}
    assert await service.code("/deleteSignalingChannel", {"ChannelARN": arn}) == "ResourceNotFoundException 404"


async def test_pages_end_and_hold_each_channel_once(service: Service) -> None:
    names = [f"cam-{number}" for number in range(7)]
    for name in reversed(names):
        await service.create(name)
    await service.create("door")
    seen: list[str] = []
    body: dict[str, Any] = {
        "MaxResults": 2,
        "ChannelNameCondition": {"ComparisonOperator": "BEGINS_WITH", "ComparisonValue": "cam-"},
    }
    while True:
        page = await service.ok("/listSignalingChannels", body)
        seen += [info["ChannelName"] for info in page["ChannelInfoList"]]
        if "NextToken" not in page:
            break
        assert re.fullmatch(r"[a-zA-Z0-9+/=]{1,1024}", page["NextToken"])
        body["NextToken"] = page["NextToken"]
    assert seen == names


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


async def test_a_listing_shows_the_callers_account_alone(service: Service) -> None:
    await service.create()
    service.grant = grant(ANY, account="111111111111")
    assert (await service.ok("/listSignalingChannels"))["ChannelInfoList"] == []
    assert await service.code("/describeSignalingChannel", {"ChannelName": "demo"}) == "ResourceNotFoundException 404"


async def test_tags_come_as_a_list_and_go_as_a_mapping(service: Service) -> None:
    arn = await service.create(Tags=[{"Key": "a", "Value": "1"}])
    more = [{"Key": "Größe", "Value": "名前 5"}, {"Key": "a", "Value": "2"}]
    assert await service.ok("/TagResource", {"ResourceARN": arn, "Tags": more}) == {}
    listed = await service.ok("/ListTagsForResource", {"ResourceARN": arn})
    assert listed == {"Tags": {"a": "2", "Größe": "名前 5"}}
    assert await service.ok("/UntagResource", {"ResourceARN": arn, "TagKeyList": ["a", "never there"]}) == {}
    assert await service.ok("/ListTagsForResource", {"ResourceARN": arn}) == {"Tags": {"Größe": "名前 5"}}


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


async def test_endpoints_differ_by_role_and_have_neither_slash_nor_default_port(service: Service) -> None:
    arn = await service.create()

    async def endpoints(host: str, configuration: Any = None) -> list[tuple[str, str]]:
        body = {"ChannelARN": arn, "SingleMasterChannelEndpointConfiguration": configuration}
        answer = await service.post("/getSignalingChannelEndpoint", body, host)
        assert answer.status_code == 200, answer.text
        return [(item["Protocol"], item["ResourceEndpoint"]) for item in answer.json()["ResourceEndpointList"]]

    both = {"Protocols": ["HTTPS", "WSS", "HTTPS"], "Role": "MASTER"}
    assert await endpoints("kvs.test:8080", both) == [
        ("HTTPS", "http://kvs.test:8080"),
        ("WSS", "ws://kvs.test:8080/master"),
    ]
    assert await endpoints("kvs.test:80", {"Protocols": ["WSS"], "Role": "VIEWER"}) == [("WSS", "ws://kvs.test/viewer")]
    assert await endpoints("[::1]:80") == [("WSS", "ws://[::1]/viewer"), ("HTTPS", "http://[::1]")]


async def test_the_endpoints_are_those_of_the_settings() -> None:
    service = Service(endpoint=EndpointSettings("kvs.example.com", "https"))
    answer = await service.ok("/getSignalingChannelEndpoint", {"ChannelARN": await service.create()})
    told = [item["ResourceEndpoint"] for item in answer["ResourceEndpointList"]]
    assert told == ["wss://kvs.example.com/viewer", "https://kvs.example.com"]
    await service.close()


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


@pytest.mark.parametrize("path", ["/tagResource", "/CreateSignalingChannel", "/createsignalingchannel"])
async def test_the_case_of_a_path_matters(service: Service, path: str) -> None:
    assert (await service.post(path)).status_code == 404


async def test_each_operation_needs_its_own_permission(service: Service) -> None:
    arn = await service.create()
    calls = {
        "CreateSignalingChannel": ("/createSignalingChannel", {"ChannelName": "other"}),
        "DescribeSignalingChannel": ("/describeSignalingChannel", {"ChannelName": "demo"}),
        "ListSignalingChannels": ("/listSignalingChannels", {}),
        "GetSignalingChannelEndpoint": ("/getSignalingChannelEndpoint", {"ChannelARN": arn}),
        "TagResource": ("/TagResource", {"ResourceARN": arn, "Tags": [{"Key": "a", "Value": "b"}]}),
        "UntagResource": ("/UntagResource", {"ResourceARN": arn, "TagKeyList": ["a"]}),
        "ListTagsForResource": ("/ListTagsForResource", {"ResourceARN": arn}),
        "DescribeMediaStorageConfiguration": ("/describeMediaStorageConfiguration", {"ChannelARN": arn}),
        "UpdateSignalingChannel": ("/updateSignalingChannel", {"ChannelARN": arn, "CurrentVersion": "stale"}),
        "DeleteSignalingChannel": ("/deleteSignalingChannel", {"ChannelARN": arn, "CurrentVersion": "stale"}),
    }
    for action, (path, body) in calls.items():
        others = tuple(f"kinesisvideo:{name}" for name in calls if name != action)
        service.grant = grant(Statement(others, ("*",)))
        assert await service.code(path, body) == "AccessDeniedException 401", action
        service.grant = grant(Statement((f"kinesisvideo:{action}",), ("*",)))
        answer = await service.post(path, body)
        assert answer.status_code == 200 or answer.json()["__type"] == "VersionMismatchException", action


async def test_a_pattern_of_a_name_allows_that_name(service: Service) -> None:
    pattern = f"arn:aws:kinesisvideo:us-west-2:{ACCOUNT}:channel/cam-*/*"
    service.grant = grant(Statement(("kinesisvideo:*",), (pattern,)))
    arn = await service.create("cam-1")
    assert await service.code("/createSignalingChannel", {"ChannelName": "door"}) == "AccessDeniedException 401"
    assert await service.ok("/describeSignalingChannel", {"ChannelName": "cam-1"})
    assert await service.code("/describeSignalingChannel", {"ChannelName": "cam-2"}) == "ResourceNotFoundException 404"
    assert await service.code("/describeSignalingChannel", {"ChannelName": "door"}) == "AccessDeniedException 401"
    assert await service.code("/listSignalingChannels") == "AccessDeniedException 401"
    assert await service.ok("/deleteSignalingChannel", {"ChannelARN": arn}) == {}


async def test_a_denial_does_not_tell_whether_the_channel_exists(service: Service) -> None:
    await service.create("there")
    service.grant = grant()
    there, nowhere = [
        (await service.post("/describeSignalingChannel", {"ChannelName": name})).json() for name in ("there", "nowhere")
    ]
    assert str(NOW_MS) not in there["Message"]
    assert there["Message"].replace("there", "X") == nowhere["Message"].replace("nowhere", "X")


async def test_a_channel_of_another_account_is_out_of_reach(service: Service) -> None:
    arn = await service.create()
    service.grant = grant(ANY, account="111111111111")
    for path, body in (
        ("/describeSignalingChannel", {"ChannelARN": arn}),
        ("/deleteSignalingChannel", {"ChannelARN": arn}),
        ("/getSignalingChannelEndpoint", {"ChannelARN": arn}),
    ):
        assert (await service.post(path, body)).json()["__type"] in (
            "AccessDeniedException",
            "ResourceNotFoundException",
        )
    service.grant = grant(ANY)
    assert await service.ok("/describeSignalingChannel", {"ChannelARN": arn})


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


@settings(max_examples=60)
@given(st.lists(st.dictionaries(st.sampled_from(FIELDS), VALUE, max_size=4), min_size=1, max_size=3))
def test_no_body_makes_the_service_fail(bodies: list[Any]) -> None:
    async def run() -> None:
        service = Service()
        await service.create()
        for operation in service.operations:
            for body in bodies:
                answer = await service.post(operation.path, body)
                assert answer.status_code in (200, 400, 404), answer.text
        await service.close()

    asyncio.run(run())


async def test_the_arn_of_a_channel_is_an_arn(service: Service) -> None:
    assert ChannelArn.parse(await service.create()).created_ms == NOW_MS


def audited(caplog: pytest.LogCaptureFixture) -> list[tuple[str, ...]]:
    """Each call as operation, channel, statement and result."""
    lines = [record.__dict__ for record in caplog.records if record.name == "heliograph.audit"]
    return [tuple(str(line.get(key)) for key in ("operation", "channel", "sid", "code")) for line in lines]


async def test_the_audit_log_says_what_was_decided_on_and_by_which_statement(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="heliograph.audit")
    service.grant = grant(Statement(("kinesisvideo:*",), ("*",), sid="all"))
    arn = await service.create()
    await service.ok("/describeSignalingChannel", {"ChannelName": "demo"})
    await service.ok("/listSignalingChannels")
    service.grant = grant(Statement(("*",), ("*",), sid="all"), Statement(("*",), (arn,), is_allowed=False, sid="no"))
    await service.code("/deleteSignalingChannel", {"ChannelARN": arn})
    await service.code("/describeSignalingChannel", {"ChannelName": "demo"})
    pattern = f"arn:aws:kinesisvideo:us-west-2:{ACCOUNT}:channel/demo/*"
    assert audited(caplog) == [
        ("CreateSignalingChannel", pattern, "all", "OK"),
        ("DescribeSignalingChannel", arn, "all", "OK"),
        ("ListSignalingChannels", "*", "all", "OK"),
        ("DeleteSignalingChannel", arn, "no", "AccessDeniedException"),
        ("DescribeSignalingChannel", arn, "no", "AccessDeniedException"),
    ]
