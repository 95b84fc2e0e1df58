"""An offer that is asked as one call: a viewer without a websocket, for as long as the master may take to answer.

It takes a viewer's slot and obeys a viewer's rules; where the master is, or whether it comes at all, the hub knows.
KVS API: SendAlexaOfferToMaster.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

import msgspec

from channels.errors import (
    InvalidArgumentException,
    ResourceNotFoundException,
    ServiceError,
    ServiceUnavailableException,
    UnrecognizedClientException,
)
from channels.service import service_error
from channels.signaling import messages
from channels.signaling.hub import Hub
from channels.signaling.members import Connect
from channels.signaling.messages import Action, ClientMessage
from channels.signaling.protocol import NORMAL, POLICY_VIOLATION

_CORRELATION_ID: Final = "ask"
Gone = Callable[[], Coroutine[Any, Any, None]]


class AskerLeftError(Exception):
    """Whoever asked does not wait for the answer any more."""


class _Asker:
    """The connection of one asker, as the hub sees it; `outcome` is the answer, or why there is none."""

    def __init__(self, hub: Hub, ttl_s: float) -> None:
        self.outcome: asyncio.Future[str | ServiceError] = asyncio.get_running_loop().create_future()
        self.is_listening = False
        self._hub = hub
        self._ttl_s = ttl_s
        self._ends_at = hub.now() + ttl_s

    def send(self, frame: bytes) -> bool:
        """Take the answer, or the refusal of the offer; candidates are of no use in one answer."""
        if not self.is_listening:
            return True  # an answer to an earlier asker of this client id
        message = messages.decode_server(frame)
        status = message.status_response
        if status is not None:
            self._end(service_error(int(status.status_code), status.error_type, {"message": status.description}))
        elif message.message_type == Action.SDP_ANSWER.value:
            self._end(message.message_payload)
        return True

    def close(self, code: int, reason: str) -> None:
        """The hub ended it: because its time is over, or somebody else wants it so."""
        self._end(self._error(code, reason))

    def pause(self) -> None:
        """It says nothing more in any case."""

    def _error(self, code: int, reason: str) -> ServiceError:
        if self._hub.is_draining:
            return ServiceUnavailableException(f"{reason}: ask again, another node answers")
        if code == NORMAL:
            return InvalidArgumentException(f"SenderClientId: {reason}")
        if code == POLICY_VIOLATION:
            return UnrecognizedClientException(reason)
        if self._hub.now() >= self._ends_at:
            return ResourceNotFoundException(f"no master answered within {self._ttl_s:g} s (MessageTtlSeconds)")
        return ResourceNotFoundException(f"no master answered: {reason}")

    def _end(self, outcome: str | ServiceError) -> None:
        if not self.outcome.done():
            self.outcome.set_result(outcome)


class Asks:
    """Asks the masters of one node's channels, wherever they are connected."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def ask(self, connect: Connect, offer: str, gone: Gone) -> str:
        """Send an offer (base64) as the viewer that `connect` names, and return the master's answer (base64).

        The channel's time to live is how long it takes at most; `gone` returns when the asker has left.

        Raises: ResourceNotFoundException (no answer in that time), InvalidArgumentException (no base64, or a newer
        connection took the client id), ClientLimitExceededException, ServiceUnavailableException (draining, or the
        master was lost), UnrecognizedClientException (revoked meanwhile), AskerLeftError.
        """
        ttl_s = float(connect.channel.message_ttl_s)
        asker = _Asker(self._hub, ttl_s)
        member = await self._hub.connect(msgspec.structs.replace(connect, lifetime_s=ttl_s), asker)
        try:
            asker.is_listening = True
            message = ClientMessage(Action.SDP_OFFER, offer, correlation_id=_CORRELATION_ID)
            self._hub.receive(member, messages.encode_client(message))
            await _either(asker.outcome, gone)
        finally:
            await self._hub.disconnect(member)
        if not asker.outcome.done():
            raise AskerLeftError
        outcome = asker.outcome.result()
        if isinstance(outcome, ServiceError):
            raise outcome
        return outcome


async def _either(outcome: asyncio.Future[str | ServiceError], gone: Gone) -> None:
    async with asyncio.TaskGroup() as group:
        leaving = group.create_task(gone())
        await asyncio.wait((outcome, leaving), return_when=asyncio.FIRST_COMPLETED)
        leaving.cancel()
