"""uvicorn's own websocket behind our door."""

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.app.served import Echo, nothing, serving


async def test_a_shutdown_closes_with_1001_and_never_with_1012() -> None:
    echo = Echo()
    async with (
        serving(echo, nothing, websocket="stock") as (place, server),
        connect(f"ws://{place}/viewer") as client,
    ):
        (connection,) = server.server_state.connections
        connection.shutdown()
        with pytest.raises(ConnectionClosed) as caught:
            await client.recv()
        echo.go.set()
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 1001
