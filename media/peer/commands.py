"""Commands of a viewer on the data channel `control`: message in, command or answer out. No I/O, no clock.

A message is JSON text `{"type": ..., "id": ..., "data": ...}` of at most 16 KB; the answer carries the same `id`. Its
type is that of the command (`pong` for `ping`), or `error` with `data` of `reason` and `message`. Whatever the bytes
are, nothing is raised.
"""

from typing import Annotated

import msgspec

from channels.bucket import Bucket

LABEL = "control"
MESSAGE_LIMIT = 16 * 1024
COMMANDS_PER_S = 10.0
SNAPSHOTS_PER_S = 2.0
LAYERS_PER_S, LAYERS_AT_ONCE = 0.5, 4.0
"""A change of the layer starts an encoder and costs all that have this layer a key frame."""
CHUNK_BYTES = 16 * 1024
"""Longest piece of a snapshot; every peer takes messages of this size (RFC 8831, 6.6)."""

Id = Annotated[str, msgspec.Meta(max_length=64)] | Annotated[int, msgspec.Meta(ge=-(2**53), le=2**53)] | None
_Speed = Annotated[float, msgspec.Meta(ge=-1, le=1)]


class LayerChoice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The layer to show: 0 is full size, each further one half of that; None lets the master choose."""

    layer: Annotated[int, msgspec.Meta(ge=0, le=7)] | None


class Move(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Speeds from -1 to 1, all 0 to stop; with `preset` a stored position is taken instead."""

    pan: _Speed = 0.0
    tilt: _Speed = 0.0
    zoom: _Speed = 0.0
    preset: Annotated[int, msgspec.Meta(ge=0, le=255)] | None = None

    def words(self) -> tuple[str, ...]:
        """Arguments for the configured command: `move PAN TILT ZOOM` or `preset NUMBER`; no other character occurs."""
        if self.preset is not None:
            return ("preset", str(self.preset))
        return ("move", *(f"{speed + 0.0:.3f}" for speed in (self.pan, self.tilt, self.zoom)))


class Ping(msgspec.Struct, frozen=True, tag="ping"):
    """Asks for an echo of `data`, which may be any JSON."""

    id: Id = None
    data: msgspec.Raw = msgspec.Raw(b"null")


class Snapshot(msgspec.Struct, frozen=True, tag="snapshot"):
    """Asks for the last picture as JPEG: an answer with its size, then binary messages of at most 16 KB each."""

    id: Id = None


class ChooseLayer(msgspec.Struct, frozen=True, tag="layer"):
    """Chooses the layer of the picture."""

    data: LayerChoice
    id: Id = None


class Stats(msgspec.Struct, frozen=True, tag="stats"):
    """Asks what the master counts about this viewer."""

    id: Id = None


class Ptz(msgspec.Struct, frozen=True, tag="ptz"):
    """Moves the camera, where the master has a command for it."""

    data: Move
    id: Id = None


Command = Ping | Snapshot | ChooseLayer | Stats | Ptz
FOR_ALL = frozenset({"ping", "snapshot", "layer", "stats"})
"""Commands that touch nobody but the viewer itself."""


class Piece(msgspec.Struct, frozen=True):
    """How a snapshot follows its answer: `size` bytes in `pieces` messages."""

    mime: str
    width: int
    height: int
    size: int
    pieces: int


class _Header(msgspec.Struct):
    type: str = ""
    id: Id = None


class _Fault(msgspec.Struct):
    reason: str
    message: str


class _Answer(msgspec.Struct, omit_defaults=True):
    type: str
    id: Id = None
    data: object = None


_command_decoder: msgspec.json.Decoder[Command] = msgspec.json.Decoder(Command)
_header_decoder = msgspec.json.Decoder(_Header)
_encoder = msgspec.json.Encoder()


class CommandStats(msgspec.Struct):
    """Counters: commands taken, refused with an answer, and dropped without one; answers that did not go out."""

    taken: int = 0
    refused: int = 0
    dropped: int = 0
    unsent: int = 0


class CommandDoor:
    """Lets the commands of one viewer in: those of `allowed`, ten a second; `now` is monotonic seconds."""

    def __init__(self, allowed: frozenset[str], now: float) -> None:
        self._allowed = allowed
        self._rate = Bucket(COMMANDS_PER_S, COMMANDS_PER_S, now)
        self._snapshots = Bucket(SNAPSHOTS_PER_S, SNAPSHOTS_PER_S, now)
        self._layers = Bucket(LAYERS_PER_S, LAYERS_AT_ONCE, now)
        self._complaints = Bucket(1.0, 1.0, now)
        self.stats = CommandStats()

    def receive(self, message: str | bytes, now: float) -> Command | str | None:
        """Give the command, or the answer that refuses it; None drops it: too many are refused once a second only."""
        if self._rate.take(now):
            if self._complaints.take(now):
                self.stats.dropped += 1
                return None
            return self._refuse(None, "too-many", f"at most {COMMANDS_PER_S:g} commands a second")
        if isinstance(message, bytes):
            return self._refuse(None, "not-text", "a command is JSON text")
        if len(message) > MESSAGE_LIMIT or len(message.encode()) > MESSAGE_LIMIT:
            return self._refuse(None, "too-long", f"at most {MESSAGE_LIMIT} bytes")
        return self._decode(message, now)

    def _decode(self, message: str, now: float) -> Command | str:
        try:
            header = _header_decoder.decode(message)
        except (msgspec.DecodeError, RecursionError):
            return self._refuse(None, "malformed", "a command is a JSON object with a type and an id")
        if header.type not in _KNOWN:
            return self._refuse(
                header.id, "unknown", f"there is no such command; there are {', '.join(sorted(_KNOWN))}"
            )
        if header.type not in self._allowed:
            return self._refuse(header.id, "not-allowed", f"this viewer may not send {header.type}")
        try:
            command = _command_decoder.decode(message)
        except (msgspec.DecodeError, RecursionError) as error:
            return self._refuse(header.id, "malformed", f"{header.type}: {error}")
        if isinstance(command, Snapshot) and self._snapshots.take(now):
            return self._refuse(command.id, "too-many", f"at most {SNAPSHOTS_PER_S:g} snapshots a second")
        if isinstance(command, ChooseLayer) and self._layers.take(now):
            return self._refuse(command.id, "too-many", f"at most {LAYERS_PER_S:g} changes of the layer a second")
        self.stats.taken += 1
        return command

    def _refuse(self, id: Id, reason: str, message: str) -> str:
        self.stats.refused += 1
        return refusal(id, reason, message)


_KNOWN = FOR_ALL | {"ptz"}


def answer(type: str, id: Id, data: object = None) -> str:
    """Write an answer; `data` is whatever JSON can hold, a Struct too."""
    return _encoder.encode(_Answer(type, id, data)).decode()


def refusal(id: Id, reason: str, message: str) -> str:
    """Write an answer that says why a command was not carried out."""
    return answer("error", id, _Fault(reason, message))
