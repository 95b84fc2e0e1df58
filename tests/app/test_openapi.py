"""openapi.yaml is written by hand; this holds it to the code: paths, schemas, errors."""

import tomllib
import typing
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from app.api.alexa import AlexaApi
from app.api.channels import ChannelsApi
from app.api.credentials import CredentialsApi
from app.api.emulator import CLOCK_PATH, EmulatorApi
from app.api.ice import IceApi, IceSettings
from app.api.recordings import RecordedChannels, Recording
from app.api.relay_usage import RelayUsageApi
from app.api.storage import StorageApi
from app.api.tickets import TicketsApi
from app.endpoints import EndpointSettings
from app.server import JWKS_PATH, RECORDINGS_PATH
from app.wire import ErrorBody, Operation
from channels.auth.session import Sessions
from channels.auth.token import TokenSettings, new_es256_key, new_secret_key
from channels.channel import Channel
from channels.control import ControlPlane, ControlSettings
from channels.embedded.bus import EmbeddedBus
from channels.embedded.presence import EmbeddedPresence
from channels.embedded.store import MEMORY, SqliteStore
from channels.embedded.tickets import EmbeddedTickets
from channels.errors import AccessDeniedException, ServiceError
from channels.names import ChannelArn, Role
from channels.quotas import Quotas
from channels.signaling.ask import Asks
from channels.signaling.hub import Hub
from channels.signaling.limits import Limits
from channels.signaling.messages import Event
from media.recording.names import PLAYLIST

ROOT = Path(__file__).parent.parent.parent
DOCUMENT: dict[str, Any] = yaml.load((ROOT / "openapi.yaml").read_text(), yaml.CSafeLoader)
SCHEMA = "#/components/schemas/"
RESPONSE = "#/components/responses/"


class NoEmulator:
    async def reset(self) -> None:
        raise NotImplementedError

    async def advance(self, by_s: float) -> float:
        raise NotImplementedError

    def fail(self, operation: str, error: str, times: int) -> None:
        raise NotImplementedError

    async def cut(self, arn: ChannelArn, code: int, reason: str) -> None:
        raise NotImplementedError

    async def send(self, arn: ChannelArn, event: Event) -> int:
        raise NotImplementedError


class AnyoneMayEnter:
    async def check_admission(self, channel: Channel, role: Role, client_id: str) -> None:
        pass


def operations() -> tuple[Operation, ...]:
    store = SqliteStore(MEMORY)
    control = ControlPlane(store, ControlSettings(), wall_ms=lambda: 0)
    hub = Hub(EmbeddedBus(), EmbeddedPresence("n"), Limits.aws(), "n", lambda: 0.0)
    apis = (
        ChannelsApi(control, EndpointSettings()),
        IceApi(control, IceSettings((), b""), wall=lambda: 0.0),
        AlexaApi(control, Asks(hub)),
        StorageApi(control),
        TicketsApi(control, AnyoneMayEnter(), EmbeddedTickets()),
        EmulatorApi(NoEmulator()),
        CredentialsApi(Sessions([new_secret_key()], new_es256_key(), TokenSettings()), control),
        RelayUsageApi(control, lambda _: (0, 0, 0)),
    )
    store.close()
    return tuple(operation for api in apis for operation in api.operations)


OPERATIONS = operations()
RECORDINGS = {
    RECORDINGS_PATH,
    f"{RECORDINGS_PATH}/{{channelName}}",
    f"{RECORDINGS_PATH}/{{channelName}}/{PLAYLIST}",
    f"{RECORDINGS_PATH}/{{channelName}}/{{hour}}/{{file}}",
}


def answer_of(operation: Operation) -> type[msgspec.Struct]:
    answer = typing.get_type_hints(operation.handle)["return"]
    assert issubclass(answer, msgspec.Struct)
    return answer


def shortened(schema: Any) -> Any:
    """A schema as msgspec writes it, in the words of OpenAPI 3.1: null as a second type, nothing that says nothing."""
    if isinstance(schema, list):
        return [shortened(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    short = {key: shortened(value) for key, value in schema.items()}
    if isinstance(short.get("pattern"), str):
        short["pattern"] = short["pattern"].replace(r"\Z", "$")  # Python's $ lets a line end pass, OpenAPI's does not
    if isinstance(short.get("title"), str):
        del short["title"]
    for key, nothing in (("required", []), ("properties", {}), ("default", None)):
        if short.get(key, ...) == nothing:
            del short[key]
    if "enum" in short:
        short["type"] = "string"
    match short.get("anyOf"):
        case [{"type": str(kind)} as one, {"type": "null"}]:
            del short["anyOf"]
            short |= one | {"type": [kind, "null"]}
            if "enum" in one:
                short["enum"] = [*one["enum"], None]
    return short


def test_the_document_is_valid() -> None:
    from openapi_spec_validator import OpenAPIV31SpecValidator  # half a second, which every worker would pay

    OpenAPIV31SpecValidator(DOCUMENT).validate()


def test_its_version_is_that_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert (DOCUMENT["info"]["version"], DOCUMENT["info"]["license"]["name"]) == (
        project["version"],
        project["license"],
    )


def test_the_paths_are_those_of_the_operations() -> None:
    assert set(DOCUMENT["paths"]) == {operation.path for operation in OPERATIONS} | {JWKS_PATH} | RECORDINGS


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_an_operation_is_described_as_it_is_served(operation: Operation) -> None:
    methods = DOCUMENT["paths"][operation.path]
    assert set(methods) == ({"get", "post"} if operation.path == CLOCK_PATH else {"post"})
    entry = methods["post"]
    assert entry["operationId"] == operation.name
    assert entry["tags"] == [operation.service]
    content = entry["requestBody"]["content"]["application/json"]
    assert content["schema"] == {"$ref": SCHEMA + operation.request.__name__}
    answered = entry["responses"]["200"]["content"]["application/json"]
    assert answered["schema"] == {"$ref": SCHEMA + answer_of(operation).__name__}
    if "example" in content:
        msgspec.convert(content["example"], operation.request)
    if "example" in answered:
        msgspec.convert(answered["example"], answer_of(operation))
    required = shortened(msgspec.json.schema_components([operation.request])[1][operation.request.__name__])
    if "required" in required:
        assert entry["requestBody"]["required"] is True


def test_the_schemas_are_those_of_the_code() -> None:
    types = {kind for operation in OPERATIONS for kind in (operation.request, answer_of(operation))}
    _, made = msgspec.json.schema_components(
        [*types, ErrorBody, Recording, RecordedChannels], ref_template=SCHEMA + "{name}"
    )
    written = DOCUMENT["components"]["schemas"]
    assert set(written) == {*made, "PublicKeys"}
    for name, schema in made.items():
        assert written[name] == shortened(schema), name


def test_every_error_class_is_listed_under_its_status() -> None:
    statuses = {
        reference["$ref"].removeprefix(RESPONSE): int(status)
        for path in DOCUMENT["paths"].values()
        for status, reference in path.get("post", {"responses": {}})["responses"].items()
        if "$ref" in reference
    }
    listed = {
        (code, statuses[name])
        for name, answer in DOCUMENT["components"]["responses"].items()
        for code in answer.get("x-codes", ())
    }
    assert listed == {
        *((error.__name__, error.status) for error in ServiceError.__subclasses__()),
        (AccessDeniedException.__name__, 403),  # in the storage service
    }


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_the_errors_of_an_operation_are_error_classes(operation: Operation) -> None:
    entry = DOCUMENT["paths"][operation.path]["post"]
    known = {error.__name__: str(error.status) for error in ServiceError.__subclasses__()}
    assert {known[code] for code in entry["x-errors"]} <= set(entry["responses"])
    denied = "403" if operation.service == "storage" else "401"
    assert set(known.values()) - {"401"} | {denied} == set(entry["responses"]) - {"200"}


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_the_quota_is_that_of_the_aws_profile(operation: Operation) -> None:
    text = DOCUMENT["paths"][operation.path]["post"]["description"].replace("\n", " ")
    rates = Quotas.aws().rates.get(operation.name)
    if rates is None:
        assert "Quota" not in text
        return
    phrase = text.partition("Quota of the aws profile: ")[2].partition(".")[0]
    said = " ".join(phrase.replace("calls/s", "").split())
    parts = [
        f"{value:g} per {scope}"
        for scope, value in (("account", rates.account), ("channel", rates.channel), ("caller", rates.caller))
        if value is not None
    ]
    assert said == ", ".join(parts)


@pytest.mark.parametrize("path", sorted(RECORDINGS))
def test_recordings_are_read_and_may_be_refused_as_all_else(path: str) -> None:
    entry = DOCUMENT["paths"][path]
    assert set(entry) - {"parameters"} == {"get"}
    assert {"400", "401", "403", "404", "500", "503"} <= set(entry["get"]["responses"])
