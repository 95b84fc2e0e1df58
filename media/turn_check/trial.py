"""The steps of a check behind the connection: from the challenge over two relays that talk to the end of both."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from functools import partial

import msgspec

from media.turn import address, channel_data, stun
from media.turn.address import SocketAddress, host_text
from media.turn_check import verdict
from media.turn_check.client import Answer, Credential, TurnClient
from media.turn_check.dialog import WANTED, Dialog, within
from media.turn_check.link import UdpLink
from media.turn_check.steps import Seen, StepError, Steps, StepSkipped
from media.turn_check.verdict import Asked, LinkError, Trouble

_NUMBER = channel_data.FIRST_NUMBER
_TOKEN_BYTES = 16
_NO_CREDENTIAL = "give --username and --password to go on"


class TrialOrder(msgspec.Struct, frozen=True):
    """As whom to try, which wall time it is (epoch seconds), and how the server sees us; empty where unknown."""

    credential: Credential | None
    now_wall: Callable[[], float]
    mapped: bytes = b""


class Trial:
    """Two clients of one server; the second is opened when the first has its relay."""

    NAMES = (
        "challenge",
        "credential",
        "relay address",
        "permission",
        "relay to relay",
        "channel",
        "relay ports",
        "release",
    )

    def __init__(
        self, asked: Asked, order: TrialOrder, one: Dialog, open_other: Callable[[], Awaitable[Dialog]]
    ) -> None:
        self._asked = asked
        self._order = order
        self._one = one
        self._open_other = open_other
        self._other: Dialog | None = None
        self._challenge: Answer | None = None

    async def run(self, steps: Steps) -> None:
        """Take all steps."""
        for name, work in zip(self.NAMES, self._works(), strict=True):
            await steps.take(name, work)

    def _works(self) -> tuple[Callable[[], Awaitable[Seen]], ...]:
        return (
            self._be_challenged,
            self._allocate,
            self._look_at_address,
            self._permission,
            self._relay_to_relay,
            self._channel,
            self._ports,
            self._release,
        )

    async def _be_challenged(self) -> Seen:
        answer = await self._one.ask_once(stun.ALLOCATE, WANTED)
        if answer.code == 0:
            self._one.take_relay(answer)
            raise StepError("an allocation without a credential", verdict.NO_CHALLENGE)
        realm = answer.message.first(stun.REALM)
        if answer.code != 401 or realm is None:
            raise self._refusal(answer)
        self._challenge = answer
        return Seen(f"realm {realm.decode(errors='replace')}")

    async def _allocate(self) -> Seen:
        if self._order.credential is None or self._challenge is None:
            raise StepSkipped(_NO_CREDENTIAL, is_end=True)
        self._one.client.take_challenge(self._challenge)
        answer = await self._relay_of(self._one)
        lifetime = answer.message.first(stun.LIFETIME) or b""
        expiry = verdict.expiry_of(self._order.credential.username)
        left = "" if expiry is None else f"; the credential ends in {verdict.span(expiry - self._order.now_wall())}"
        return Seen(f"accepted, a relay for {int.from_bytes(lifetime)} s{left}")

    async def _relay_of(self, dialog: Dialog) -> Answer:
        try:
            answer = await dialog.allocate()
        except LinkError as error:
            if dialog.client.unsigned:
                raise StepError("answers without a valid signature", verdict.UNSIGNED) from error
            raise
        if answer.code:
            raise self._refusal(answer)
        if dialog.relayed is None:
            raise StepError("an answer without a relay address", verdict.refused(500, "", 0, ""))
        return answer

    def _refusal(self, answer: Answer) -> StepError:
        username = self._order.credential.username if self._order.credential else ""
        advice = verdict.refused(answer.code, username, self._order.now_wall(), self._one.client.realm)
        return StepError(f"{answer.code} {answer.reason}".rstrip() + _alternate(answer), advice)

    async def _look_at_address(self) -> Seen:
        relayed = _relayed(self._one)
        ip, asked = address.pack(relayed[0]), address.pack(self._asked.ip)
        advice = verdict.misplaced(ip, asked)
        if advice is not None:
            raise StepError(verdict.shown(relayed), advice)
        return Seen(verdict.shown(relayed), verdict.other_address(ip, asked))

    async def _permission(self) -> Seen:
        other = self._other = await self._open_other()
        await self._relay_of(other)
        for dialog, peer in ((self._one, _relayed(other)), (other, _relayed(self._one))):
            answer = await dialog.ask(stun.CREATE_PERMISSION, (), peer)
            if answer.code == 403:
                raise StepError(f"403 {answer.reason}", verdict.peer_refused(peer[0]))
            _expect(answer)
        return Seen("each relay may reach the other")

    async def _relay_to_relay(self) -> Seen:
        one, other = self._one, _open(self._other)
        for sender, receiver in ((one, other), (other, one)):
            peer, data = _relayed(receiver), secrets.token_bytes(_TOKEN_BYTES)
            message = sender.client.send_indication(peer, data)
            await self._passes(receiver, data, partial(sender.send, message))
        return Seen("one datagram there and one back")

    async def _channel(self) -> Seen:
        one, other = self._one, _open(self._other)
        for dialog, number, peer in ((one, _NUMBER, _relayed(other)), (other, _NUMBER + 1, _relayed(one))):
            _expect(await dialog.ask(stun.CHANNEL_BIND, [(stun.CHANNEL_NUMBER, number.to_bytes(2) + bytes(2))], peer))
        for sender, number, receiver in ((one, _NUMBER, other), (other, _NUMBER + 1, one)):
            data = secrets.token_bytes(_TOKEN_BYTES)
            message = channel_data.header(number, len(data)) + data
            await self._passes(receiver, data, partial(sender.send, message))
        return Seen("bound at both ends, ChannelData both ways")

    async def _passes(self, receiver: Dialog, data: bytes, send: Callable[[], None]) -> None:
        try:
            await receiver.hear(data, send)
        except LinkError as error:
            if error.trouble is not Trouble.SILENT:
                raise
            raise StepError(str(error), verdict.LOST_INSIDE) from error

    async def _ports(self) -> Seen:
        host, port = _relayed(self._one)[:2]
        outside, peer_host = _outside(host, port, self._order.mapped)
        is_local = peer_host == host
        try:
            peer = (peer_host, outside.socket.getsockname()[1])
            answer = await self._one.ask(stun.CREATE_PERMISSION, (), peer)
            if answer.code:
                raise StepSkipped(f"the server refuses {peer_host} as a peer ({answer.code}): not to be seen from here")
            return await self._through(outside, port, is_local=is_local)
        finally:
            outside.close()

    async def _through(self, outside: UdpLink, port: int, *, is_local: bool) -> Seen:
        inward, outward = secrets.token_bytes(_TOKEN_BYTES), secrets.token_bytes(_TOKEN_BYTES)
        try:
            arrived = await self._one.hear(inward, lambda: outside.send(inward))
        except LinkError as error:
            if self._asked.way.is_stream and not await self._has_udp():
                raise StepSkipped("no UDP reaches the server from here: this network may let none out") from error
            raise self._closed(error, port) from error
        peer = arrived.peer_address or ("", 0)
        if is_local:  # we are on the server's machine: a good server lets nothing out to it but to other relays
            return Seen(f"one datagram from {verdict.shown(peer)} in")
        message = self._one.client.send_indication(peer, outward)
        try:
            await within(_received(outside, outward, lambda: self._one.send(message)), self._one.timeout_s)
        except LinkError as error:
            raise StepError(f"{error} to port {port}", verdict.LOST_OUTWARD) from error
        return Seen(f"one datagram from {verdict.shown(peer)} in and one out")

    async def _has_udp(self) -> bool:
        """Tell whether the server's port answers over UDP, too; a client over TCP may be where UDP is blocked."""
        try:
            plain = UdpLink(self._asked.ip, self._asked.port)
        except LinkError:
            return False
        dialog = Dialog(plain, TurnClient(None, lambda: secrets.token_bytes(12)), self._one.timeout_s)
        try:
            return (await dialog.ask_once(stun.BINDING)).code == 0
        except LinkError:
            return False
        finally:
            dialog.leave()

    def _closed(self, error: LinkError, port: int) -> StepError | StepSkipped:
        is_from_inside = verdict.is_from_inside(address.pack(_relayed(self._one)[0]), address.pack(self._asked.ip))
        advice = verdict.closed_ports(port, is_from_inside=is_from_inside)
        if is_from_inside:
            return StepSkipped(f"{error}; {advice.cause[0].lower()}{advice.cause[1:]} {advice.fix}")
        return StepError(f"{error} from port {port}", advice)

    async def _release(self) -> Seen:
        for dialog in filter(None, (self._one, self._other)):
            if dialog.relayed is not None:
                _expect(await dialog.release())
        return Seen("the allocations are ended")


def _outside(host: str, port: int, mapped: bytes) -> tuple[UdpLink, str]:
    """Return a plain socket towards a relay port, and the address that the server sees it at.

    On the server's own machine it sits on the relay's address itself, which relays may always reach.
    """
    try:
        return UdpLink(host, port, local_host=host), host
    except LinkError:
        if not mapped or address.family(mapped) != address.family(address.pack(host)):
            raise StepSkipped("the relay is of another address family than our connection") from None
    return UdpLink(host, port), host_text(mapped)


async def _received(outside: UdpLink, data: bytes, send: Callable[[], None]) -> None:
    wait_s = outside.repeat_s
    while True:
        send()
        try:
            async with asyncio.timeout(wait_s):
                while await outside.receive() != data:
                    pass
                return
        except TimeoutError:
            wait_s *= 2


def _relayed(dialog: Dialog) -> SocketAddress:
    return _open(dialog).relayed or ("", 0)


def _open(dialog: Dialog | None) -> Dialog:
    assert dialog is not None, "the steps before this one opened it"  # noqa: S101  # order of our own calls
    return dialog


def _expect(answer: Answer) -> None:
    if answer.code:
        raise StepError(f"{answer.code} {answer.reason}".rstrip(), verdict.refused(answer.code, "", 0.0, ""))


def _alternate(answer: Answer) -> str:
    value = answer.message.first(stun.ALTERNATE_SERVER) if answer.code == 300 else None
    if value is None or len(value) not in (8, 20):
        return ""
    return f": {verdict.shown(address.socket_address(value[4:], int.from_bytes(value[2:4])))}"
