"""How answers to requests are written (RFC 8489, 6.3; RFC 8656, 7.2). No I/O, no state."""

from media.turn import address, stun
from media.turn.allocate import RequestError
from media.turn.allocation import Client
from media.turn.credential import Account
from media.turn.effects import ToClient

Attributes = list[tuple[int, bytes]]

REASONS = {
    300: "Try Alternate",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    420: "Unknown Attribute",
    437: "Allocation Mismatch",
    438: "Stale Nonce",
    440: "Address Family not Supported",
    441: "Wrong Credentials",
    442: "Unsupported Transport Protocol",
    443: "Peer Address Family Mismatch",
    446: "Connection Already Exists",
    447: "Connection Timeout or Failure",
    486: "Allocation Quota Reached",
    508: "Insufficient Capacity",
}


def success(client: Client, request: stun.Message, attributes: Attributes, account: Account | None = None) -> ToClient:
    """Write the success response; with an account it is signed."""
    return _reply(client, request, stun.SUCCESS, attributes, account)


def failure(client: Client, request: stun.Message, error: RequestError, account: Account | None = None) -> ToClient:
    """Write the error response; with an account it is signed."""
    reason = "" if error.is_terse else REASONS[error.code]
    code = (stun.ERROR_CODE, stun.error_code(error.code, reason))
    return _reply(client, request, stun.ERROR, [code, *error.attributes], account)


def mapped(client: Client, request: stun.Message) -> tuple[int, bytes]:
    """Write XOR-MAPPED-ADDRESS: where the request came from."""
    host, port = client[1][:2]
    return stun.XOR_MAPPED_ADDRESS, stun.xor_address(address.pack(host), port, request.transaction_id)


def unknown_attributes(types: list[int], *, is_terse: bool = False) -> RequestError:
    """Return the 420 that names the types (RFC 8489, 14.13)."""
    value = b"".join(each.to_bytes(2) for each in types)
    return RequestError(420, ((stun.UNKNOWN_ATTRIBUTES, value),), is_terse=is_terse)


def try_alternate(server: tuple[bytes, int]) -> RequestError:
    """Return the 300 that sends the client to another server (RFC 8489, 14.15)."""
    return RequestError(300, ((stun.ALTERNATE_SERVER, stun.plain_address(*server)),), refusal="draining")


def _reply(
    client: Client, request: stun.Message, kind: int, attributes: Attributes, account: Account | None
) -> ToClient:
    message = stun.Message(request.method, kind, request.transaction_id, attributes)
    message.has_fingerprint = request.has_fingerprint
    key = None if account is None else account.key
    return ToClient(client[0], client[1], b"", stun.encode(message, key, is_sha256=request.wants_sha256))
