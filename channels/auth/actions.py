"""Names of the actions that permissions are about, and what to say of one that is none. Pure.

Source: Service Authorization Reference, actions of Amazon Kinesis Video Streams; GetRecording is ours.
"""

import difflib

from channels.auth.grant import ACTION_PREFIX, covers_action

SERVED = (
    "ConnectAsMaster",
    "ConnectAsViewer",
    "CreateSignalingChannel",
    "DeleteSignalingChannel",
    "DescribeMappedResourceConfiguration",
    "DescribeMediaStorageConfiguration",
    "DescribeSignalingChannel",
    "GetIceServerConfig",
    "GetRecording",
    "GetSignalingChannelEndpoint",
    "JoinStorageSession",
    "JoinStorageSessionAsViewer",
    "ListSignalingChannels",
    "ListTagsForResource",
    "SendAlexaOfferToMaster",
    "TagResource",
    "UntagResource",
    "UpdateMediaStorageConfiguration",
    "UpdateSignalingChannel",
)
OF_STREAMS = (
    "CreateStream",
    "DeleteEdgeConfiguration",
    "DeleteStream",
    "DescribeEdgeConfiguration",
    "DescribeImageGenerationConfiguration",
    "DescribeNotificationConfiguration",
    "DescribeStream",
    "DescribeStreamStorageConfiguration",
    "GetClip",
    "GetDASHStreamingSessionURL",
    "GetDataEndpoint",
    "GetHLSStreamingSessionURL",
    "GetImages",
    "GetMedia",
    "GetMediaForFragmentList",
    "ListEdgeAgentConfigurations",
    "ListFragments",
    "ListStreams",
    "ListTagsForStream",
    "PutMedia",
    "StartEdgeConfigurationUpdate",
    "TagStream",
    "UntagStream",
    "UpdateDataRetention",
    "UpdateImageGenerationConfiguration",
    "UpdateNotificationConfiguration",
    "UpdateStream",
    "UpdateStreamStorageConfiguration",
)
_BY_LOWER_CASE = {name.lower(): name for name in SERVED}


def advice(pattern: str) -> str:
    """Return what to say of an action pattern that covers none of the actions served; empty when it covers one."""
    if any(covers_action(pattern, name) for name in SERVED):
        return ""
    if any(covers_action(pattern, name) for name in OF_STREAMS):
        return f"{pattern} is about streams, which this service does not have"
    near = nearest(pattern)
    return f"{pattern} is no action" + (f"; did you mean {ACTION_PREFIX}{near}?" if near else "")


def nearest(text: str) -> str:
    """Return the action served whose name, without prefix, is most like `text`; empty when none is."""
    name = text.rpartition(":")[2].lower()
    near = difflib.get_close_matches(name, _BY_LOWER_CASE, n=1, cutoff=0.7)
    return _BY_LOWER_CASE[near[0]] if near else ""
