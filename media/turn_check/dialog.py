"""A TURN client on a connection: asks with a limit, repeats over UDP, takes up the challenge, keeps what peers sent."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from media.turn import stun
from media.turn.address import SocketAddress, socket_address
from media.turn_check.client import Answer, Arrived, Request, TurnClient
from media.turn_check.link import Link
from media.turn_check.verdict import LinkError, Trouble

T = TypeVar("T")

_SIGNED_TRIES = 3  # unsigned, signed, signed with another nonce
_KEPT = 64
_OTHER_FAMILY = 440
_IPV6 = bytes((2, 0, 0, 0))
# A relay for UDP; a check that is killed leaves it for a minute only.
WANTED = ((stun.REQUESTED_TRANSPORT, bytes((17, 0, 0, 0))), (stun.LIFETIME, (60).to_bytes(4)))


class Dialog:
    """One client of one server. `timeout_s` bounds each wait for an answer or for data."""

    def __init__(self, link: Link, client: TurnClient, timeout_s: float) -> None:
        self.client = client
        self.relayed: SocketAddress | None = None
        self._link = link
        self.timeout_s = timeout_s
        self._arrived: deque[Arrived] = deque(maxlen=_KEPT)

    async def ask(
        self, method: int, attributes: Sequence[tuple[int, bytes]] = (), peer_address: SocketAddress | None = None
    ) -> Answer:
        """Return the server's answer, after its challenge when it made one. Raises: LinkError."""
        answer = await self.ask_once(method, attributes, peer_address)
        for _ in range(_SIGNED_TRIES - 1):
            if not self.client.take_challenge(answer):
                break
            answer = await self.ask_once(method, attributes, peer_address)
        return answer

    async def ask_once(
        self, method: int, attributes: Sequence[tuple[int, bytes]] = (), peer_address: SocketAddress | None = None
    ) -> Answer:
        """Return the server's answer, a challenge or not. Raises: LinkError."""
        request = self.client.request(method, attributes, peer_address)
        return await within(self._answered(request), self.timeout_s)

    async def allocate(self) -> Answer:
        """Ask for a relay; `relayed` is its address then. Raises: LinkError."""
        answer = await self.ask(stun.ALLOCATE, WANTED)
        if answer.code == _OTHER_FAMILY:  # a server with IPv6 alone: RFC 8656, 7.1 makes IPv4 the default
            answer = await self.ask(stun.ALLOCATE, [*WANTED, (stun.REQUESTED_ADDRESS_FAMILY, _IPV6)])
        self.take_relay(answer)
        return answer

    def take_relay(self, answer: Answer) -> None:
        """Note the relay of an answer to Allocate, so that it is ended in the end."""
        relayed = answer.address(stun.XOR_RELAYED_ADDRESS)
        if answer.code == 0 and relayed is not None:
            self.relayed = socket_address(*relayed)

    async def release(self) -> Answer:
        """End the allocation. Raises: LinkError."""
        answer = await self.ask(stun.REFRESH, [(stun.LIFETIME, bytes(4))])
        self.relayed = None
        return answer

    def send(self, message: bytes) -> None:
        """Send an indication or ChannelData. Raises: LinkError."""
        self._link.send(message)

    async def hear(self, data: bytes, send: Callable[[], None]) -> Arrived:
        """Call `send`, again after a while, until `data` arrives. Raises: LinkError when it does not."""
        return await within(self._heard(data, send), self.timeout_s)

    def leave(self) -> None:
        """Close the connection; an allocation that is still there is ended without waiting for the answer."""
        if self.relayed is not None:
            with contextlib.suppress(LinkError):
                self._link.send(self.client.request(stun.REFRESH, [(stun.LIFETIME, bytes(4))]).data)
        self._link.close()

    async def _answered(self, request: Request) -> Answer:
        wait_s = self._link.repeat_s
        while True:
            self._link.send(request.data)
            try:
                async with asyncio.timeout(wait_s or None):
                    return await self._answer(request)
            except TimeoutError:
                wait_s *= 2

    async def _answer(self, request: Request) -> Answer:
        while True:
            data = await self._link.receive()
            answer = self.client.answer(request, data)
            if answer is not None:
                return answer
            self._keep(data)

    async def _heard(self, data: bytes, send: Callable[[], None]) -> Arrived:
        wait_s = 0.5
        while True:
            send()
            try:
                async with asyncio.timeout(wait_s):
                    return await self._next(data)
            except TimeoutError:
                wait_s *= 2

    async def _next(self, data: bytes) -> Arrived:
        while True:
            while self._arrived:
                arrived = self._arrived.popleft()
                if arrived.data == data:
                    return arrived
            self._keep(await self._link.receive())

    def _keep(self, data: bytes) -> None:
        arrived = self.client.arrived(data)
        if arrived is not None:
            self._arrived.append(arrived)


async def within(waiting: Awaitable[T], limit_s: float) -> T:
    """Wait for `limit_s` at most. Raises: LinkError."""
    try:
        async with asyncio.timeout(limit_s):
            return await waiting
    except TimeoutError:
        raise LinkError(Trouble.SILENT, f"no answer in {limit_s:g} s") from None
