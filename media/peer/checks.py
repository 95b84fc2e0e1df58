"""Connectivity checks of a connected or connecting peer, where aioice's own are too slow. Touches its private names."""

import asyncio
import contextlib
from collections.abc import Callable

from aioice import Connection
from aioice.ice import ICE_COMPLETED, ICE_FAILED, CandidatePair, StunProtocol
from aioice.stun import Message, TransactionError

_PACE_S = 0.02
"""Between two checks that nothing called for, as in aioice."""
_ASK_EVERY_S = 1.0
_ADDRESSES_LIMIT = 128
"""Twice as many as a viewer may tell of: whoever checks from more of its own addresses gets no pairs for them."""
_RETRANSMISSIONS = 2
"""After 0.5 and 1.5 s; an answer is good for 3.5 s."""


def connect_at_once(connection: Connection) -> None:
    """Go on the moment that a pair is selected; aioice looks for that every 20 ms. The rest is as its own `connect`."""
    told, decided = connection._check_list_state.put_nowait, asyncio.Event()

    def tell(item: int) -> None:
        told(item)
        decided.set()

    async def connect() -> None:
        _begin(connection)
        while connection._check_periodic():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_PACE_S):
                    await decided.wait()
        state = await connection._check_list_state.get() if connection._check_list else ICE_FAILED
        for check in connection._check_list:
            if check.task is not None:
                check.task.cancel()
        if state != ICE_COMPLETED:
            raise ConnectionError("ICE negotiation failed")
        # Its own task: closing the connection ends it by this name.
        connection._query_consent_task = asyncio.create_task(connection.query_consent())

    connection._check_list_state.put_nowait = tell  # type: ignore[method-assign]
    connection.connect = connect  # type: ignore[method-assign]


def _begin(connection: Connection) -> None:
    """Pair the candidates that there are, and take the checks that came before."""
    if not connection._local_candidates_end or connection.remote_username is None or connection.remote_password is None:
        raise ConnectionError("neither side may be unknown")
    for candidate in connection._remote_candidates:
        connection._pair_remote_candidate(candidate)
    connection.sort_check_list()
    connection._unfreeze_initial()
    for message, address, protocol in connection._early_checks:
        connection.check_incoming(message, address, protocol)
    connection._early_checks.clear()
    connection._early_checks_done = True


def recheck_when_asked(connection: Connection, heard: Callable[[], None] = lambda: None) -> None:
    """Repeat a pair's own check when the other side's check comes in while it is under way (RFC 8445, 7.3.1.4).

    Our first check to a relayed address is lost before the permission for us is there; aioice would wait half a second.
    `heard` is called for each authenticated check of the other side. One without a priority is left, and so are those
    from ever new addresses: aioice would keep a pair and a task for each.
    """
    receive = connection.check_incoming
    repeated: set[int] = set()

    def check_incoming(message: Message, addr: tuple[str, int], protocol: StunProtocol) -> None:
        heard()
        if "PRIORITY" not in message.attributes or _is_one_too_many(connection, addr):
            return
        receive(message, addr, protocol)
        for pair in connection._check_list:
            if pair.protocol is protocol and pair.remote_addr == addr and id(pair) not in repeated:
                repeated.add(id(pair))
                if pair.state is CandidatePair.State.IN_PROGRESS and pair.task is not None:
                    pair.task.cancel()
                    pair.task = None
                    connection.check_start_task(pair)

    connection.check_incoming = check_incoming  # type: ignore[method-assign]


def _is_one_too_many(connection: Connection, addr: tuple[str, int]) -> bool:
    known = connection._remote_candidates
    return len(known) >= _ADDRESSES_LIMIT and all((each._network_host, each.port) != addr for each in known)


def ask_when_silent(connection: Connection, must_ask: Callable[[], bool], heard: Callable[[], None]) -> None:
    """Check the selected pair each second in which `must_ask` says so, and call `heard` at each answer.

    In the place of aioice's consent checks, which take 30 s to see that the other side is gone (RFC 7675, 5.1); who
    hears nothing for too long closes the connection.
    """

    async def ask(pair: CandidatePair) -> None:
        request = connection.build_request(pair, nominate=False)
        key = (connection.remote_password or "").encode()
        try:
            await pair.protocol.request(request, pair.remote_addr, integrity_key=key, retransmissions=_RETRANSMISSIONS)
        except TransactionError:
            return
        except Exception:  # noqa: BLE001 - a socket that is closing raises anything; silence tells the rest
            return
        heard()

    async def query_consent() -> None:
        async with asyncio.TaskGroup() as group:
            while True:
                await asyncio.sleep(_ASK_EVERY_S)
                if must_ask():
                    for pair in tuple(connection._nominated.values()):
                        group.create_task(ask(pair))

    connection.query_consent = query_consent  # type: ignore[method-assign]
