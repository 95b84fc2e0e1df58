"""Who may call the control plane on which channel, and what the audit log says of it."""

import logging
from typing import Any

import pytest

from channels.auth.grant import Statement
from tests.app.api.rig import ACCOUNT, ANY, NOW_MS, UNKNOWN, Service, grant


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


async def test_a_listing_shows_the_callers_account_alone(service: Service) -> None:
    await service.create()
    service.grant = grant(ANY, account="111111111111")
    assert (await service.ok("/listSignalingChannels"))["ChannelInfoList"] == []
    assert await service.code("/describeSignalingChannel", {"ChannelName": "demo"}) == "ResourceNotFoundException 404"


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
