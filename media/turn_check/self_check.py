"""What a server finds out about its own advertised address: it allocates a relay at itself and sends to it."""

import enum
import secrets

import msgspec

from media.turn import address, stun
from media.turn.address import SocketAddress
from media.turn_check import verdict
from media.turn_check.client import Credential, TurnClient
from media.turn_check.dialog import Dialog
from media.turn_check.link import UdpLink
from media.turn_check.verdict import LinkError

TIMEOUT_S = 3.0
_TOKEN_BYTES = 16
_SET = "set --turn-advertised-address to the address at which clients reach this machine"


class Reach(enum.Enum):
    """What is known of the advertised address."""

    HERE = "leads here"
    PRIVATE = "leads here, but is private"
    UNKNOWN = "cannot be verified from inside"
    NOWHERE = "does not lead here"


class Finding(msgspec.Struct, frozen=True):
    """What was found; the sentence is for a person, with what to do where something is wrong."""

    reach: Reach
    address: str
    sentence: str


class SelfCheckOrder(msgspec.Struct, frozen=True):
    """Where our listener is, with which credential to ask, and which packed addresses are this machine's."""

    listener: tuple[str, int]
    credential: Credential
    own: frozenset[bytes]
    timeout_s: float = TIMEOUT_S


async def check_self(order: SelfCheckOrder) -> Finding:
    """Try the advertised address. Behind a NAT that leads nothing back in, this says so and does not cry wolf."""
    try:
        dialog = Dialog(UdpLink(*order.listener), TurnClient(order.credential, _new_id), order.timeout_s)
    except LinkError as error:
        return _refused(str(error))
    try:
        answer = await dialog.allocate()
        if answer.code or dialog.relayed is None:
            return _refused(f"{answer.code} {answer.reason}".strip())
        return await _judge(dialog, dialog.relayed, order)
    except LinkError as error:
        return _refused(str(error))
    finally:
        dialog.leave()


def _new_id() -> bytes:
    return secrets.token_bytes(12)


def _refused(seen: str) -> Finding:
    return Finding(Reach.NOWHERE, "", f"TURN gives itself no relay ({seen}): clients will not get one either")


async def _judge(dialog: Dialog, relayed: SocketAddress, order: SelfCheckOrder) -> Finding:
    host, port = relayed[:2]
    is_own = address.pack(host) in order.own
    finding = unreachable(host)
    if finding is not None:
        return finding
    has_arrived = await _arrives(dialog, host, port, order.timeout_s, is_own=is_own)
    return arrived(host) if has_arrived else lost((host, port), order.listener[1], is_own=is_own)


def unreachable(host: str) -> Finding | None:
    """Return what is wrong with an address that no other machine can reach, None for one that may be reached."""
    special = address.special_range(address.pack(host))
    if special is None or (special.is_openable and special.name != "loopback"):
        return None
    sentence = f"relays are advertised at {host} ({special.name}), where no other machine reaches them: {_SET}"
    return Finding(Reach.NOWHERE, host, sentence)


def arrived(host: str) -> Finding:
    """Return what to say of an address at which we reach ourselves."""
    if not address.is_private(address.pack(host)):
        return Finding(Reach.HERE, host, f"relays are advertised at {host}, which leads here")
    sentence = f"relays are advertised at {host}, which only this private network reaches: for clients elsewhere {_SET}"
    return Finding(Reach.PRIVATE, host, sentence)


def lost(relayed: tuple[str, int], listener_port: int, *, is_own: bool) -> Finding:
    """Return what to say when nothing arrives at the relayed address, which is this machine's own or somebody's."""
    host, port = relayed
    if is_own:
        sentence = (
            f"relays are advertised at {host}, but UDP to port {port} there is lost: let UDP in on the whole range of "
            "relay ports in the firewall of this machine"
        )
        return Finding(Reach.NOWHERE, host, sentence)
    sentence = (
        f"relays are advertised at {host}; whether it leads here cannot be verified from inside: run "
        f"`heliograph turn check turn:{verdict.shown((host, listener_port))}` in another network"
    )
    return Finding(Reach.UNKNOWN, host, sentence)


async def _arrives(dialog: Dialog, host: str, port: int, limit_s: float, *, is_own: bool) -> bool:
    """Tell whether a plain socket's datagram to the relay comes out at the client."""
    data = secrets.token_bytes(_TOKEN_BYTES)
    outside = None
    try:
        # From the advertised address to itself: one that relays may always reach, and as a NAT shows us to itself
        outside = UdpLink(host, port, local_host=host if is_own else "")
        answer = await dialog.ask(stun.CREATE_PERMISSION, (), (host, port))
        if answer.code:
            return False
        await dialog.hear(data, lambda: outside.send(data))
    except LinkError:
        return False
    finally:
        if outside is not None:
            outside.close()
    return True
