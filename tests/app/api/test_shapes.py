"""Wire names and members are those of the service models that boto3 ships."""

from typing import Any

import botocore.session
import msgspec
import pytest

from app.api import shapes

SESSION = botocore.session.Session()
CONTROL = SESSION.get_service_model("kinesisvideo")
SIGNALING = SESSION.get_service_model("kinesis-video-signaling")


@pytest.mark.parametrize(
    ("field", "name"),
    [("channel_arn", "ChannelARN"), ("resource_arn", "ResourceARN"), ("tag_key_list", "TagKeyList"), ("uris", "Uris")],
)
def test_a_field_has_its_name_on_the_wire(field: str, name: str) -> None:
    assert shapes.wire_name(field) == name


@pytest.mark.parametrize(
    ("model", "operation", "request_type", "answer_type"),
    [
        (CONTROL, "CreateSignalingChannel", shapes.CreateSignalingChannelInput, shapes.CreateSignalingChannelOutput),
        (CONTROL, "DescribeSignalingChannel", shapes.ChannelReference, shapes.DescribeSignalingChannelOutput),
        (CONTROL, "ListSignalingChannels", shapes.ListSignalingChannelsInput, shapes.ListSignalingChannelsOutput),
        (CONTROL, "UpdateSignalingChannel", shapes.UpdateSignalingChannelInput, shapes.Empty),
        (CONTROL, "DeleteSignalingChannel", shapes.DeleteSignalingChannelInput, shapes.Empty),
        (
            CONTROL,
            "GetSignalingChannelEndpoint",
            shapes.GetSignalingChannelEndpointInput,
            shapes.GetSignalingChannelEndpointOutput,
        ),
        (CONTROL, "TagResource", shapes.TagResourceInput, shapes.Empty),
        (CONTROL, "UntagResource", shapes.UntagResourceInput, shapes.Empty),
        (CONTROL, "ListTagsForResource", shapes.ListTagsForResourceInput, shapes.ListTagsForResourceOutput),
        (
            CONTROL,
            "DescribeMediaStorageConfiguration",
            shapes.ChannelReference,
            shapes.DescribeMediaStorageConfigurationOutput,
        ),
        (SIGNALING, "GetIceServerConfig", shapes.GetIceServerConfigInput, shapes.GetIceServerConfigOutput),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_members_are_those_of_the_service_model(
    model: Any, operation: str, request_type: type[msgspec.Struct], answer_type: type[msgspec.Struct]
) -> None:
    found = model.operation_model(operation)
    assert set(request_type.__struct_encode_fields__) == set(found.input_shape.members)
    required = {field.encode_name for field in msgspec.structs.fields(request_type) if field.required}
    assert required == set(found.input_shape.required_members)
    # NextToken of ListTagsForResource is never given out: all tags come at once
    missing = {"NextToken"} if operation == "ListTagsForResource" else set()
    assert set(answer_type.__struct_encode_fields__) == set(found.output_shape.members) - missing


@pytest.mark.parametrize(
    ("model", "shape", "kind"),
    [
        (CONTROL, "ChannelInfo", shapes.ChannelInfo),
        (CONTROL, "Tag", shapes.Tag),
        (CONTROL, "ChannelNameCondition", shapes.ChannelNameCondition),
        (CONTROL, "SingleMasterConfiguration", shapes.SingleMasterConfiguration),
        (CONTROL, "SingleMasterConfiguration", shapes.ChannelSettings),
        (CONTROL, "SingleMasterChannelEndpointConfiguration", shapes.EndpointConfiguration),
        (CONTROL, "ResourceEndpointListItem", shapes.ResourceEndpoint),
        (CONTROL, "MediaStorageConfiguration", shapes.MediaStorageConfiguration),
        (SIGNALING, "IceServer", shapes.IceServerEntry),
    ],
)
def test_inner_members_are_those_of_the_service_model(model: Any, shape: str, kind: type[msgspec.Struct]) -> None:
    assert set(kind.__struct_encode_fields__) == set(model.shape_for(shape).members)
