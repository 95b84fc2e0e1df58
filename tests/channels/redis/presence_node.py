"""A node's presence in a process of its own: takes orders as lines of words, answers each with a line of JSON.

`viewers FROM TO LIMIT` or `masters FROM TO LIMIT`: admit them all at once to CHANNEL; the answer is who is in, and whom
each replaced. Run as `python -m tests.channels.redis.presence_node URL NODE CHANNEL`.
"""

import asyncio
import sys

import msgspec

from channels.names import Role
from channels.presence import Admission
from channels.redis.link import Link
from channels.redis.presence import RedisPresence
from channels.redis.settings import RedisSettings


async def main(url: str, node: str, channel: str) -> None:
    link = Link(RedisSettings.parse(url))
    presence = RedisPresence(link, node)

    async def admit(role: Role, name: str, limit: int) -> Admission | None:
        client_id = name if role is Role.VIEWER else ""
        return await presence.admit(channel, role, client_id, f"{node}-{name}", limit)

    async with asyncio.TaskGroup() as group:
        group.create_task(link.run())
        group.create_task(presence.run())
        await link.up.wait()
        print("ready", flush=True)
        while order := (await asyncio.to_thread(sys.stdin.readline)).split():
            role = Role.VIEWER if order[0] == "viewers" else Role.MASTER
            first, last, limit = (int(word) for word in order[1:])
            async with asyncio.TaskGroup() as race:
                tasks = [race.create_task(admit(role, f"n{number}", limit)) for number in range(first, last)]
            admissions = [admission for admission in (task.result() for task in tasks) if admission is not None]
            print(msgspec.json.encode(admissions).decode(), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:4]))
