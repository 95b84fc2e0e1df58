import msgspec
import pytest

from app import wire
from app.api import shapes
from app.bounds import bounds
from channels.errors import InvalidArgumentException

NAME = "1 to 256 characters of a-z A-Z 0-9 _ . -"


@pytest.mark.parametrize(
    ("request_type", "where", "words"),
    [
        (shapes.CreateSignalingChannelInput, "ChannelName", NAME),
        (shapes.ChannelReference, "ChannelName", NAME),
        (shapes.CreateSignalingChannelInput, "SingleMasterConfiguration.MessageTtlSeconds", "5 to 120"),
        (shapes.CreateSignalingChannelInput, "Tags[...].Key", "1 to 128 characters"),
        (shapes.CreateSignalingChannelInput, "Tags[3].Value", "0 to 256 characters"),
        (shapes.ListSignalingChannelsInput, "NextToken", "0 to 1024 characters of a-z A-Z 0-9 + / ="),
        (shapes.UntagResourceInput, "TagKeyList", "1 to 50 entries"),
        (shapes.TagResourceInput, "Tags", "1 or more entries"),
        (shapes.CreateSignalingChannelInput, "ChannelType", None),
        (shapes.CreateSignalingChannelInput, "Nothing.Inside[0]", None),
        (shapes.CreateSignalingChannelInput, "", None),
    ],
)
def test_a_field_says_what_it_may_be(request_type: type, where: str, words: str | None) -> None:
    assert bounds(request_type, where) == words


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b'{"ChannelName": "front door"}', f"ChannelName must be {NAME}"),
        (b'{"ChannelName": ""}', f"ChannelName must be {NAME}"),
        (
            b'{"ChannelName": "a", "SingleMasterConfiguration": {"MessageTtlSeconds": 4}}',
            "SingleMasterConfiguration.MessageTtlSeconds must be 5 to 120",
        ),
        (b'{"ChannelName": 7}', "ChannelName: expected str, got int"),
    ],
)
def test_a_refused_body_is_told_without_schema_talk(body: bytes, sentence: str) -> None:
    with pytest.raises(InvalidArgumentException) as caught:
        wire.decode(msgspec.json.Decoder(shapes.CreateSignalingChannelInput), body)
    assert caught.value.message == sentence
