"""The data channel `control` of one viewer: commands in, answers and snapshots out. Rules: `commands.py`."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

import msgspec
from aiortc import RTCDataChannel
from aiortc.exceptions import InvalidStateError

from media.encoders import snapshot
from media.encoders.snapshot import Jpeg, SnapshotError
from media.peer import commands
from media.peer.commands import CHUNK_BYTES, FOR_ALL, ChooseLayer, Command, CommandDoor, Move, Ping, Ptz, Snapshot
from media.peer.ptz import REPLACED, PtzError

_log = logging.getLogger(__name__)

_WAITING = 4
_BUFFERED_LIMIT = 256 * 1024
"""Answers to a viewer that takes none are dropped from here on."""


class Abilities(msgspec.Struct, frozen=True):
    """What commands do: `choose_layer` gives the layer to come and raises ValueError; no `move`, no camera."""

    take_snapshot: Callable[[], Awaitable[Jpeg]]
    choose_layer: Callable[[int | None], int]
    stats: Callable[[], object]
    move: Callable[[Move], Awaitable[None]] | None = None


class ControlChannel:
    """Serves all channels labelled `control` of one peer together; others are let be."""

    def __init__(self, client_id: str, abilities: Abilities) -> None:
        self._client_id = client_id
        self._abilities = abilities
        self._loop = asyncio.get_running_loop()
        allowed = FOR_ALL if abilities.move is None else FOR_ALL | {"ptz"}
        self._door = CommandDoor(allowed, self._loop.time())
        self._snapshots: asyncio.Queue[tuple[RTCDataChannel, Snapshot]] = asyncio.Queue(_WAITING)
        self._moves: asyncio.Queue[tuple[RTCDataChannel, Ptz]] = asyncio.Queue(_WAITING)
        self.stats = self._door.stats

    def opened(self, channel: RTCDataChannel) -> None:
        """Listen to a channel that the viewer opened."""
        if channel.label != commands.LABEL:
            return
        _log.info("control channel opened", extra={"client_id": self._client_id})
        channel.on("message", lambda message: self._received(channel, message))

    async def run(self) -> None:
        """Carry out what takes time until cancelled: snapshots one after another, moves as the camera takes them."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._take_snapshots())
            while True:
                channel, command = await self._moves.get()
                group.create_task(self._move(channel, command))

    async def _take_snapshots(self) -> None:
        while True:
            await self._snapshot(*await self._snapshots.get())

    def _received(self, channel: RTCDataChannel, message: str | bytes) -> None:
        command = self._door.receive(message, self._loop.time())
        if isinstance(command, str):
            self._send(channel, command)
        elif isinstance(command, Snapshot):
            if self._snapshots.full():
                self._send(channel, commands.refusal(command.id, "busy", f"{_WAITING} snapshots wait already"))
            else:
                self._snapshots.put_nowait((channel, command))
        elif isinstance(command, Ptz):
            if self._moves.full():
                oldest_channel, oldest = self._moves.get_nowait()
                self._send(oldest_channel, commands.refusal(oldest.id, "not-moved", REPLACED))
            self._moves.put_nowait((channel, command))
        elif command is not None:
            self._send(channel, self._at_once(command))

    def _at_once(self, command: Command) -> str:
        if isinstance(command, Ping):
            return commands.answer("pong", command.id, command.data)
        if isinstance(command, ChooseLayer):
            try:
                layer = self._abilities.choose_layer(command.data.layer)
            except ValueError as error:
                return commands.refusal(command.id, "no-such-layer", str(error))
            return commands.answer("layer", command.id, commands.LayerChoice(layer))
        return commands.answer("stats", command.id, self._abilities.stats())

    async def _snapshot(self, channel: RTCDataChannel, command: Snapshot) -> None:
        try:
            jpeg = await self._abilities.take_snapshot()
        except SnapshotError as error:
            self._send(channel, commands.refusal(command.id, "no-picture", str(error)))
            return
        pieces = range(0, len(jpeg.data), CHUNK_BYTES)
        told = commands.Piece(snapshot.MIME, jpeg.width, jpeg.height, len(jpeg.data), len(pieces))
        if self._send(channel, commands.answer("snapshot", command.id, told)):
            for start in pieces:
                self._send(channel, jpeg.data[start : start + CHUNK_BYTES], is_bound=False)

    async def _move(self, channel: RTCDataChannel, command: Ptz) -> None:
        move = self._abilities.move
        assert move is not None  # noqa: S101  the door lets no other in
        try:
            await move(command.data)
        except PtzError as error:
            self._send(channel, commands.refusal(command.id, "not-moved", str(error)))
        else:
            self._send(channel, commands.answer("ptz", command.id))

    def _send(self, channel: RTCDataChannel, message: str | bytes, *, is_bound: bool = True) -> bool:
        """Send unless the viewer is gone or takes nothing; a snapshot that was begun is sent to its end."""
        is_full = is_bound and channel.bufferedAmount > _BUFFERED_LIMIT
        if channel.readyState != "open" or is_full or channel.transport.transport.state != "connected":
            self.stats.unsent += 1
            return False
        try:
            channel.send(message)
        except (InvalidStateError, ValueError):  # closed meanwhile, or longer than what the viewer takes
            self.stats.unsent += 1
            return False
        return True
