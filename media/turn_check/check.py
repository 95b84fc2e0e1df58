"""Plays a client against a STUN or TURN server, step by step, and names the first one that is broken.

It works against any server and sends few packets: at most four of each kind where nothing answers. The rules of what
a failure means stand in `verdict`.
"""

import asyncio
import datetime
import secrets
import socket
import ssl
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec

from media.turn import address, stun
from media.turn_check import link, verdict
from media.turn_check.client import Credential, TurnClient
from media.turn_check.dialog import Dialog, within
from media.turn_check.dtls_client import DtlsLink
from media.turn_check.link import Link, StreamLink, UdpLink
from media.turn_check.steps import Attempt, Seen, Step, StepError, Steps
from media.turn_check.trial import Trial, TrialOrder
from media.turn_check.uri import TurnUri, Way
from media.turn_check.verdict import Advice, Asked, LinkError, Trouble

T = TypeVar("T")

TIMEOUT_S = 5.0
SOON_S = 14 * 86400
_NAMES_SHOWN = 4
_UNKNOWN_NAME = Advice("The name leads to no address.", "Check its spelling, and that DNS knows it.")


class Certificate(msgspec.Struct, frozen=True):
    """What a person asks of a certificate: names and addresses, end in epoch seconds, who signed it."""

    names: tuple[str, ...]
    ends_at: float
    issuer: str


class CheckOrder(msgspec.Struct, frozen=True):
    """What to check. Without a credential only what comes before it. `tls` makes a context that trusts as it should.

    `ca_file` is what DTLS trusts beside the system's CAs. `describe` reads a certificate in DER form, `now_wall` gives
    epoch seconds.
    """

    uris: tuple[TurnUri, ...]
    credential: Credential | None
    tls: Callable[[], ssl.SSLContext]
    describe: Callable[[bytes], Certificate]
    timeout_s: float = TIMEOUT_S
    ca_file: str = ""
    now_wall: Callable[[], float] = time.time


async def check(order: CheckOrder, on_attempt: Callable[[Attempt], None]) -> bool:
    """Try every URI by every way that it means, over IPv4 and IPv6 where its name has both; whether all passed.

    `on_attempt` gets each attempt when it has ended, in the order of the URIs. They begin at the same time, but only
    one at a time has allocations, so that a small quota is enough.
    """
    turn = asyncio.Lock()
    has_passed = True
    for uri in order.uris:
        name, ips = await _resolve(uri, order.timeout_s)
        if not ips:
            on_attempt(Attempt(str(uri), uri.ways[0].value, "", (name,)))
            has_passed = False
            continue
        probes = [Probe(order, uri, Asked(uri.host, ip, uri.port, way), turn) for way in uri.ways for ip in ips]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(probe.run(is_only=len(ips) == 1)) for probe in probes]
            for task, probe in zip(tasks, probes, strict=True):
                attempt = Attempt(str(uri), probe.asked.way.value, probe.asked.ip, (name, *await task))
                on_attempt(attempt)
                has_passed = has_passed and attempt.has_passed
    return has_passed


async def _resolve(uri: TurnUri, limit_s: float) -> tuple[Step, tuple[str, ...]]:
    """Return the first step, and the first address of each family."""
    steps, found = Steps(time.monotonic), dict[int, str]()

    async def look_up() -> Seen:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(limit_s):
                rows = await loop.getaddrinfo(uri.host, uri.port, type=socket.SOCK_DGRAM)
        except TimeoutError:
            raise StepError(f"no answer in {limit_s:g} s", Advice("DNS does not answer.", "Check DNS.")) from None
        except (socket.gaierror, UnicodeError) as error:
            raise StepError(getattr(error, "strerror", None) or "no such name", _UNKNOWN_NAME) from None
        hosts = dict.fromkeys(str(row[4][0]) for row in rows)
        for row in rows:
            found.setdefault(row[0], str(row[4][0]))
        return Seen(", ".join(hosts))

    await steps.take("name", look_up)
    ips = tuple(found[family] for family in (socket.AF_INET, socket.AF_INET6) if family in found)
    return steps.taken[0], ips[:1] if uri.host == "localhost" else ips  # clients try the other one, too


class Probe:
    """One attempt: one way to one address. `turn` is held while it has allocations."""

    def __init__(self, order: CheckOrder, uri: TurnUri, asked: Asked, turn: asyncio.Lock) -> None:
        self.asked = asked
        self._order = order
        self._uri = uri
        self._turn = turn
        self._dialogs: list[Dialog] = []
        self._handle: socket.socket | None = None
        self._mapped = b""

    async def run(self, *, is_only: bool = True) -> list[Step]:
        """Take all steps. Unless the name has one address only, one that has no route is skipped."""
        steps = Steps(time.monotonic, self.asked, may_lack_route=not is_only)
        try:
            for name, work in self._reaching():
                await steps.take(name, work)
            if self._uri.is_relay:
                async with self._turn:
                    await self._try_relays(steps)
        finally:
            for dialog in self._dialogs:
                dialog.leave()
            if self._handle is not None:
                self._handle.close()
        return steps.taken

    def _reaching(self) -> list[tuple[str, Callable[[], Awaitable[Seen]]]]:
        if self.asked.way is Way.UDP:
            return [("reach", self._bind)]
        if self.asked.way is Way.DTLS:
            return [("tls", self._shake_hands), ("stun", self._bind)]
        if self.asked.way is Way.TLS:
            return [("reach", self._connect), ("tls", self._shake_hands), ("stun", self._bind)]
        return [("reach", self._connect), ("stun", self._bind)]

    async def _try_relays(self, steps: Steps) -> None:
        if steps.is_over:
            steps.skip(Trial.NAMES)
            return
        order = TrialOrder(self._order.credential, self._order.now_wall, self._mapped)
        await Trial(self.asked, order, self._dialogs[0], self._open).run(steps)

    async def _connect(self) -> Seen:
        self._handle = await self._within(link.connect_tcp(self.asked.ip, self.asked.port))
        return Seen("connected")

    async def _shake_hands(self) -> Seen:
        try:
            opened = await self._secure()
        except LinkError as error:
            if error.trouble is not Trouble.CERTIFICATE:
                raise
            seen = f"{error}: {self._described(error.certificate).text}" if error.certificate else str(error)
            raise StepError(seen, verdict.unreached(error, self.asked, "tls")) from error
        self._add(opened)
        described = self._described(opened.certificate)
        return Seen(f"{opened.protocol}, {described.text}", described.note)

    async def _secure(self) -> StreamLink | DtlsLink:
        if self.asked.way is Way.DTLS:
            return await self._over_dtls()
        try:
            return await self._within(self._over_stream())
        except LinkError as error:
            if error.trouble is Trouble.CERTIFICATE:
                shown = link.certificate_of(self.asked.ip, self.asked.port, self.asked.host)
                error.certificate = await self._within(shown)
            raise

    async def _over_dtls(self) -> DtlsLink:
        opened = DtlsLink(UdpLink(self.asked.ip, self.asked.port), self.asked.host, self._order.ca_file)
        try:
            await self._within(opened.shake_hands())
            self._verify(opened)
        except BaseException:
            opened.close()
            raise
        return opened

    def _verify(self, opened: DtlsLink) -> None:
        code = opened.verify_code
        if not code and not verdict.is_named(self._order.describe(opened.certificate).names, self.asked.host):
            code = verdict.OTHER_NAME
        if code:
            error = LinkError(Trouble.CERTIFICATE, "not trusted", code)
            error.certificate = opened.certificate
            raise error

    async def _bind(self) -> Seen:
        dialog = self._dialogs[0] if self._dialogs else await self._open()
        answer = await dialog.ask_once(stun.BINDING)
        mapped = answer.address(stun.XOR_MAPPED_ADDRESS)
        if answer.code or mapped is None:
            advice = verdict.refused(answer.code or 500, "", 0.0, "")
            raise StepError(f"{answer.code} {answer.reason}".strip() or "an answer without our address", advice)
        self._mapped = mapped[0]
        note = verdict.hidden_source(mapped[0], address.pack(self.asked.ip))
        return Seen(f"the server sees us as {verdict.shown(address.socket_address(*mapped))}", note)

    async def _open(self) -> Dialog:
        """Open one more connection, or take up the one that `_connect` made. Raises: LinkError."""
        asked = self.asked
        if asked.way is Way.UDP:
            return self._add(UdpLink(asked.ip, asked.port))
        if asked.way is Way.DTLS:
            return self._add(await self._over_dtls())
        if self._handle is None:
            self._handle = await self._within(link.connect_tcp(asked.ip, asked.port))
        return self._add(await self._within(self._over_stream()))

    async def _over_stream(self) -> StreamLink:
        handle, self._handle = self._handle, None
        assert handle is not None, "connected before"  # noqa: S101  # order of our own calls
        if self.asked.way is Way.TLS:
            return await link.over_tls(handle, self._order.tls(), self.asked.host)
        return await link.over_tcp(handle)

    def _add(self, opened: Link) -> Dialog:
        client = TurnClient(self._order.credential, lambda: secrets.token_bytes(12))
        self._dialogs.append(Dialog(opened, client, self._order.timeout_s))
        return self._dialogs[-1]

    async def _within(self, waiting: Awaitable[T]) -> T:
        return await within(waiting, self._order.timeout_s)

    def _described(self, certificate: bytes) -> Seen:
        found = self._order.describe(certificate)
        names = ", ".join(found.names[:_NAMES_SHOWN]) + (" ..." if len(found.names) > _NAMES_SHOWN else "")
        end = datetime.datetime.fromtimestamp(found.ends_at, datetime.UTC)
        left_s = found.ends_at - self._order.now_wall()
        note = f"the certificate ends in {verdict.span(left_s)}" if 0 < left_s < SOON_S else ""
        return Seen(f"certificate for {names or 'no name'}, until {end:%Y-%m-%d}, signed by {found.issuer}", note)
