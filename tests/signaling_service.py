"""The API and signaling plane on a free port of this event loop, without relay and pages' programs."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import uvicorn

from app import server
from app.api.alexa import AlexaApi
from app.api.channels import ChannelsApi
from app.api.ice import IceApi, IceSettings
from app.api.relay_usage import RelayUsageApi
from app.api.storage import StorageApi
from app.api.tickets import TicketsApi
from app.authenticate import Authenticator
from app.endpoints import EndpointSettings
from app.serving import FRAME_BYTES, HttpProtocol, WebSockets
from app.ws import connection
from app.ws.channel import ChannelSockets, SocketSettings
from app.ws.crowd import Crowd, CrowdSettings
from app.ws.stock import WebSocketProtocol
from channels.auth import key_ring, token
from channels.auth.grant import Statement
from channels.auth.key_ring import AccessKey, KeyRing
from channels.auth.seal import Seal
from channels.auth.session import SessionCredentials, SessionRequest, Sessions
from channels.auth.signature import SignatureVerifier
from channels.auth.ticket import Tickets
from channels.channel import Channel
from channels.control import ControlPlane, ControlSettings
from channels.embedded.bus import EmbeddedBus
from channels.embedded.key_store import SqliteKeyStore
from channels.embedded.presence import EmbeddedPresence
from channels.embedded.store import MEMORY, SqliteStore
from channels.embedded.tickets import EmbeddedTickets
from channels.quotas import Quotas
from channels.signaling.ask import Asks
from channels.signaling.hub import Hub
from channels.signaling.limits import Limits
from tests.live import PromptServer

ACCOUNT = "000000000000"
CLOSE_S = 0.2
STATIC = Path(server.__file__).parent / "static"


class Service:
    """A running service, its parts, and tokens for it."""

    def __init__(
        self,
        listener: socket.socket,
        limits: Limits,
        quotas: Quotas,
        certificate: Path | None,
        now: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        host, port = listener.getsockname()
        self.certificate = certificate
        self.wall = wall
        self.address = f"{host}:{port}"
        self.store = SqliteStore(MEMORY)
        self.control = ControlPlane(self.store, ControlSettings(quotas=quotas), lambda: time.time_ns() // 1_000_000)
        self.presence = EmbeddedPresence("n")
        self.hub = Hub(EmbeddedBus(), self.presence, limits, "n", now)
        self.control.on_deleted.append(self.hub.close_channel)
        self.control.on_updated.append(self.hub.update_channel)
        self.key = token.secret_key("k", b"0123456789abcdef0123456789abcdef")
        self.settings = token.TokenSettings()
        tickets = Tickets()
        self.key_store = SqliteKeyStore(MEMORY)
        self.keys = KeyRing(self.key_store, Seal.for_this_process())
        self.sessions = Sessions([token.new_secret_key()], self.key, self.settings)
        verifier = token.TokenVerifier([self.key], self.settings, admit=self.keys.admit)
        signatures = SignatureVerifier(self.keys, self.sessions, verifier, ["us-west-2"])
        book = EmbeddedTickets(tickets)
        authenticator = Authenticator(verifier, book, wall, time.monotonic, signatures=signatures)
        self.authenticator, self.tickets = authenticator, tickets
        ice = IceSettings(uris=("turn:127.0.0.1:3478?transport=udp",), secret=b"s" * 32)
        apis = (
            ChannelsApi(self.control, EndpointSettings()),
            IceApi(self.control, ice, wall),
            AlexaApi(self.control, Asks(self.hub)),
            StorageApi(self.control),
            TicketsApi(self.control, self.hub, book),
            RelayUsageApi(self.control, lambda _: (0, 0, 0)),
        )
        sockets = ChannelSockets(self.hub, self.control, authenticator, wall, SocketSettings(close_s=CLOSE_S))
        operations = tuple(operation for api in apis for operation in api.operations)
        self.application = server.build(server.Parts(operations, authenticator, sockets, STATIC))

    @property
    def http(self) -> str:
        return f"{'https' if self.certificate else 'http'}://{self.address}"

    def token(
        self, *actions: str, channels: tuple[str, ...] = ("*",), client_id: str | None = None, lifetime_s: float = 600
    ) -> str:
        return token.mint(
            self.key,
            self.settings,
            subject="tester",
            actions=actions or ("kvs:*",),
            channels=channels,
            client_id=client_id,
            now_wall=self.wall(),
            lifetime_s=lifetime_s,
        )

    def access_key(self, actions: tuple[str, ...] = ("kinesisvideo:*",), account: str = ACCOUNT) -> AccessKey:
        """A new key for these actions on every channel of its account."""
        statements = (Statement(actions, ("*",), sid="everything"),)
        key = AccessKey(key_ring.new_id(key_ring.KEY_PREFIX), account, key_ring.new_secret(), statements)
        self.keys.add(key)
        return key

    def session(self, key: AccessKey, lifetime_s: float = 600) -> SessionCredentials:
        """A session of a key, with all its rights."""
        request = SessionRequest("tester", key.account, ("*",), ("*",), lifetime_s, key_id=key.id)
        return self.sessions.mint(request, self.wall())

    def url(self, path: str, channel: Channel | str | None, client_id: str | None = None, **query: str) -> str:
        if channel is not None:
            query["X-Amz-ChannelARN"] = channel if isinstance(channel, str) else str(channel.arn)
        if client_id is not None:
            query["X-Amz-ClientId"] = client_id
        return f"ws://{self.address}{path}?{urlencode(query)}"


def _server(service: Service, ping_s: float, websocket: WebSockets) -> PromptServer:
    """uvicorn with the settings the service has."""
    own: Any = connection.factory(Crowd(CrowdSettings(close_s=CLOSE_S, ping_s=ping_s, silence_s=ping_s)))
    return PromptServer(
        uvicorn.Config(
            service.application,
            http=HttpProtocol,
            ws=WebSocketProtocol if websocket == "stock" else own,
            ws_max_size=FRAME_BYTES,
            ws_per_message_deflate=False,
            lifespan="off",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=1,
            ssl_certfile=service.certificate,
            ws_ping_interval=ping_s,
            ws_ping_timeout=ping_s,
        )
    )


@contextlib.asynccontextmanager
async def signaling_service(
    limits: Limits | None = None,
    quotas: Quotas | None = None,
    certificate: Path | None = None,
    ping_s: float = 20.0,
    now: Callable[[], float] = time.monotonic,
    wall: Callable[[], float] = time.time,
    websocket: WebSockets = "own",
) -> AsyncIterator[Service]:
    """Serve until the block ends; then nothing of it is left. `certificate` is a PEM file with its key, for TLS.

    `now` gives the seconds of the hub, `wall` those in which credentials end, `websocket` says whose websockets serve.
    """
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as uvloop, which we serve with
        service = Service(listener, limits or Limits.aws(), quotas or Quotas.relaxed(), certificate, now, wall)
        http = _server(service, ping_s, websocket)
        try:
            async with asyncio.TaskGroup() as group:
                hub = group.create_task(service.hub.run())
                serving = group.create_task(http.serve(sockets=[listener]))
                await http.is_up.wait()
                try:
                    yield service
                finally:
                    await service.hub.drain(0.0)
                    http.ending.set()
                    await serving
                    hub.cancel()
        finally:
            service.key_store.close()
            service.store.close()
