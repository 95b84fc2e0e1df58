import asyncio
import itertools
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from aiortc.exceptions import InvalidStateError

from media.encoders.snapshot import Jpeg, SnapshotError
from media.peer.commands import CHUNK_BYTES, Move
from media.peer.control_channel import Abilities, ControlChannel
from media.peer.ptz import REPLACED, Ptz, PtzError

PICTURE = Jpeg(b"j" * (2 * CHUNK_BYTES + 1), 320, 180)


class Channel:
    """A data channel by hand: what the viewer says, what it hears."""

    def __init__(self, label: str = "control") -> None:
        self.label = label
        self.readyState = "open"
        self.bufferedAmount = 0
        self.transport = self
        self.state = "connected"
        self.says: Callable[[str | bytes], None] | None = None
        self.heard: asyncio.Queue[str | bytes] = asyncio.Queue()

    def on(self, event: str, receive: Callable[[str | bytes], None]) -> None:
        assert event == "message"
        self.says = receive

    def send(self, message: str | bytes) -> None:
        if self.readyState == "closing":
            raise InvalidStateError
        self.heard.put_nowait(message)

    def say(self, type: str, **fields: object) -> None:
        assert self.says is not None
        self.says(json.dumps({"type": type, **fields}))

    async def answer(self) -> dict[str, Any]:
        message = await self.heard.get()
        assert isinstance(message, str)
        said: dict[str, Any] = json.loads(message)
        return said


class Rig:
    """A control channel over abilities by hand."""

    def __init__(self, *, has_camera: bool = True) -> None:
        self.moves: list[Move] = []
        self.layer = 0
        self.picture: Jpeg | None = PICTURE
        self.control = ControlChannel(
            "v1", Abilities(self.take, self.choose, lambda: {"a": 1}, self.move if has_camera else None)
        )
        self.channel = Channel()
        self.control.opened(self.channel)  # type: ignore[arg-type]

    async def take(self) -> Jpeg:
        if self.picture is None:
            raise SnapshotError("dark")
        return self.picture

    def choose(self, layer: int | None) -> int:
        if layer == 7:
            raise ValueError("there is no layer 7")
        return layer or 0

    async def move(self, move: Move) -> None:
        if move.preset == 255:
            raise PtzError("stuck")
        self.moves.append(move)


async def test_what_needs_no_time_is_answered_at_once() -> None:
    channel = Rig().channel
    channel.say("ping", id=1, data={"sent": 12})
    channel.say("layer", id=2, data={"layer": 1})
    channel.say("layer", id=3, data={"layer": 7})
    channel.say("stats", id=4)
    assert [await channel.answer() for _ in range(4)] == [
        {"type": "pong", "id": 1, "data": {"sent": 12}},
        {"type": "layer", "id": 2, "data": {"layer": 1}},
        {"type": "error", "id": 3, "data": {"reason": "no-such-layer", "message": "there is no layer 7"}},
        {"type": "stats", "id": 4, "data": {"a": 1}},
    ]


async def test_a_snapshot_comes_in_pieces_after_its_size() -> None:
    rig = Rig()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(rig.control.run())
        rig.channel.say("snapshot", id=1)
        told = (await rig.channel.answer())["data"]
        assert told == {"mime": "image/jpeg", "width": 320, "height": 180, "size": 2 * CHUNK_BYTES + 1, "pieces": 3}
        pieces = [await rig.channel.heard.get() for _ in range(told["pieces"])]
        assert b"".join(piece for piece in pieces if isinstance(piece, bytes)) == PICTURE.data
        assert max(map(len, pieces)) == CHUNK_BYTES
        rig.picture = None
        rig.channel.say("snapshot", id=2)
        assert (await rig.channel.answer())["data"] == {"reason": "no-picture", "message": "dark"}
        task.cancel()


async def test_the_camera_is_moved_where_there_is_a_command() -> None:
    rig = Rig()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(rig.control.run())
        rig.channel.say("ptz", id=1, data={"pan": 0.5})
        assert await rig.channel.answer() == {"type": "ptz", "id": 1}
        rig.channel.say("ptz", id=2, data={"preset": 255})
        assert (await rig.channel.answer())["data"] == {"reason": "not-moved", "message": "stuck"}
        task.cancel()
    assert rig.moves == [Move(pan=0.5)]
    without = Rig(has_camera=False).channel
    without.say("ptz", data={"pan": 0.5})
    assert (await without.answer())["data"]["reason"] == "not-allowed"


class Camera(Ptz):
    """A program that takes until the test lets it go."""

    def __init__(self) -> None:
        super().__init__(())
        self.begun: asyncio.Queue[tuple[str, ...]] = asyncio.Queue()
        self.lets_go = asyncio.Event()

    async def _run(self, words: tuple[str, ...]) -> None:
        self.begun.put_nowait(words)
        await self.lets_go.wait()


async def test_a_stop_comes_next_however_many_moves_and_snapshots_wait() -> None:
    rig, camera = Rig(), Camera()
    dark = asyncio.Event()

    async def look() -> Jpeg:
        await dark.wait()
        return PICTURE

    control = ControlChannel("v1", Abilities(look, rig.choose, lambda: {}, camera.move))
    control.opened(rig.channel)  # type: ignore[arg-type]
    async with asyncio.TaskGroup() as group:
        task = group.create_task(control.run())
        rig.channel.say("snapshot", id="look")
        rig.channel.say("ptz", id=0, data={"pan": 0.5})
        assert await camera.begun.get() == ("move", "0.500", "0.000", "0.000")
        for number in range(1, 7):
            rig.channel.say("ptz", id=number, data={"preset": number})
        rig.channel.say("ptz", id="stop", data={})
        refused = [await rig.channel.answer() for _ in range(6)]
        assert {answer["data"]["reason"] for answer in refused} == {"not-moved"}
        assert sorted(answer["id"] for answer in refused) == [1, 2, 3, 4, 5, 6]
        camera.lets_go.set()
        assert await camera.begun.get() == ("move", "0.000", "0.000", "0.000")
        assert [(await rig.channel.answer())["id"] for _ in range(2)] == [0, "stop"]
        assert camera.begun.empty()
        task.cancel()


async def test_what_waits_is_bounded() -> None:
    rig = Rig()
    for number in range(6):
        rig.channel.say("ptz", id=number, data={})
    assert [await rig.channel.answer() for _ in range(rig.channel.heard.qsize())] == [
        {"type": "error", "id": number, "data": {"reason": "not-moved", "message": REPLACED}} for number in (0, 1)
    ]
    later = SimpleNamespace(time=itertools.count(rig.control._loop.time(), 10.0).__next__)
    rig.control._loop = later  # type: ignore[assignment]
    for number in range(6):
        rig.channel.say("snapshot", id=number)
    assert [(await rig.channel.answer())["data"]["reason"] for _ in range(rig.channel.heard.qsize())] == ["busy"] * 2


@pytest.mark.parametrize(
    ("name", "value"),
    [("readyState", "closed"), ("readyState", "closing"), ("bufferedAmount", 1 << 20), ("state", "closed")],
)
async def test_answers_that_cannot_go_out_are_counted(name: str, value: object) -> None:
    rig = Rig()
    setattr(rig.channel, name, value)
    rig.channel.say("stats")
    assert rig.channel.heard.empty()
    assert rig.control.stats.unsent == 1


async def test_channels_of_other_names_are_let_be() -> None:
    rig, other = Rig(), Channel("kvsDataChannel")
    rig.control.opened(other)  # type: ignore[arg-type]
    assert other.says is None
