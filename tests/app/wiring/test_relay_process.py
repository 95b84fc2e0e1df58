import asyncio
import json
import socket
from collections.abc import Iterator

import msgspec
import pytest

from app.parent import ParentLink
from app.processes import UNREAD_BYTES
from app.report import Ready, Report
from app.wiring.orders import Minted, Revoked
from app.wiring.relay_process import RelayOfParent, RelayTold

Ends = tuple[RelayOfParent, socket.socket]


@pytest.fixture
def ends() -> Iterator[Ends]:
    parent, ours = socket.socketpair()
    link = ParentLink(ours.detach())
    parent.settimeout(15)
    with parent:
        yield RelayOfParent(link, ("turn:h:1",)), parent
    link.close()


def told(**fields: object) -> bytes:
    return msgspec.json.encode(msgspec.convert(fields, RelayTold))


async def test_news_of_a_worker_go_to_the_parent(ends: Ends) -> None:
    relay, parent = ends
    relay.tell(Revoked(channels=("00",)))
    assert relay.mention(Minted("name", 1.0))
    news = [json.loads(json.loads(line)["news"]) for line in parent.recv(65_536).splitlines()]
    assert news == [
        {"type": "revoked", "channels": ["00"]},
        {"type": "minted", "username": "name", "expires_at": 1.0},
    ]


async def test_what_must_not_be_lost_comes_once_the_parent_reads_again(ends: Ends) -> None:
    relay, parent = ends
    while relay.mention(Minted("x" * 1000, 1.0)):
        pass
    relay.tell(Revoked(channels=("00",)))
    assert not relay.mention(Minted("lost", 1.0))
    parent.setblocking(False)
    reader, writer = await asyncio.open_unix_connection(sock=parent.dup(), limit=1 << 20)
    async with asyncio.timeout(15):
        while b"revoked" not in (line := await reader.readline()):
            assert "minted" in json.loads(line)["news"]
    assert json.loads(json.loads(line)["news"])["channels"] == ["00"]
    assert relay.mention(Minted("heard", 1.0))
    writer.close()


async def test_a_parent_that_reads_nothing_misses_what_is_over_the_bound(ends: Ends) -> None:
    relay, _ = ends
    news = Revoked(channels=("00" * 32,) * 1_000)
    line_bytes = len(msgspec.json.encode(news)) * 2
    while relay.tell(news):
        assert len(relay._link._untold) < UNREAD_BYTES + line_bytes
    assert not relay.tell(Revoked())


async def test_a_parent_that_is_gone_hears_nothing_more(ends: Ends) -> None:
    relay, parent = ends
    parent.close()
    relay.tell(Revoked())
    assert not relay.mention(Minted("name", 1.0))
    assert not relay._link.report(Report(ready=Ready()))


async def test_a_worker_knows_of_the_relay_what_the_parent_tells(ends: Ends) -> None:
    relay, _ = ends
    assert await relay.ready() == Ready(("turn:h:1",))
    assert relay.is_alive
    assert relay.silent_s < 30.0
    relay.take(told(stats={"a": 1.0}, usage={"00": (1, 2, 3)}, silent_s=60.0))
    relay.take(told(stats={"a": 2.0}, usage={"01": (4, 5, 6)}, silent_s=61.0))
    assert (relay.stats, relay.usage) == ({"a": 2.0}, {"00": (1, 2, 3), "01": (4, 5, 6)})
    assert 61.0 <= relay.silent_s < 91.0
    relay.hurry()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await relay.run()
