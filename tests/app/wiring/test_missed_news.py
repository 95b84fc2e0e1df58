import asyncio

import pytest

from app.wiring import missed_news
from app.wiring.missed_news import MissedNews
from channels.channel import Channel
from channels.errors import ResourceNotFoundException, ServiceUnavailableException
from channels.names import ChannelArn

DOOR, GATE = (Channel(ChannelArn("aws", "us-west-2", "0" * 12, name, 1), "v1") for name in ("door", "gate"))


class World:
    """A catalog that knows the door alone, after having been away, and a hub with both."""

    def __init__(self) -> None:
        self.answers_failing = 1
        self.heard: asyncio.Queue[object] = asyncio.Queue()
        self.channels = frozenset((str(DOOR.arn), str(GATE.arn)))

    async def resolve(self, arn: ChannelArn, account: str | None = None) -> Channel:
        if self.answers_failing:
            self.answers_failing -= 1
            raise ServiceUnavailableException("away")
        if arn == DOOR.arn:
            return DOOR
        raise ResourceNotFoundException("gone")

    def update_channel(self, channel: Channel) -> None:
        self.heard.put_nowait(channel)


async def test_a_channel_that_is_gone_is_closed_here_once_the_catalog_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(missed_news, "_RETRY_S", 0.0)
    world = World()
    news = MissedNews(world, world, world.heard.put_nowait)
    async with asyncio.timeout(15), asyncio.TaskGroup() as group:
        looking = group.create_task(news.run())
        await asyncio.sleep(0)
        assert world.heard.empty()
        news.look()
        found = [await world.heard.get() for _ in range(2)]
        looking.cancel()
    assert DOOR in found
    assert GATE.arn in found


async def test_a_channel_that_may_be_gone_is_looked_at_also_where_nobody_is_connected() -> None:
    world = World()
    world.answers_failing, world.channels = 0, frozenset()
    news = MissedNews(world, world, world.heard.put_nowait)
    news.look_at(GATE.arn)
    news.look_at(DOOR.arn)
    async with asyncio.timeout(15), asyncio.TaskGroup() as group:
        looking = group.create_task(news.run())
        found = [await world.heard.get() for _ in range(2)]
        looking.cancel()
    assert DOOR in found
    assert GATE.arn in found
