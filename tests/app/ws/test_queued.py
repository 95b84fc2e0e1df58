"""The queue in front of a websocket that ASGI alone knows."""

import asyncio

from app.ws.queued import SocketConnection


class ClosedByServer:
    """A websocket that the server has closed by itself: it refuses what is sent."""

    async def send_text(self, text: str) -> None:
        raise RuntimeError("Unexpected ASGI message 'websocket.send', after sending 'websocket.close'.")


async def test_a_socket_that_the_server_closed_by_itself_ends_its_writer() -> None:
    connection = SocketConnection(ClosedByServer(), 100)  # type: ignore[arg-type]
    connection.send(b"{}")

    async with asyncio.timeout(15):
        await connection.write()


def test_a_socket_takes_what_fits_and_nothing_after_its_close() -> None:
    connection = SocketConnection(ClosedByServer(), 10)  # type: ignore[arg-type]

    assert connection.send(b"12345678")
    assert not connection.send(b"123")
    assert connection.send(b"12")
    connection.close(1000, "first")
    connection.close(1001, "second")
    assert not connection.send(b"")
    assert connection.is_ending


async def test_a_paused_reader_waits_for_the_close() -> None:
    connection = SocketConnection(ClosedByServer(), 10)  # type: ignore[arg-type]
    assert not connection.is_paused
    connection.pause()
    assert connection.is_paused
    async with asyncio.timeout(15), asyncio.TaskGroup() as group:
        waiting = group.create_task(connection.until_closed())
        await asyncio.sleep(0)
        assert not waiting.done()
        connection.close(1001, "this node is going away")
