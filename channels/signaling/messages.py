"""Signaling messages on the wire: client frame to value, value to server frame. The payload stays opaque. No I/O.

Source: KVS developer guide, websocket APIs; the raw forms of the JavaScript, C, Android and Python clients.
"""

import enum
import re
from typing import Final

import msgspec

_ID = re.compile(r"[a-zA-Z0-9_.-]{1,256}", re.ASCII)
_BASE64: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_"
_PADDINGS: Final = ("=", "==")
_DESCRIPTION_LIMIT: Final = 1024  # C SDK: STATUS_RESPONSE description
FRAME_LIMIT: Final = 18_750  # C SDK: a frame of this many bytes drops the connection


class Action(enum.StrEnum):
    """What a client may send; the server forwards it under the same name as `messageType`."""

    SDP_OFFER = "SDP_OFFER"
    SDP_ANSWER = "SDP_ANSWER"
    ICE_CANDIDATE = "ICE_CANDIDATE"


class Event(enum.Enum):
    """What the server may tell a client beside its messages. Both deadlock a stock C SDK 1.14: its listener waits
    for itself, the socket stays open and never speaks again. So nothing sends them unless the operator says so.
    """

    GO_AWAY = "GO_AWAY"
    RECONNECT_ICE_SERVER = "RECONNECT_ICE_SERVER"


class ClientMessage(msgspec.Struct, frozen=True, gc=False):
    """One client frame. `payload` is base64 as it came, never decoded; `recipient` is "" when the frame has none."""

    action: Action
    payload: str
    recipient: str = ""
    correlation_id: str = ""


class Status(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """The error part of a STATUS_RESPONSE; `status_code` is a string on the wire (KVS API: StatusResponse)."""

    correlation_id: str = ""
    error_type: str = ""
    status_code: str = ""
    description: str = ""


class ServerMessage(msgspec.Struct, frozen=True, gc=False, rename="camel", omit_defaults=True):
    """One server frame, as a client reads it. `message_payload` is always on the wire, also when empty."""

    message_payload: str
    message_type: str
    sender_client_id: str | None = None
    status_response: Status | None = None


class FrameError(Exception):
    """A client frame breaks the rules: answer with this code, text and id (possibly ""), and go on."""

    def __init__(self, message: str, correlation_id: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.correlation_id = correlation_id


class _Exact(msgspec.Struct, rename="camel", forbid_unknown_fields=True, gc=False):
    """The frame as JavaScript, Python, Android and iOS write it; any other key sends the frame to the slow path."""

    action: Action
    message_payload: str
    recipient_client_id: str | None = None
    correlation_id: str | None = None
    sender_client_id: object = None


_exact = msgspec.json.Decoder(_Exact)
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_text = msgspec.json.Decoder(str | None)
_server = msgspec.json.Decoder(ServerMessage)
_encoder = msgspec.json.Encoder()
_KEYS: Final = ("action", "messagepayload", "recipientclientid", "correlationid")
_ACTIONS: Final = {action.value: action for action in Action}


def decode(frame: str, payload_characters: int) -> ClientMessage:
    """Read a text frame of a client; keys match in any case, keys that nobody defined are ignored.

    `payload_characters` is the cap of the base64 text. Raises: FrameError, with the frame's correlation id
    where it could be read.
    """
    try:
        exact = _exact.decode(frame)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        action, payload, recipient, correlation_id = _any_case(frame)
        known = _ACTIONS.get(action)
    else:
        known, payload = exact.action, exact.message_payload
        recipient, correlation_id = exact.recipient_client_id or "", exact.correlation_id or ""
    if correlation_id and not _ID.fullmatch(correlation_id):
        raise FrameError("correlationId must be 1 to 256 characters of a-z A-Z 0-9 _ . -")
    if known is None:
        raise FrameError("action must be SDP_OFFER, SDP_ANSWER or ICE_CANDIDATE", correlation_id)
    if len(payload) > payload_characters:
        raise FrameError(
            f"messagePayload has {len(payload)} characters, the limit payload_characters is {payload_characters}",
            correlation_id,
        )
    is_unpadded = payload.isascii() and not payload.encode("ascii").translate(None, _BASE64) and len(payload) % 4 != 1
    if not is_unpadded and not _is_padded_base64(payload):
        raise FrameError("messagePayload must be base64", correlation_id)
    return ClientMessage(known, payload, recipient, correlation_id)


def _any_case(frame: str) -> tuple[str, str, str, str]:
    """Action, payload, recipient and correlation id of a frame whose keys are in any case (the C SDK's are Pascal)."""
    try:
        found = _object.decode(frame)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        raise FrameError("a frame must be one JSON object") from None
    raw: dict[str, msgspec.Raw] = {}
    twice = ""
    for key, value in found.items():
        lower = key.lower()
        if lower in _KEYS:
            twice = key if lower in raw else twice
            raw[lower] = value
    correlation_id = _read(raw, "correlationid", "correlationId", "")
    if correlation_id and not _ID.fullmatch(correlation_id):
        raise FrameError("correlationId must be 1 to 256 characters of a-z A-Z 0-9 _ . -")
    if twice:
        # Two spellings of one key say two things; guessing which one was meant would be a choice for the sender.
        raise FrameError(f"the key {_documented(twice)} comes twice, in different case", correlation_id)
    return (
        _read_required(raw, "action", "action", correlation_id),
        _read_required(raw, "messagepayload", "messagePayload", correlation_id),
        _read(raw, "recipientclientid", "recipientClientId", correlation_id),
        correlation_id,
    )


def _documented(key: str) -> str:
    """The spelling of a known key in the API's documentation, for error texts."""
    names = ("action", "messagePayload", "recipientClientId", "correlationId")
    return names[_KEYS.index(key.lower())]


def _read(raw: dict[str, msgspec.Raw], key: str, name: str, correlation_id: str) -> str:
    value = raw.get(key)
    if value is None:
        return ""
    try:
        return _text.decode(value) or ""
    except msgspec.DecodeError:
        raise FrameError(f"{name} must be a string", correlation_id) from None


def _read_required(raw: dict[str, msgspec.Raw], key: str, name: str, correlation_id: str) -> str:
    if key not in raw:
        raise FrameError(f"the frame has no {name}", correlation_id)
    if bytes(raw[key]).strip() == b"null":
        raise FrameError(f"{name} must be a string", correlation_id)
    return _read(raw, key, name, correlation_id)


def _is_padded_base64(payload: str) -> bool:
    """Whether the text is padded base64, standard or URL-safe alphabet (Android). Nothing is decoded."""
    if not payload.isascii():
        return False
    rest = payload.encode("ascii").translate(None, _BASE64).decode()
    return rest in _PADDINGS and payload.endswith(rest) and len(payload) % 4 == 0


def encode(message: ClientMessage, sender_client_id: str | None) -> bytes:
    """The server frame that carries `message`; give a sender only towards the master (KVS API: SDP_OFFER event)."""
    return _encoder.encode(ServerMessage(message.payload, message.action, sender_client_id))


def encode_status(status: Status) -> bytes:
    """The STATUS_RESPONSE frame; the description is cut to what the C SDK accepts."""
    if len(status.description) > _DESCRIPTION_LIMIT:
        status = msgspec.structs.replace(status, description=status.description[:_DESCRIPTION_LIMIT])
    return _encoder.encode(ServerMessage("", "STATUS_RESPONSE", None, status))


def encode_event(event: Event) -> bytes:
    """The frame of an event; its payload is empty, but there (the Python sample wants the key)."""
    return _encoder.encode(ServerMessage("", event.value))


def encode_client(message: ClientMessage) -> str:
    """The frame a client of ours sends."""
    body = {"action": message.action.value, "messagePayload": message.payload}
    if message.recipient:
        body["recipientClientId"] = message.recipient
    if message.correlation_id:
        body["correlationId"] = message.correlation_id
    return _encoder.encode(body).decode()


def decode_server(frame: str | bytes) -> ServerMessage:
    """Read a server frame. Raises: FrameError."""
    try:
        return _server.decode(frame)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        raise FrameError("the server sent a frame that is no signaling message") from None
