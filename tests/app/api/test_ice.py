"""GetIceServerConfig: only what is served, bound to the channel, within the bounds of device SDKs."""

import logging
from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import pytest
from starlette.applications import Starlette
from starlette.requests import HTTPConnection
from starlette.routing import Route

from app.api.ice import IceApi, IceSettings
from app.wire import operation_endpoint
from channels import ice
from channels.auth.grant import Grant, Statement
from channels.control import ControlPlane, ControlSettings
from channels.embedded.store import MEMORY, SqliteStore
from channels.names import ChannelArn
from channels.quotas import Quotas

ACCOUNT = "000000000000"
PATH = "/v1/get-ice-server-config"
URIS = ("turn:127.0.0.1:3478?transport=udp",)
SECRET = b"a secret of the relay"
GRANT = Grant("alice", ACCOUNT, (Statement(("kinesisvideo:GetIceServerConfig",), ("*",)),), 2_000_000_000.0)


class Service:
    """The operation behind HTTP; `uris` and `grant` may be changed between calls."""

    def __init__(self, quotas: Quotas, *, is_for_coturn: bool = False) -> None:
        self.store = SqliteStore(MEMORY)
        self.grant = GRANT
        self.uris = URIS
        self.minted: list[tuple[str, float]] = []
        self.control = ControlPlane(
            self.store, ControlSettings(quotas=quotas), wall_ms=lambda: 1_700_000_000_000, now=lambda: 0.0
        )
        api = IceApi(
            self.control,
            IceSettings(lambda: self.uris, SECRET, is_for_coturn=is_for_coturn),
            wall=lambda: 1_700_000_000.5,
            on_minted=lambda *told: self.minted.append(told),
        )
        routes = [
            Route(operation.path, operation_endpoint(operation, self._authenticate), methods=["POST"])
            for operation in api.operations
        ]
        self._http = httpx.AsyncClient(transport=httpx.ASGITransport(Starlette(routes=routes)), base_url="http://kvs")

    def _authenticate(self, connection: HTTPConnection, body: bytes) -> Grant:
        return self.grant

    async def create(self, name: str = "demo") -> ChannelArn:
        return (await self.control.create(ACCOUNT, name)).arn

    async def post(self, body: Any) -> httpx.Response:
        return await self._http.post(PATH, json=body)

    async def code(self, body: Any) -> str:
        answer = await self.post(body)
        assert answer.json()["message"], "this service writes message in lower case"
        return f"{answer.json()['__type']} {answer.status_code}"

    async def close(self) -> None:
        await self._http.aclose()
        self.store.close()


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    made = Service(Quotas.relaxed())
    yield made
    await made.close()


async def test_the_answer_is_what_is_served_with_a_credential_of_the_channel(service: Service) -> None:
    arn = await service.create()
    answer = await service.post({"ChannelARN": str(arn), "ClientId": "viewer-1", "Service": "TURN", "Username": "u"})
    username, password = ice.mint(SECRET, arn, "viewer-1", 1_700_000_000.5)
    assert answer.json() == {
        "IceServerList": [{"Uris": list(URIS), "Username": username, "Password": password, "Ttl": 300}]
    }
    keys = ice.turn_keys(username, [SECRET])
    assert keys is not None
    assert password in keys.passwords
    assert (keys.channel, keys.expires_at) == (ice.channel_digest(arn), 1_700_000_300.0)


async def test_the_password_is_one_for_coturn_where_that_relays() -> None:
    service = Service(Quotas.relaxed(), is_for_coturn=True)
    answer = await service.post({"ChannelARN": str(await service.create())})
    (server,) = answer.json()["IceServerList"]
    assert server["Password"] == ice.coturn_password(SECRET, server["Username"])
    await service.close()


async def test_a_client_id_is_not_needed_and_need_not_be_connected(service: Service) -> None:
    arn = await service.create()
    for body in ({}, {"ClientId": None}, {"ClientId": "ProducerMaster"}, {"ClientId": "MASTER"}):
        assert (await service.post({"ChannelARN": str(arn), **body})).status_code == 200


@pytest.mark.parametrize("name", ["d", "n" * 110, "n" * 256])
async def test_the_answer_keeps_the_bounds_of_device_sdks(service: Service, name: str) -> None:
    arn = await service.create(name)
    answer = await service.post({"ChannelARN": str(arn), "ClientId": "c" * 256})
    assert len(answer.content) < 3500
    (server,) = answer.json()["IceServerList"]
    assert 1 <= len(server["Uris"]) <= 4
    assert server["Ttl"] > 30
    assert len(server["Username"]) <= 256
    assert len(server["Password"]) <= 256


async def test_an_unknown_channel_is_not_found(service: Service) -> None:
    unknown = f"arn:aws:kinesisvideo:us-west-2:{ACCOUNT}:channel/nobody/1700000000000"
    assert await service.code({"ChannelARN": unknown}) == "ResourceNotFoundException 404"
    service.grant = msgspec.structs.replace(GRANT, statements=())
    assert await service.code({"ChannelARN": unknown}) == "NotAuthorizedException 401"


@pytest.mark.parametrize(
    "change",
    [
        {"ChannelARN": "demo"},
        {"ChannelARN": None},
        {"ClientId": "two words"},
        {"ClientId": ""},
        {"ClientId": "c" * 257},
        {"ClientId": "aws_viewer"},
        {"ClientId": "viewer\n"},
        {"Service": "STUN"},
        {"Username": "u u"},
    ],
)
async def test_wrong_fields_are_refused(service: Service, change: dict[str, Any]) -> None:
    arn = await service.create()
    assert await service.code({"ChannelARN": str(arn), **change}) == "InvalidArgumentException 400"


async def test_a_token_of_one_client_id_gets_credentials_for_that_one_alone(service: Service) -> None:
    arn = await service.create()
    service.grant = msgspec.structs.replace(GRANT, client_id="viewer-1")
    assert await service.code({"ChannelARN": str(arn), "ClientId": "viewer-2"}) == "NotAuthorizedException 401"
    for body in ({}, {"ClientId": "viewer-1"}):
        answer = await service.post({"ChannelARN": str(arn), **body})
        assert answer.json()["IceServerList"][0]["Username"] == ice.mint(SECRET, arn, "viewer-1", 1_700_000_000.0)[0]


async def test_the_user_name_tells_what_of_the_caller_can_be_revoked(service: Service) -> None:
    arn = await service.create()
    service.grant = msgspec.structs.replace(GRANT, credential_ids=("ASIA", "AKIA"))
    username = (await service.post({"ChannelARN": str(arn)})).json()["IceServerList"][0]["Username"]
    keys = ice.turn_keys(username, [SECRET])
    assert keys is not None
    assert keys.holders == (ice.holder_tag("ASIA"), ice.holder_tag("AKIA"))


async def test_the_name_is_told_before_it_is_answered(service: Service) -> None:
    arn = await service.create()
    for _ in range(2):
        answer = await service.post({"ChannelARN": str(arn)})
    username = answer.json()["IceServerList"][0]["Username"]
    assert service.minted == [(username, 1_700_000_300.5)] * 2
    await service.code({"ChannelARN": str(arn), "ClientId": "aws_viewer"})
    assert len(service.minted) == 2


async def test_while_the_relay_has_no_port_the_answer_is_to_try_again(service: Service) -> None:
    arn = await service.create()
    service.uris = ()
    assert await service.code({"ChannelARN": str(arn)}) == "ServiceUnavailableException 503"


async def test_the_uris_may_be_known_from_the_start(service: Service) -> None:
    arn = await service.create()
    api = IceApi(service.control, IceSettings(URIS, SECRET), wall=lambda: 0.0)
    (operation,) = api.operations
    assert operation.path == PATH
    assert "secret" not in repr(IceSettings(URIS, SECRET))
    assert (await service.post({"ChannelARN": str(arn)})).json()["IceServerList"][0]["Uris"] == list(URIS)


async def test_the_aws_profile_holds_a_channel_to_its_calls_per_second() -> None:
    service = Service(Quotas.aws())
    body = {"ChannelARN": str(await service.create())}
    for _ in range(10):
        assert (await service.post(body)).status_code == 200
    answer = await service.post(body)
    assert (answer.status_code, answer.json()["__type"]) == (400, "ClientLimitExceededException")
    assert answer.json()["limit"]["value"] == 5
    await service.close()


async def test_the_audit_log_names_the_channel_and_no_credential(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="heliograph.audit")
    arn = await service.create()
    password = (await service.post({"ChannelARN": str(arn)})).json()["IceServerList"][0]["Password"]
    (record,) = [record for record in caplog.records if record.name == "heliograph.audit"]
    assert (record.__dict__["channel"], record.__dict__["code"]) == (str(arn), "OK")
    assert password not in str(record.__dict__)
