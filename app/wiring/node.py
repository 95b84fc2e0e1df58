"""Settings -> the API and signaling part of one process, with its operations port."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from app import server
from app.api.alexa import AlexaApi
from app.api.channels import ChannelsApi
from app.api.credentials import CredentialsApi
from app.api.ice import IceApi, IceSettings
from app.api.recordings import RecordingsApi
from app.api.relay_usage import RelayUsageApi
from app.api.storage import StorageApi
from app.api.tickets import TicketsApi
from app.authenticate import Authenticator
from app.cli_token import token_settings
from app.origins import Origins
from app.processes import STOP_S, Child, Ending
from app.request_counter import RequestCounter
from app.serving import HttpServer
from app.settings import Settings, SettingsError
from app.slot_memory import SlotMemory
from app.tls import TlsListener
from app.wiring.access import AccessKeys, AccessOrder
from app.wiring.backing import Backing, Check, Embedded
from app.wiring.draining import drain
from app.wiring.key_files import KeyFiles
from app.wiring.listeners import Listeners
from app.wiring.missed_news import MissedNews
from app.wiring.orders import TurnOrder
from app.wiring.ownership import Ownership, endpoint_settings
from app.wiring.relay_process import RelayProcess
from app.wiring.revocations import TAGS_A_LINE, Revocations
from app.wiring.turn_names import TurnNames
from app.ws.channel import ChannelSockets, SocketSettings
from channels.auth.signature import SignatureVerifier
from channels.auth.token import TokenKey, TokenVerifier
from channels.catalog_news import CatalogNews
from channels.control import ControlPlane, ControlSettings
from channels.names import ChannelArn
from channels.quotas import Quotas
from channels.signaling.ask import Asks
from channels.signaling.hub import Hub
from channels.signaling.leases import RENEWALS, LeaseSettings
from channels.signaling.limits import Limits
from channels.tickets import TicketBook
from media.recording.library import Library

if TYPE_CHECKING:
    from app.wiring.redis_start import RedisPlaces

TURN_SILENCE_S = 5.0
STATIC = Path(__file__).parent.parent / "static"


class NodeOrder(msgspec.Struct, frozen=True):
    """What a node is made of: the catalog's path (or `:memory:`), signing keys, TURN secrets; the newest last.

    Without `access` it has no access key but those that are added to its ring. With `redis` it is one of several nodes,
    and `slot` is what it remembers of its number. The files of `keys_folder` are followed when they change.
    """

    settings: Settings
    catalog: str
    keys: tuple[TokenKey, ...]
    turn_secrets: tuple[bytes, ...]
    access: AccessOrder | None = None
    redis: "RedisPlaces | None" = None
    slot: SlotMemory | None = None
    keys_folder: Path | None = None

    def for_turn(self, certificate: tuple[str, str] | None = None, *, may_move: bool = False) -> TurnOrder:
        """Return the order for the TURN process of this node."""
        return TurnOrder.of(self.settings, self.turn_secrets, certificate, may_move=may_move)

    def __repr__(self) -> str:
        return f"NodeOrder({self.settings!r}, {self.catalog!r})"


class Twists(msgspec.Struct, frozen=True):
    """What an emulator does otherwise: the seconds that the hub lives in, and what is put around the server's parts.

    Where those seconds are moved by hand, no connection ends early: a test wants to know when.
    """

    now: Callable[[], float] = time.monotonic
    parts: Callable[[server.Parts], server.Parts] = lambda parts: parts


def _tls_counters(listener: TlsListener | None) -> dict[str, msgspec.Struct]:
    if listener is None:
        return {}
    return {"tls_handshakes": listener.tls.handshakes, "tls_certificate_changes": listener.tls.reloads}


class Node:
    """The parts of one API and signaling process; `run` keeps them going, `turn` is the relay's process."""

    def __init__(self, order: NodeOrder, turn: RelayProcess, twists: Twists | None = None) -> None:
        settings = order.settings
        is_relaxed = settings.limits_profile == "relaxed"
        self._settings = settings
        self._turn = turn
        self._revocations = Revocations(turn)
        turn.stop_s = 2 * STOP_S + settings.turn_drain_s  # it may have children of its own to wait for
        self._twists = twists or Twists()
        self.turn_uris: tuple[str, ...] = ()
        self.ports: tuple[int, ...] = ()  # at which it serves pages
        backing = self._backing = self._choose_backing(order)
        self.ownership = Ownership(settings, backing.slots, order.slot)
        self.store = backing.store
        self.access = self._open_access(order)
        self.key_ring = self.access.ring
        self.control = ControlPlane(
            self.store,
            ControlSettings(
                region=settings.region,
                account=settings.account,
                partition=settings.partition,
                account_channel_limit=settings.account_channel_limit,
                quotas=Quotas.relaxed() if is_relaxed else Quotas.aws(),
            ),
            wall_ms=lambda: time.time_ns() // 1_000_000,
        )
        self.hub = Hub(
            bus=backing.bus,
            presence=backing.presence,
            limits=self._limits(),
            node=backing.node,
            now=self._twists.now,
            mailbox=backing.mailbox,
        )
        self._tell_each_other(backing)
        self.application = self._build(order)

    @property
    def turn_uri(self) -> str:
        """The first URI of the relay, empty while it is not ready."""
        return next(iter(self.turn_uris), "")

    def _limits(self) -> Limits:
        limits = Limits.relaxed() if self._settings.limits_profile == "relaxed" else Limits.aws()
        if self._settings.control_messages:
            limits = limits.with_control_messages()
        if self._twists.now is not time.monotonic:
            limits = msgspec.structs.replace(limits, lifetime_jitter_s=0.0)
        return limits

    def _tell_each_other(self, backing: Backing) -> None:
        """Hub, relay and the other nodes hear of what happens to channels, the hub of being cut off."""
        renew_s = self._settings.connection_lease_s / RENEWALS
        self.hub.configure_leases(LeaseSettings(renew_s, self._settings.degraded_local))
        self._missed = MissedNews(self.control, self.hub, self._end_deleted)
        self.control.on_doubtful_delete.append(self._missed.look_at)
        self._news = CatalogNews(backing.bus, backing.node)
        for tell in (self.hub.reassert, self._missed.look, self._news.tell_again):
            backing.tell_of_returns(tell)
        self.control.on_deleted += (self.hub.close_channel, self._revocations.of_channel, self._news.tell_deleted)
        self.control.on_updated += (self.hub.update_channel, self._news.tell_updated)
        self._news.on_deleted += (backing.forget, self._revocations.of_channel, self.hub.end_channel)
        self._news.on_updated += (lambda channel: backing.forget(channel.arn), self.hub.update_channel)

    def _choose_backing(self, order: NodeOrder) -> Backing:
        if order.redis is None:
            return Embedded(order.catalog)
        from app.wiring.redis_backing import in_redis  # what a node that is alone does not need

        wish = order.slot.wish(self._settings.slot) if order.slot else None
        return in_redis(order.redis, self._limits(), wish)

    def _open_access(self, order: NodeOrder) -> AccessKeys:
        try:
            return AccessKeys(order.access or AccessOrder.in_memory(), order.keys[-1], token_settings(self._settings))
        except BaseException:
            self._backing.close()
            raise

    def close(self) -> None:
        """Close the files; may be called again."""
        self._backing.close()
        self.access.close()

    def _build(self, order: NodeOrder) -> RequestCounter:
        tickets = self._backing.tickets
        authenticator = self._authenticator(order, tickets)
        names = TurnNames(self._turn)
        self._counters |= {"turn_names": names.stats, "turn_revocations": self._revocations.stats}
        endpoints = endpoint_settings(self._settings)
        relays = IceSettings(
            uris=lambda: self.turn_uris,
            secret=order.turn_secrets[-1],
            is_for_coturn=self._settings.turn_engine == "coturn",
        )
        apis = (
            ChannelsApi(self.control, endpoints, self.ownership.owner),
            IceApi(self.control, relays, time.time, names.tell),
            AlexaApi(self.control, Asks(self.hub)),
            StorageApi(self.control),
            TicketsApi(self.control, self.hub, tickets),
            CredentialsApi(self.access.sessions, self.control),
            RelayUsageApi(self.control, lambda digest: self._turn.usage.get(digest.hex(), (0, 0, 0))),
        )
        operations_of_all = tuple(operation for api in apis for operation in api.operations)
        parts = server.Parts(
            operations=operations_of_all,
            authenticator=authenticator,
            channel_sockets=ChannelSockets(
                self.hub, self.control, authenticator, time.time, SocketSettings(origins=self._origins())
            ),
            static=STATIC,
            endpoints=endpoints,
            recordings=self._recordings(authenticator),
        )
        application = server.build(self._twists.parts(parts))
        return RequestCounter(application, {operation.path: operation.name for operation in operations_of_all})

    def _recordings(self, authenticator: Authenticator) -> server.BelowEndpoint | None:
        if not self._settings.recordings:
            return None
        folder = Path(self._settings.recordings).expanduser()
        if not folder.is_dir():
            self.close()
            raise SettingsError(f"RECORDINGS: there is no folder {folder}; make it, or start a master with --record")
        api = RecordingsApi(Library(folder), self.control, authenticator.request)
        self._counters["recordings_served"] = api.stats
        return api.answer

    def _origins(self) -> Origins:
        settings = self._settings
        return Origins(
            allowed=settings.allowed_origins,
            public_host=settings.public_host,
            wildcard=settings.endpoint_wildcard.removeprefix("*."),
            ports=lambda: {*self.ports, *self.ownership.ports()},
            hosts=self.ownership.hosts,
        )

    def _authenticator(self, order: NodeOrder, tickets: TicketBook) -> Authenticator:
        verifier = TokenVerifier(order.keys, token_settings(self._settings), admit=self.key_ring.admit)
        further = self._settings.signing_regions
        regions = () if "*" in further else (self._settings.region, *further)
        signatures = SignatureVerifier(self.key_ring, self.access.sessions, verifier, regions)
        authenticator = Authenticator(
            verifier, tickets, wall=time.time, monotonic=time.monotonic, signatures=signatures
        )
        self._key_files = KeyFiles(order.keys_folder, order.keys, verifier, self.access.sessions)
        self._counters = {
            **self._backing.counters,
            "auth_key_files": self._key_files.stats,
            "auth_tokens": verifier.stats,
            "auth_signatures": signatures.stats,
            "auth_keys": self.key_ring.stats,
            "auth_sessions": self.access.sessions.stats,
            "auth_failures": authenticator.failures.stats,
            "catalog_news": self._news.stats,
        }
        return authenticator

    async def work(self) -> None:
        """Do what a node does by itself, beside answering; until cancelled."""
        revoked = self.key_ring.revoked(TAGS_A_LINE)
        self._revocations.of_credentials(revoked)  # credentials of the relay may be older than this start
        async with asyncio.TaskGroup() as standing:
            backing = standing.create_task(self._backing.work())
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._news.run())
                    group.create_task(self._missed.run())
                    group.create_task(self._revocations.run())
                    group.create_task(self._key_files.run())
                    group.create_task(self.hub.run())
                    group.create_task(self.access.watch(self._revoke_credentials))
            finally:
                backing.cancel()  # the last of all: the hub still acknowledges what it has taken

    async def revoke_relays(self) -> None:
        """End what the channels of this node relay."""
        token = None
        while True:
            page = await self.control.list(self._settings.account, token=token)
            for channel in page.channels:
                self._revocations.of_channel(channel.arn)
            token = page.next_token
            if token is None:
                return

    def _end_deleted(self, arn: ChannelArn) -> None:
        self.hub.end_channel(arn)
        self._revocations.of_channel(arn)
        self._news.tell_deleted(arn)  # another node may have as little news of it

    def _revoke_credentials(self, ids: frozenset[str]) -> None:
        self.hub.close_credentials(ids)
        self._revocations.of_credentials(sorted(ids))

    @contextlib.asynccontextmanager
    async def running(self, listeners: Listeners, ending: Ending, master: Child | None = None) -> AsyncIterator[None]:
        """Serve while the block runs, beside the relay's process; then drain. The end of the relay sets `ending`.

        The port answers and the relay is ready when the block begins, unless `ending` came first.

        Raises: CommandError when the relay cannot start.
        """
        # What only the operations port needs: an emulator, which has none, is ready sooner without.
        from app.api import operations
        from app.cli_version import version
        from app.metrics import Metrics, Sources

        self.ports = listeners.ports
        pulse = operations.Pulse()
        metrics = Metrics(
            Sources(
                version=version(),
                hub=self.hub.stats,
                requests=self.application.stats,
                turn=lambda: self._turn.stats,
                master=(lambda: master.stats) if master else None,
                loop_lag_s=lambda: pulse.lag_s,
                redis=self._backing.link_numbers,
                slots=self.ownership.known,
                parts=self._counters | _tls_counters(listeners.tls),
            )
        )
        ops = operations.Operations(version(), self._checks(), metrics.text, pulse)
        http = self._server(listeners, ending)
        try:
            parts = (self._turn, ending, self.work(), self.hub.settle)
            async with operations.serve(ops, listeners.ops), serving(http, *parts) as uris:
                self.turn_uris = uris
                yield
                ops.is_draining = True
                await self.ownership.drain()
        finally:
            self.close()

    def _server(self, listeners: Listeners, ending: Ending) -> HttpServer:
        away = partial(drain, self.hub, self._settings.drain_s, ending)
        proxies, websocket = self._settings.trusted_proxies, self._settings.websocket
        return HttpServer(self.application, listeners.http, away, listeners.tls, proxies, websocket)

    def _checks(self) -> dict[str, Check]:
        own: dict[str, Check] = {
            "catalog": self._check_catalog,
            "keys": self._check_keys,
            "turn": self._check_turn,
        }
        return own | dict(self._backing.checks)

    async def _check_catalog(self) -> str | None:
        await self.control.check()
        return None

    async def _check_keys(self) -> str | None:
        return self.key_ring.trouble

    async def _check_turn(self) -> str | None:
        if not self._turn.is_alive:
            return "the TURN process has ended"
        silent_s = self._turn.silent_s
        return f"the TURN process is silent for {silent_s:.0f} s" if silent_s > TURN_SILENCE_S else None


@contextlib.asynccontextmanager
async def serving(
    http: HttpServer,
    turn: RelayProcess,
    ending: Ending,
    work: Coroutine[object, object, None],
    settle: Callable[[], Awaitable[None]],
) -> AsyncIterator[tuple[str, ...]]:
    """Serve and work while the block runs, beside the relay's process; then drain, and `settle` what came late. The end
    of the relay sets `ending`.

    The port answers and the relay is ready when the block begins, with its URIs; with none if `ending` came first.
    """
    ending.on_hurry.append(http.hurry)
    async with asyncio.TaskGroup() as group:
        others = [group.create_task(ending.follow(turn)), group.create_task(work)]
        answering = group.create_task(http.run_until_exit())
        await http.is_up.wait()
        is_ready = await ending.comes_after(turn.ready())
        yield (await turn.ready()).uris if is_ready else ()
        http.end()
        await answering
        await http.unless_hurried(settle())
        for task in others:
            task.cancel()
