"""`heliograph channel`: make, show, list and remove channels through the API of the endpoint."""

import argparse
import asyncio
import datetime
import json
import sys
from typing import Any, TypeVar

from app.access import access_of
from app.cli_table import print_table
from app.exits import CommandError, Exit, unreachable
from app.settings import Loaded
from channels.errors import ServiceError
from channels.service import EndpointUnreachableError, ServiceClient

T = TypeVar("T")
_COLUMNS = ("ChannelName", "ChannelStatus", "MessageTtlSeconds", "CreationTime", "ChannelARN")


def run(arguments: argparse.Namespace, loaded: Loaded) -> Exit:
    """Do the verb and print what the service answered."""
    try:
        client = ServiceClient(loaded.settings.endpoint, access_of(loaded.settings))
        asyncio.run(_VERBS[arguments.verb](client, arguments))
    except EndpointUnreachableError as error:
        raise unreachable(error) from None
    return Exit.OK


async def _create(client: ServiceClient, arguments: argparse.Namespace) -> None:
    body: dict[str, object] = {"ChannelName": arguments.name, "Tags": [_tag(text) for text in arguments.tag]}
    if arguments.message_ttl is not None:
        body["SingleMasterConfiguration"] = {"MessageTtlSeconds": arguments.message_ttl}
    answer = await client.call("/createSignalingChannel", body)
    arn = _part(answer, "ChannelARN", str)
    print(json.dumps(answer) if arguments.json else arn)


def _part(answer: dict[str, Any], name: str, kind: type[T] | tuple[type[T], ...]) -> T:
    part = answer.get(name)
    if not isinstance(part, kind):
        raise EndpointUnreachableError(f"the endpoint answered without {name}: is another program listening there?")
    return part


def _tag(text: str) -> dict[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise CommandError(f"--tag {text}: a tag is KEY=VALUE", Exit.USAGE)
    return {"Key": key, "Value": value}


async def _describe(client: ServiceClient, arguments: argparse.Namespace) -> None:
    answer = await client.call("/describeSignalingChannel", {"ChannelName": arguments.name})
    channel = _part(answer, "ChannelInfo", dict)
    used = await _usage(client, channel)
    if arguments.json:
        print(json.dumps(channel | ({"RelayUsage": used} if used else {})))
        return
    rows = _row(channel)
    if used:
        rows["Relay"] = "allocations {:,}, bytes to peers {:,}, bytes to clients {:,}".format(*used.values())
    for name, value in rows.items():
        print(f"{name:<18} {value}")


async def _usage(client: ServiceClient, channel: dict[str, Any]) -> dict[str, int]:
    """What it relays, where the service tells."""
    try:
        used = await client.call("/v1/relay-usage", {"channelArn": _part(channel, "ChannelARN", str)})
    except ServiceError:
        return {}
    numbers = {name: used.get(name) for name in ("allocations", "bytesToPeers", "bytesToClients")}
    counts = {name: number for name, number in numbers.items() if isinstance(number, int)}
    return counts if len(counts) == len(numbers) else {}


async def _delete(client: ServiceClient, arguments: argparse.Namespace) -> None:
    answer = await client.call("/describeSignalingChannel", {"ChannelName": arguments.name})
    arn = _part(_part(answer, "ChannelInfo", dict), "ChannelARN", str)
    await client.call("/deleteSignalingChannel", {"ChannelARN": arn})
    print(json.dumps({"ChannelARN": arn}) if arguments.json else f"deleted {arn}")


async def _list(client: ServiceClient, arguments: argparse.Namespace) -> None:
    body: dict[str, object] = {}
    if arguments.prefix:
        body["ChannelNameCondition"] = {"ComparisonOperator": "BEGINS_WITH", "ComparisonValue": arguments.prefix}
    channels: list[dict[str, Any]] = []
    while True:
        answer = await client.call("/listSignalingChannels", body)
        channels += _part(answer, "ChannelInfoList", list)
        if not answer.get("NextToken"):
            break
        body["NextToken"] = answer["NextToken"]
    if arguments.json:
        print(json.dumps(channels))
    elif channels:
        print_table(_COLUMNS, [_row(channel) for channel in channels])
    else:
        print("no channels; make one: heliograph channel create NAME", file=sys.stderr)


def _row(channel: dict[str, Any]) -> dict[str, str]:
    flat = channel | channel.get("SingleMasterConfiguration", {})
    made = datetime.datetime.fromtimestamp(_part(channel, "CreationTime", (int, float)), datetime.UTC)
    flat["CreationTime"] = made.isoformat(timespec="seconds")
    return {name: str(flat.get(name, "")) for name in _COLUMNS}


_VERBS = {"create": _create, "describe": _describe, "delete": _delete, "list": _list}
