"""The control plane over HTTP: paths, wire names, quotas, endpoints."""

import re
from typing import Any

import pytest

from app.endpoints import EndpointSettings
from channels.names import ChannelArn
from tests.app.api.rig import ACCOUNT, NOW_MS, Service


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


async def test_null_is_as_good_as_nothing(service: Service) -> None:
    await service.create(ChannelType=None, SingleMasterConfiguration=None, Tags=None)
    await service.create("other", SingleMasterConfiguration={"MessageTtlSeconds": None})
    listed = await service.ok(
        "/listSignalingChannels", {"MaxResults": None, "NextToken": None, "ChannelNameCondition": None}
    )
    assert len(listed["ChannelInfoList"]) == 2


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


async def test_tags_come_as_a_list_and_go_as_a_mapping(service: Service) -> None:
    arn = await service.create(Tags=[{"Key": "a", "Value": "1"}])
    more = [{"Key": "Größe", "Value": "名前 5"}, {"Key": "a", "Value": "2"}]
    assert await service.ok("/TagResource", {"ResourceARN": arn, "Tags": more}) == {}
    listed = await service.ok("/ListTagsForResource", {"ResourceARN": arn})
    assert listed == {"Tags": {"a": "2", "Größe": "名前 5"}}
    assert await service.ok("/UntagResource", {"ResourceARN": arn, "TagKeyList": ["a", "never there"]}) == {}
    assert await service.ok("/ListTagsForResource", {"ResourceARN": arn}) == {"Tags": {"Größe": "名前 5"}}


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


@pytest.mark.parametrize("path", ["/tagResource", "/CreateSignalingChannel", "/createsignalingchannel"])
async def test_the_case_of_a_path_matters(service: Service, path: str) -> None:
    assert (await service.post(path)).status_code == 404


async def test_the_arn_of_a_channel_is_an_arn(service: Service) -> None:
    assert ChannelArn.parse(await service.create()).created_ms == NOW_MS
