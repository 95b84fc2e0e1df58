"""Media storage as a client of KVS meets it where there is none."""

from typing import Any

import pytest

from channels.auth.grant import Statement
from channels.quotas import Quotas
from tests.app.api.rig import ACCOUNT, UNKNOWN, Service, grant

STREAM = f"arn:aws:kinesisvideo:us-west-2:{ACCOUNT}:stream/tape/1700000000000"


def update(arn: str, **configuration: Any) -> tuple[str, dict[str, Any]]:
    return "/updateMediaStorageConfiguration", {"ChannelARN": arn, "MediaStorageConfiguration": configuration}


async def test_media_storage_is_disabled(service: Service) -> None:
    arn = await service.create()
    for reference in ({"ChannelARN": arn}, {"ChannelName": "demo"}):
        assert await service.ok("/describeMediaStorageConfiguration", reference) == {
            "MediaStorageConfiguration": {"Status": "DISABLED", "StreamARN": None}
        }


async def test_disabling_what_is_disabled_changes_nothing(service: Service) -> None:
    arn = await service.create()
    before = await service.ok("/describeSignalingChannel", {"ChannelARN": arn})
    assert await service.ok(*update(arn, Status="DISABLED")) == {}
    assert await service.ok(*update(arn, Status="DISABLED", StreamARN=STREAM)) == {}
    assert await service.ok("/describeSignalingChannel", {"ChannelARN": arn}) == before


async def test_enabling_is_refused_with_the_reason(service: Service) -> None:
    arn = await service.create()
    answer = await service.post(*update(arn, Status="ENABLED", StreamARN=STREAM))
    assert (answer.status_code, answer.json()["__type"]) == (400, "InvalidArgumentException")
    assert "must be DISABLED, this service stores no media" in answer.json()["Message"]


@pytest.mark.parametrize(
    "configuration",
    [
        {},
        {"Status": None},
        {"Status": "on"},
        {"Status": "disabled"},
        {"Status": "DISABLED", "StreamARN": "tape"},
        {"Status": "DISABLED", "StreamARN": UNKNOWN},
        {"Status": "DISABLED", "StreamARN": STREAM + "\n"},
        {"Status": "DISABLED", "StreamARN": ""},
    ],
)
async def test_a_wrong_update_is_refused(service: Service, configuration: Any) -> None:
    arn = await service.create()
    assert await service.code(*update(arn, **configuration)) == "InvalidArgumentException 400"
    assert await service.code(*update("demo", Status="DISABLED")) == "InvalidArgumentException 400"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"StreamName": None},
        {"StreamName": "two words"},
        {"StreamName": "tape\n"},
        {"StreamName": "t" * 257},
        {"StreamARN": "tape"},
        {"StreamARN": UNKNOWN},
        {"StreamARN": STREAM, "StreamName": "other"},
        {"StreamName": "tape", "MaxResults": 0},
        {"StreamName": "tape", "MaxResults": 2},
        {"StreamName": "tape", "NextToken": "a b"},
        {"StreamName": "tape", "NextToken": "AAAA"},
        {"StreamName": "tape", "NextToken": "A" * 1025},
    ],
)
async def test_a_wrong_question_for_a_stream_is_refused(service: Service, body: Any) -> None:
    assert await service.code("/describeMappedResourceConfiguration", body) == "InvalidArgumentException 400"


@pytest.mark.parametrize(
    "body",
    [
        {"StreamName": "tape"},
        {"StreamARN": STREAM},
        {"StreamARN": STREAM, "StreamName": "tape"},
        {"StreamName": "tape", "MaxResults": 1, "NextToken": ""},
    ],
)
async def test_there_is_no_stream(service: Service, body: Any) -> None:
    assert await service.code("/describeMappedResourceConfiguration", body) == "ResourceNotFoundException 404"
    resource = f"arn:aws:kinesisvideo:us-west-2:{ACCOUNT}:stream/tape/*"
    service.grant = grant(Statement(("kinesisvideo:DescribeMappedResourceConfiguration",), (resource,)))
    assert await service.code("/describeMappedResourceConfiguration", body) == "ResourceNotFoundException 404"
    service.grant = grant()
    assert await service.code("/describeMappedResourceConfiguration", body) == "AccessDeniedException 401"


@pytest.mark.parametrize(
    ("path", "more"), [("/joinStorageSession", {}), ("/joinStorageSessionAsViewer", {"clientId": "viewer-1"})]
)
async def test_nobody_joins_a_recording(service: Service, path: str, more: Any) -> None:
    body = {"channelArn": await service.create(), **more}
    answer = await service.post(path, body)
    assert (answer.status_code, answer.json()["__type"]) == (400, "InvalidArgumentException")
    assert "no media storage" in answer.json()["message"], "camelCase services write the member in lower case"
    assert await service.code(path, {**body, "channelArn": UNKNOWN}) == "ResourceNotFoundException 404"
    assert await service.code(path, {**body, "channelArn": "demo"}) == "InvalidArgumentException 400"
    assert await service.code(path, {"ChannelARN": body["channelArn"]}) == "InvalidArgumentException 400"
    service.grant = grant()
    assert await service.code(path, body) == "AccessDeniedException 403"


@pytest.mark.parametrize("client_id", [None, "", "two words", "v\n", "AWS_viewer", "aws_viewer", "v" * 257])
async def test_who_joins_as_viewer_has_a_client_id(service: Service, client_id: str | None) -> None:
    body = {"channelArn": await service.create(), "clientId": client_id}
    answer = await service.post("/joinStorageSessionAsViewer", body)
    assert (answer.status_code, answer.json()["__type"]) == (400, "InvalidArgumentException")
    assert "client" in answer.json()["message"].lower()


@pytest.mark.parametrize(
    ("action", "path", "body", "code"),
    [
        (
            "UpdateMediaStorageConfiguration",
            "/updateMediaStorageConfiguration",
            {"ChannelARN": UNKNOWN, "MediaStorageConfiguration": {"Status": "ENABLED"}},
            "AccessDeniedException 401",
        ),
        ("JoinStorageSession", "/joinStorageSession", {"channelArn": UNKNOWN}, "AccessDeniedException 403"),
        (
            "JoinStorageSessionAsViewer",
            "/joinStorageSessionAsViewer",
            {"channelArn": UNKNOWN, "clientId": "v"},
            "AccessDeniedException 403",
        ),
    ],
)
async def test_an_unknown_channel_is_not_found_but_denied_to_who_may_not_ask(
    service: Service, action: str, path: str, body: Any, code: str
) -> None:
    service.grant = grant(Statement((f"kinesisvideo:{action}",), ("*",)))
    assert await service.code(path, body) == "ResourceNotFoundException 404"
    service.grant = grant(Statement(("kinesisvideo:Describe*",), ("*",)))
    assert await service.code(path, body) == code


@pytest.mark.parametrize(
    ("path", "body", "value", "count"),
    [
        ("/updateMediaStorageConfiguration", {"MediaStorageConfiguration": {"Status": "DISABLED"}}, 5, 10),
        ("/describeMappedResourceConfiguration", {"StreamName": "tape"}, 10, 20),
    ],
)
async def test_the_aws_profile_holds_the_calls_to_their_rate(path: str, body: Any, value: float, count: int) -> None:
    service = Service(Quotas.aws())
    body = {"ChannelARN": await service.create(), **body}
    for _ in range(count):
        assert (await service.post(path, body)).status_code in (200, 404)
    answer = (await service.post(path, body)).json()
    assert (answer["__type"], answer["limit"]["value"]) == ("ClientLimitExceededException", value)
    assert answer["limit"]["retryAfterSeconds"] > 0
    await service.close()
