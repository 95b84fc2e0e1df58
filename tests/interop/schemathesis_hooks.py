"""Hooks of the schemathesis run: every other body names a channel that is there, so that calls get past the lookup.

`HELIOGRAPH_CHANNELS` holds them as JSON: `answered` has a master, `spare` may be deleted, `versions` are those at the
start, by ARN. Loaded by schemathesis (SCHEMATHESIS_HOOKS), not by pytest.
"""

import json
import os
from typing import Any

import schemathesis

CHANNELS = json.loads(os.environ["HELIOGRAPH_CHANNELS"])
MEMBERS = ("ChannelARN", "ResourceARN", "channelArn")


ALEXA = "SendAlexaOfferToMaster"  # waits for a master: it must never meet a channel that has none


def pool(operation: str) -> list[str]:
    """The channels that a call of this operation may name."""
    if operation == "DeleteSignalingChannel":
        return list(CHANNELS["spare"])
    return list(CHANNELS["answered"] if operation == ALEXA else CHANNELS["versions"])


@schemathesis.hook
def map_body(context: schemathesis.HookContext, body: Any) -> Any:
    """Put an ARN in the place of a made-up one, chosen by its length so that a run can be repeated.

    schemathesis remembers ARNs that the service told it, too.
    """
    if not isinstance(body, dict) or context.operation is None:
        return body
    operation = str(context.operation.definition.raw["operationId"])
    arns = pool(operation)
    for member in MEMBERS:
        value = body.get(member)
        if isinstance(value, str) and (len(value) % 2 or (operation == ALEXA and value.startswith("arn:"))):
            body[member] = arns[len(value) // 2 % len(arns)]
            if "CurrentVersion" in body:
                body["CurrentVersion"] = CHANNELS["versions"].get(body[member], body["CurrentVersion"])
    return body
