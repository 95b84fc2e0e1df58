"""Clients of real nodes who exchange numbered messages over real websockets, and what became of each message.

Each message comes once at most, in order from one connection to another, and to whom it was sent; and each is
delivered, or answered with an error status, if the connection that said it lasted long enough to be answered. What is
held comes when its recipient is back, so at the end of a test, when all are back, nothing may be missing.
"""

import asyncio
import contextlib
import itertools
import json
import random
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Final
from urllib.parse import urlencode

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from tests.nodes import Node, Service

ANSWER_S: Final = 2.0
_CONNECT_LIMIT_S: Final = 30.0
_DIGITS: Final = 12
_RETRY_S: Final = 0.05
_channels: Final = itertools.count(1000)


class RefusedError(Exception):
    """A node did not let a client in: `status` of HTTP, 0 when nobody listens or answers."""

    def __init__(self, status: int, took_s: float, why: str = "") -> None:
        super().__init__(f"refused with {status} after {took_s:.2f} s: {why}")
        self.status = status
        self.took_s = took_s


class Line:
    """One connection of a party, from its admission to its end."""

    def __init__(self, node: Node, socket: ClientConnection, took_s: float) -> None:
        self.node = node
        self.socket = socket
        self.took_s = took_s  # from the connect to the admission
        self.heard: dict[str, float] = {}  # number -> when
        self.answers: dict[str, tuple[float, str]] = {}  # number -> when, and why
        self.repeated: list[str] = []
        self.senders: dict[str, str] = {}
        self.ended_at: float | None = None
        self.ended = asyncio.Event()

    @property
    def end(self) -> tuple[int, str]:
        """Close code and reason; 1006 when it broke."""
        return self.socket.close_code or 1006, self.socket.close_reason or ""

    async def read(self) -> None:
        """Note all that comes, until the end."""
        try:
            async for text in self.socket:
                self._note(json.loads(text), time.monotonic())
        except ConnectionClosed:
            pass
        finally:
            self.ended_at = time.monotonic()
            self.ended.set()

    def _note(self, frame: dict[str, object], now: float) -> None:
        status = frame.get("statusResponse")
        if isinstance(status, dict):
            self.answers[str(status["correlationId"])] = (now, str(status["description"]))
            return
        number = str(frame["messagePayload"])[:_DIGITS]
        if number in self.heard:
            self.repeated.append(number)
        self.heard[number] = now
        self.senders[number] = str(frame.get("senderClientId", ""))


class Said(msgspec.Struct, frozen=True, gc=False):
    """One message: to whom, over which connection, and when."""

    sender: str
    to: str
    line: Line
    at: float


class Party:
    """One client, which may be connected again and again; the master's id is empty."""

    def __init__(self, ledger: "Ledger", client_id: str) -> None:
        self.ledger = ledger
        self.client_id = client_id
        self.lines: list[Line] = []
        self.returned_s: list[float] = []  # from each end of a connection to the next admission, by `stay`

    @property
    def line(self) -> Line:
        """The newest connection."""
        return self.lines[-1]

    @property
    def is_in(self) -> bool:
        """Whether it is connected."""
        return bool(self.lines) and not self.line.ended.is_set()

    async def connect(self, node: Node) -> Line:
        """Be admitted by this node. Raises: RefusedError."""
        role = "viewer" if self.client_id else "master"
        query = {"X-Amz-ChannelARN": self.ledger.arn, "token": self.ledger.token, "X-Amz-ClientId": self.client_id}
        address = f"{node.websocket}/{role}?{urlencode({name: value for name, value in query.items() if value})}"
        began = time.monotonic()
        try:
            async with asyncio.timeout(_CONNECT_LIMIT_S):
                socket = await connect(address, compression=None, ping_interval=None, close_timeout=0.5, max_queue=None)
        except InvalidStatus as error:
            why = (error.response.body or b"").decode()
            raise RefusedError(error.response.status_code, time.monotonic() - began, why) from None
        except (OSError, EOFError, InvalidHandshake):
            raise RefusedError(0, time.monotonic() - began) from None
        line = Line(node, socket, time.monotonic() - began)
        self.lines.append(line)
        self.ledger.group.create_task(line.read())
        return line

    async def stay(self, *nodes: Node, pause_s: float = _RETRY_S) -> None:
        """Come back whenever a connection ends, as clients do: to the other nodes first, until one lets us in."""
        while True:
            line = self.line
            await line.ended.wait()
            others = itertools.cycle(sorted(nodes, key=lambda node: node is line.node))
            while True:
                with contextlib.suppress(RefusedError):
                    await self.connect(next(others))
                    break
                await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))
            assert line.ended_at is not None
            self.returned_s.append(time.monotonic() - line.ended_at)

    async def say(self, to: str = "", size: int = _DIGITS) -> str:
        """One numbered candidate; its number, or nothing when the connection is gone."""
        line = self.line
        number = self.ledger.next_number()
        frame = {"action": "ICE_CANDIDATE", "messagePayload": number.ljust(size, "A"), "correlationId": number}
        said = Said(self.client_id, to, line, time.monotonic())
        self.ledger.said[number] = said
        try:
            await line.socket.send(json.dumps({**frame, **({"recipientClientId": to} if to else {})}))
        except ConnectionClosed:
            del self.ledger.said[number]
            return ""
        return number


class Ledger:
    """The master and viewers of one channel, who talk to each other. `async with` ends all their connections."""

    def __init__(self, service: Service, arn: str, *viewers: str) -> None:
        self.token = service.token
        self.arn = arn
        self.said: dict[str, Said] = {}
        self.master = Party(self, "")
        self.viewers = {name: Party(self, name) for name in viewers}
        self.group = asyncio.TaskGroup()
        self._channel = next(_channels)
        self._numbers = itertools.count(1)

    async def __aenter__(self) -> "Ledger":
        await self.group.__aenter__()
        return self

    async def __aexit__(self, *raised: object) -> None:
        for party in self.parties:
            for line in party.lines:
                line.socket.transport.abort()
        await self.group.__aexit__(*raised)  # type: ignore[arg-type]

    @property
    def parties(self) -> Iterator[Party]:
        yield self.master
        yield from self.viewers.values()

    def party(self, client_id: str) -> Party:
        return self.viewers[client_id] if client_id else self.master

    def next_number(self) -> str:
        """Twelve digits that no message of any ledger had; later ones are higher."""
        return f"{self._channel:04}{next(self._numbers):08}"

    async def talk(self, size: int = _DIGITS) -> None:
        """Everybody who is in says one thing: viewers to the master, the master to each viewer who was ever in."""
        for name, viewer in self.viewers.items():
            if viewer.is_in:
                await viewer.say("", size)
            if self.master.is_in and viewer.lines:
                await self.master.say(name, size)

    # What became of it

    def arrivals(self, number: str) -> list[float]:
        """When it came to whom it was sent."""
        return [line.heard[number] for line in self.party(self.said[number].to).lines if number in line.heard]

    def answer(self, number: str) -> tuple[float, str] | None:
        """When its sender was told that it failed, and why."""
        return self.said[number].line.answers.get(number)

    def is_settled(self, number: str) -> bool:
        return self.answer(number) is not None or bool(self.arrivals(number))

    def is_owed(self, number: str) -> bool:
        """Whether something must become of it: always, unless its sender's connection ended before it could be read and
        answered. That it was read is known from what was said later over the same connection, and settled.
        """
        line = self.said[number].line
        if line.ended_at is None:
            return True
        answered_by = min(line.ended_at, line.node.killed_at) - ANSWER_S
        if self.said[number].at >= answered_by:
            return False
        later = (other for other, said in self.said.items() if said.line is line and other > number)
        return any(at < answered_by for other in later for at in self._settled_at(other))

    def _settled_at(self, number: str) -> list[float]:
        answer = self.answer(number)
        return self.arrivals(number) + ([] if answer is None else [answer[0]])

    def unaccounted(self) -> list[str]:
        return [number for number in self.said if not self.is_settled(number) and self.is_owed(number)]

    @property
    def delivered(self) -> int:
        return sum(bool(self.arrivals(number)) for number in self.said)

    def answers_s(self, *nodes: Node) -> list[float]:
        """After how many seconds senders at these nodes (none named: at all) were told of failures."""
        return [
            answer[0] - said.at
            for number, said in self.said.items()
            if (answer := self.answer(number)) and (not nodes or said.line.node in nodes)
        ]

    def failed_within(self, limit_s: float) -> list[str]:
        """What was answered with an error so soon after it was said, which no slow machine explains."""
        answers = {number: self.answer(number) for number in self.said if not self.arrivals(number)}
        return [number for number, answer in answers.items() if answer and answer[0] - self.said[number].at < limit_s]

    def local_s(self, since: float) -> list[float]:
        """How long messages took between two who are both at one node, of those said from `since` on."""
        return [
            arrived - said.at
            for number, said in self.said.items()
            if said.at >= since and said.line.node is self.party(said.to).line.node
            for arrived in self.arrivals(number)
        ]

    def check(self) -> None:
        """Once, in order, to whom it was sent, from whom it says; and nothing is unaccounted for."""
        for party in self.parties:
            came = [number for line in party.lines for number in (*line.heard, *line.repeated)]
            assert len(came) == len(set(came)), f"twice to {party.client_id!r}"
            for line in party.lines:
                self._check_line(party, line)
        assert self.unaccounted() == []

    def _check_line(self, party: Party, line: Line) -> None:
        last: dict[Line, str] = {}
        for number in line.heard:
            assert number in self.said, f"{number} to {party.client_id!r} is of another channel"
            said = self.said[number]
            assert said.to == party.client_id, f"{number} came to {party.client_id!r}"
            assert party.client_id or line.senders[number] == said.sender
            assert last.get(said.line, "") < number, f"{number} to {party.client_id!r} is late"
            last[said.line] = number

    def open_masters(self) -> list[Line]:
        return [line for line in self.master.lines if not line.ended.is_set()]

    def open_viewers(self) -> list[Line]:
        return [line for viewer in self.viewers.values() for line in viewer.lines if not line.ended.is_set()]


@contextlib.asynccontextmanager
async def talking(*ledgers: Ledger, every_s: float = 0.1, size: int = _DIGITS) -> AsyncIterator[None]:
    """All of these talk while the block runs."""

    async def go_on() -> None:
        while True:
            for ledger in ledgers:
                await ledger.talk(size)
            await asyncio.sleep(every_s)

    async with asyncio.TaskGroup() as group:
        task = group.create_task(go_on())
        yield
        task.cancel()


@contextlib.asynccontextmanager
async def staying(*parties: Party, nodes: Sequence[Node]) -> AsyncIterator[None]:
    """These come back while the block runs, whenever their connection ends."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(party.stay(*nodes)) for party in parties]
        yield
        for task in tasks:
            task.cancel()
