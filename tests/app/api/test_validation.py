"""Every field of every operation, wrong in every way that boto3 lets through: the service itself refuses it.

A row of the table is a field of a body that is good but for it; the error is the one that the service models name.
"""

import copy
from typing import Any

import pytest

from tests.app.api.rig import ACCOUNT, UNKNOWN, Service

OTHER_TYPES = [7, 1.5, True, [], {}, [""], {"a": "b"}]
MISSING = object()
REQUIRED = [MISSING, None]
NAME = ["", "a" * 257, "two words", "demo\n", "grün", "a/b", "\u0000", *OTHER_TYPES]
CLIENT_ID = [*NAME, "AWS_viewer", "aws_viewer", "Aws_"]
ARN = [
    "",
    "demo",
    UNKNOWN + "\n",
    UNKNOWN.replace(":channel/", ":stream/"),
    UNKNOWN.replace(ACCOUNT, "12"),
    UNKNOWN.replace("/1700000000000", "/0001700000000000"),
    UNKNOWN.replace("nobody", "no body"),
    UNKNOWN.replace("nobody", "n" * 1000),
    *OTHER_TYPES,
]
STREAM = f"arn:aws:kinesisvideo:us-west-2:{ACCOUNT}:stream/tape/1700000000000"
STREAM_ARN = ["", "tape", STREAM + "\n", UNKNOWN, STREAM.replace(ACCOUNT, "12"), *OTHER_TYPES]
VERSION = ["", "v" * 65, "v-1", "v\n", *OTHER_TYPES]
TTL = [4, 121, -1, 2**70, 60.0, "60", True, [], {}]
PAGE_TOKEN = ["a b", "a-b", "A" * 1025, "AAAA", "AAAA\n", *OTHER_TYPES]
TAG_KEY = ["", "k" * 129, "a;b", "a\n", "a\tb", "<a>", *OTHER_TYPES]
TAG_VALUE = ["v" * 257, "a;b", "a\n", "\u0000", *OTHER_TYPES]
STRUCTURE = ["", "x", 7, [], [{}], True]
LIST = ["", "x", 7, {}, True, [None], [7]]
PAYLOAD = ["", "v=0", "QUJD\n", "QUJDR", "Q===", "A" * 10_004, *OTHER_TYPES]
ENDPOINT = "SingleMasterChannelEndpointConfiguration"


def enum(*almost: str) -> list[Any]:
    return ["", *almost, *OTHER_TYPES]


def bodies(arn: str) -> dict[str, Any]:
    """A body for each operation in which nothing is wrong."""
    tags = [{"Key": "k", "Value": "v"}]
    ttl = {"MessageTtlSeconds": 60}
    condition = {"ComparisonOperator": "BEGINS_WITH", "ComparisonValue": "d"}
    return {
        "/createSignalingChannel": {
            "ChannelName": "new",
            "ChannelType": "SINGLE_MASTER",
            "SingleMasterConfiguration": ttl,
            "Tags": tags,
        },
        "/describeSignalingChannel": {"ChannelARN": arn},
        "/describeMediaStorageConfiguration": {"ChannelName": "demo"},
        "/listSignalingChannels": {"MaxResults": 10, "ChannelNameCondition": condition},
        "/updateSignalingChannel": {
            "ChannelARN": arn,
            "CurrentVersion": "stale",
            "SingleMasterConfiguration": ttl,
        },
        "/deleteSignalingChannel": {"ChannelARN": arn, "CurrentVersion": "stale"},
        "/getSignalingChannelEndpoint": {
            "ChannelARN": arn,
            ENDPOINT: {"Protocols": ["WSS", "HTTPS"], "Role": "MASTER"},
        },
        "/TagResource": {"ResourceARN": arn, "Tags": tags},
        "/UntagResource": {"ResourceARN": arn, "TagKeyList": ["k"]},
        "/ListTagsForResource": {"ResourceARN": arn},
        "/updateMediaStorageConfiguration": {
            "ChannelARN": arn,
            "MediaStorageConfiguration": {"Status": "DISABLED", "StreamARN": STREAM},
        },
        "/describeMappedResourceConfiguration": {"StreamARN": STREAM, "MaxResults": 1},
        "/v1/get-ice-server-config": {"ChannelARN": arn, "ClientId": "v", "Service": "TURN", "Username": "u"},
        "/v1/send-alexa-offer-to-master": {
            "ChannelARN": UNKNOWN,
            "SenderClientId": "echo",
            "MessagePayload": "QUJD",
        },
        "/joinStorageSession": {"channelArn": UNKNOWN},
        "/joinStorageSessionAsViewer": {"channelArn": UNKNOWN, "clientId": "v"},
        "/v1/connect-ticket": {"channelArn": arn, "role": "VIEWER", "clientId": "v"},
        "/v1/relay-usage": {"channelArn": arn},
    }


ROWS: list[tuple[str, str, list[Any]]] = [
    ("/createSignalingChannel", "ChannelName", [*REQUIRED, *NAME]),
    ("/createSignalingChannel", "ChannelType", enum("FULL_MESH", "MESH", "single_master")),
    ("/createSignalingChannel", "SingleMasterConfiguration", STRUCTURE),
    ("/createSignalingChannel", "SingleMasterConfiguration.MessageTtlSeconds", TTL),
    ("/createSignalingChannel", "Tags", LIST),
    ("/createSignalingChannel", "Tags.0.Key", [*REQUIRED, *TAG_KEY]),
    ("/createSignalingChannel", "Tags.0.Value", [*REQUIRED, *TAG_VALUE]),
    ("/describeSignalingChannel", "ChannelARN", [*REQUIRED, *ARN]),
    ("/describeSignalingChannel", "ChannelName", ["other", *NAME]),
    ("/describeMediaStorageConfiguration", "ChannelName", [*REQUIRED, *NAME]),
    ("/describeMediaStorageConfiguration", "ChannelARN", ARN),
    ("/listSignalingChannels", "MaxResults", [0, 10_001, -1, 2**70, 5.0, "5", True, [], {}]),
    ("/listSignalingChannels", "NextToken", PAGE_TOKEN),
    ("/listSignalingChannels", "ChannelNameCondition", STRUCTURE),
    ("/listSignalingChannels", "ChannelNameCondition.ComparisonOperator", enum("ENDS_WITH", "begins_with")),
    ("/listSignalingChannels", "ChannelNameCondition.ComparisonValue", NAME),
    ("/updateSignalingChannel", "ChannelARN", [*REQUIRED, *ARN]),
    ("/updateSignalingChannel", "CurrentVersion", [*REQUIRED, *VERSION]),
    ("/updateSignalingChannel", "SingleMasterConfiguration", STRUCTURE),
    ("/updateSignalingChannel", "SingleMasterConfiguration.MessageTtlSeconds", TTL),
    ("/deleteSignalingChannel", "ChannelARN", [*REQUIRED, *ARN]),
    ("/deleteSignalingChannel", "CurrentVersion", VERSION),
    ("/getSignalingChannelEndpoint", "ChannelARN", [*REQUIRED, *ARN]),
    ("/getSignalingChannelEndpoint", ENDPOINT, STRUCTURE),
    ("/getSignalingChannelEndpoint", f"{ENDPOINT}.Protocols", [[], ["WSS"] * 6, ["WEBRTC"], ["wss"], *LIST]),
    ("/getSignalingChannelEndpoint", f"{ENDPOINT}.Role", enum("master", "OWNER")),
    ("/TagResource", "ResourceARN", [*REQUIRED, *ARN]),
    ("/TagResource", "Tags", [*REQUIRED, [], *LIST, [{"Key": "a", "Value": ""}] * 2]),
    ("/TagResource", "Tags.0.Key", [*REQUIRED, *TAG_KEY]),
    ("/TagResource", "Tags.0.Value", [*REQUIRED, *TAG_VALUE]),
    ("/UntagResource", "ResourceARN", [*REQUIRED, *ARN]),
    ("/UntagResource", "TagKeyList", [*REQUIRED, [], [f"k{number}" for number in range(51)], *LIST]),
    ("/UntagResource", "TagKeyList.0", TAG_KEY),
    ("/ListTagsForResource", "ResourceARN", [*REQUIRED, *ARN]),
    ("/ListTagsForResource", "NextToken", PAGE_TOKEN),
    ("/updateMediaStorageConfiguration", "ChannelARN", [*REQUIRED, *ARN]),
    ("/updateMediaStorageConfiguration", "MediaStorageConfiguration", [*REQUIRED, *STRUCTURE]),
    ("/updateMediaStorageConfiguration", "MediaStorageConfiguration.Status", [*REQUIRED, *enum("ENABLED", "disabled")]),
    ("/updateMediaStorageConfiguration", "MediaStorageConfiguration.StreamARN", STREAM_ARN),
    ("/describeMappedResourceConfiguration", "StreamARN", [*REQUIRED, *STREAM_ARN]),
    ("/describeMappedResourceConfiguration", "StreamName", ["other", *NAME]),
    ("/describeMappedResourceConfiguration", "MaxResults", [0, 2, 1.0, "1", True, []]),
    ("/describeMappedResourceConfiguration", "NextToken", PAGE_TOKEN),
    ("/v1/get-ice-server-config", "ChannelARN", [*REQUIRED, *ARN]),
    ("/v1/get-ice-server-config", "ClientId", CLIENT_ID),
    ("/v1/get-ice-server-config", "Service", enum("STUN", "turn")),
    ("/v1/get-ice-server-config", "Username", NAME),
    ("/v1/send-alexa-offer-to-master", "ChannelARN", [*REQUIRED, *ARN]),
    ("/v1/send-alexa-offer-to-master", "SenderClientId", [*REQUIRED, *CLIENT_ID]),
    ("/v1/send-alexa-offer-to-master", "MessagePayload", [*REQUIRED, *PAYLOAD]),
    ("/joinStorageSession", "channelArn", [*REQUIRED, *ARN]),
    ("/joinStorageSessionAsViewer", "channelArn", [*REQUIRED, *ARN]),
    ("/joinStorageSessionAsViewer", "clientId", [*REQUIRED, *CLIENT_ID]),
    ("/v1/connect-ticket", "channelArn", [*REQUIRED, *ARN]),
    ("/v1/connect-ticket", "role", [*REQUIRED, *enum("viewer", "OWNER")]),
    ("/v1/connect-ticket", "clientId", [*REQUIRED, *CLIENT_ID]),
    ("/v1/relay-usage", "channelArn", [*REQUIRED, *ARN]),
]


def changed(body: Any, field: str, value: Any) -> Any:
    """The body with another value at the dotted `field`, or without it."""
    made = copy.deepcopy(body)
    *outer, last = (int(name) if name.isdigit() else name for name in field.split("."))
    inner = made
    for name in outer:
        inner = inner[name]
    if value is MISSING:
        del inner[last]
    else:
        inner[last] = value
    return made


async def test_the_table_has_every_operation_and_its_bodies_are_good(service: Service) -> None:
    good = bodies(await service.create())
    assert set(good) == {operation.path for operation in service.operations} == {path for path, _, _ in ROWS}
    for path, body in good.items():
        answer = await service.post(path, body)
        wrong_elsewhere = ("ResourceNotFoundException", "VersionMismatchException")
        assert answer.status_code == 200 or answer.json()["__type"] in wrong_elsewhere, (path, answer.text)


async def test_the_table_has_every_field(service: Service) -> None:
    known = {(path, field.split(".")[0]) for path, field, _ in ROWS}
    fields = {(one.path, name) for one in service.operations for name in one.request.__struct_encode_fields__}
    assert known == fields


@pytest.mark.parametrize(("path", "field", "wrong"), ROWS, ids=[f"{path} {field}" for path, field, _ in ROWS])
async def test_a_wrong_value_is_an_invalid_argument(service: Service, path: str, field: str, wrong: list[Any]) -> None:
    body = bodies(await service.create())[path]
    if path == "/v1/send-alexa-offer-to-master" and field == "MessagePayload":
        body["ChannelARN"] = bodies(await service.create("ask"))["/ListTagsForResource"]["ResourceARN"]
    for value in wrong:
        answer = await service.post(path, changed(body, field, value))
        found = (answer.status_code, answer.json().get("__type"))
        assert found == (400, "InvalidArgumentException"), (value, answer.text)
        assert answer.headers["x-amzn-RequestId"]
        assert answer.json().get("Message") or answer.json()["message"]
        assert len(answer.content) < 3500


@pytest.mark.parametrize(
    ("path", "change"),
    [
        ("/createSignalingChannel", {"ChannelName": "a" * 256}),
        ("/createSignalingChannel", {"ChannelName": "a"}),
        ("/createSignalingChannel", {"SingleMasterConfiguration": {"MessageTtlSeconds": 5}}),
        ("/createSignalingChannel", {"SingleMasterConfiguration": {"MessageTtlSeconds": 120}}),
        ("/createSignalingChannel", {"Tags": [{"Key": "ключ 1_.:/=+-@", "Value": ""}]}),
        ("/createSignalingChannel", {"Tags": [{"Key": "k" * 128, "Value": "v" * 256}]}),
        ("/createSignalingChannel", {"Tags": []}),
        ("/listSignalingChannels", {"MaxResults": 1}),
        ("/listSignalingChannels", {"MaxResults": 10_000, "NextToken": ""}),
        ("/listSignalingChannels", {"ChannelNameCondition": {}}),
        ("/getSignalingChannelEndpoint", {ENDPOINT: {"Protocols": ["WSS"] * 5}}),
        ("/UntagResource", {"TagKeyList": [f"k{number}" for number in range(50)]}),
        ("/ListTagsForResource", {"NextToken": ""}),
        ("/v1/get-ice-server-config", {"ClientId": "v" * 256}),
        ("/v1/get-ice-server-config", {"ClientId": None, "Service": None, "Username": None}),
        ("/updateMediaStorageConfiguration", {"MediaStorageConfiguration": {"Status": "DISABLED", "StreamARN": None}}),
    ],
)
async def test_the_bounds_themselves_are_good(service: Service, path: str, change: Any) -> None:
    assert await service.ok(path, {**bodies(await service.create())[path], **change}) is not None
