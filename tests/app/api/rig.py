"""The operations of a control plane behind HTTP, without a server, for tests of what they answer."""

from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import HTTPConnection
from starlette.routing import Route

from app.api.alexa import AlexaApi
from app.api.channels import ChannelsApi
from app.api.ice import IceApi, IceSettings
from app.api.relay_usage import RelayUsageApi
from app.api.storage import StorageApi
from app.api.tickets import TicketsApi
from app.endpoints import EndpointSettings
from app.wire import operation_endpoint
from channels.auth.grant import Grant, Statement
from channels.control import ControlPlane, ControlSettings
from channels.embedded.bus import EmbeddedBus
from channels.embedded.presence import EmbeddedPresence
from channels.embedded.store import MEMORY, SqliteStore
from channels.embedded.tickets import EmbeddedTickets
from channels.quotas import Quotas
from channels.signaling.ask import Asks
from channels.signaling.hub import Hub
from channels.signaling.limits import Limits

ACCOUNT = "000000000000"
NOW_MS = 1_700_000_000_123
ANY = Statement(("kinesisvideo:*",), ("*",))
UNKNOWN = f"arn:aws:kinesisvideo:us-west-2:{ACCOUNT}:channel/nobody/1700000000000"


def grant(*statements: Statement, account: str = ACCOUNT) -> Grant:
    return Grant("alice", account, statements, 2_000_000_000.0)


class Service:
    """The operations of one control plane behind real HTTP semantics, called as `grant`."""

    def __init__(self, quotas: Quotas | None = None, endpoint: EndpointSettings | None = None) -> None:
        self.store = SqliteStore(MEMORY)
        self.grant = grant(ANY)
        self.usage: dict[bytes, tuple[int, int, int]] = {}
        self.control = ControlPlane(
            self.store,
            ControlSettings(account_channel_limit=60, quotas=quotas or Quotas.relaxed()),
            wall_ms=lambda: NOW_MS,
            now=lambda: 0.0,
        )
        hub = Hub(EmbeddedBus(), EmbeddedPresence("n"), Limits.aws(), "n", lambda: 0.0)
        apis = (
            ChannelsApi(self.control, endpoint or EndpointSettings()),
            StorageApi(self.control),
            IceApi(self.control, IceSettings(("turn:127.0.0.1:3478?transport=udp",), b"s" * 32), lambda: 0.0),
            AlexaApi(self.control, Asks(hub)),
            TicketsApi(self.control, hub, EmbeddedTickets()),
            RelayUsageApi(self.control, lambda digest: self.usage.get(digest, (0, 0, 0))),
        )
        self.operations = tuple(operation for api in apis for operation in api.operations)
        routes = [
            Route(operation.path, operation_endpoint(operation, self._authenticate), methods=["POST"])
            for operation in self.operations
        ]
        self._http = httpx.AsyncClient(transport=httpx.ASGITransport(Starlette(routes=routes)), base_url="http://kvs")

    def _authenticate(self, connection: HTTPConnection, body: bytes) -> Grant:
        return self.grant

    async def post(self, path: str, body: Any = None, host: str = "kvs.test:8080") -> httpx.Response:
        return await self._http.post(path, json={} if body is None else body, headers={"host": host})

    async def ok(self, path: str, body: Any = None) -> Any:
        answer = await self.post(path, body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def code(self, path: str, body: Any = None) -> str:
        answer = await self.post(path, body)
        assert answer.status_code >= 400
        assert answer.json().get("Message") or answer.json()["message"]
        return f"{answer.json()['__type']} {answer.status_code}"

    async def create(self, name: str = "demo", **more: Any) -> str:
        return str((await self.ok("/createSignalingChannel", {"ChannelName": name, **more}))["ChannelARN"])

    async def close(self) -> None:
        await self._http.aclose()
        self.store.close()
