"""One end of an ICE connection with aioice, as a process of its own: lines of JSON on stdin and stdout are signaling.

Says what it gathered, is told what the other end gathered, connects, sends a word, says which pair was selected.
"""

import asyncio
import json
import sys
import time
from typing import Any

import aioice


def say(**facts: object) -> None:
    print(json.dumps(facts), flush=True)


async def hear() -> dict[str, Any]:
    line = await asyncio.to_thread(sys.stdin.readline)
    return json.loads(line) if line else {}


async def gather(connection: aioice.Connection) -> None:
    started = time.monotonic()
    await connection.gather_candidates()
    say(
        username=connection.local_username,
        password=connection.local_password,
        candidates=[candidate.to_sdp() for candidate in connection.local_candidates],
        gather_s=time.monotonic() - started,
    )


async def connect(connection: aioice.Connection, other: dict[str, Any], limit_s: float) -> bool:
    connection.remote_username, connection.remote_password = other["username"], other["password"]
    for candidate in other["candidates"]:
        await connection.add_remote_candidate(aioice.Candidate.from_sdp(candidate))
    await connection.add_remote_candidate(None)
    try:
        async with asyncio.timeout(limit_s):
            await connection.connect()
    except (ConnectionError, TimeoutError):
        return False
    return True


async def exchange(connection: aioice.Connection, limit_s: float) -> bytes:
    """Send a word; the other end's, or nothing where that gave up before it was connected."""
    try:
        async with asyncio.timeout(limit_s):
            await connection.send(b"word")
            return await connection.recv()
    except (ConnectionError, TimeoutError):
        return b""


async def refresh(connection: aioice.Connection) -> None:
    """Refresh the allocation now, as aioice itself does 500 s later."""
    for protocol in connection._protocols:
        if protocol.local_candidate.type == "relay":
            transport: Any = protocol.transport
            client = transport._TurnTransport__inner_protocol
            request = aioice.stun.Message(aioice.stun.Method.REFRESH, aioice.stun.Class.REQUEST)
            request.attributes["LIFETIME"] = client.lifetime
            response, _ = await client.request_with_retry(request)
            assert response.attributes["LIFETIME"] == client.lifetime


async def main() -> None:
    options = json.loads(sys.argv[1])
    limit_s, is_refreshed = options.pop("limit_s"), options.pop("is_refreshed")
    for server in ("stun_server", "turn_server"):
        options[server] = options[server] and tuple(options[server])
    options["transport_policy"] = aioice.TransportPolicy[options["transport_policy"]]
    connection = aioice.Connection(**options)
    try:
        await gather(connection)
        other = await hear()
        started = time.monotonic()
        if await connect(connection, other, limit_s):
            connect_s = time.monotonic() - started
            pair = connection._nominated[1]
            if is_refreshed:
                await refresh(connection)
            word = await exchange(connection, 2 * limit_s)
            ends = {"local": pair.local_candidate.type, "remote": pair.remote_candidate.type}
            say(is_connected=word == b"word", connect_s=connect_s, **ends)
        else:
            say(is_connected=False, connect_s=time.monotonic() - started, local="", remote="")
        await hear()  # the other end needs us until it has heard our word
    finally:
        await connection.close()


asyncio.run(main())
