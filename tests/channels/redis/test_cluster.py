"""What a Cluster of one node refuses as every Cluster does: scripts whose keys lie in several slots."""

import time
from pathlib import Path

import pytest

from channels.channel import Channel
from channels.moving import Found
from channels.names import ChannelArn, Role
from channels.presence import Lease
from channels.redis.link import Link
from channels.redis.mailbox import RedisMailbox
from channels.redis.presence import RedisPresence
from channels.redis.store import RedisStore
from channels.signaling.limits import Limits
from channels.signaling.mailbox import Mail, Seen
from channels.signaling.messages import Action
from channels.signaling.protocol import MASTER, Address
from tests.channels.redis.rig import CALM, running
from tests.redis_link import patient_settings, running_link, until
from tests.redis_server import RedisServer

VIEWER = Address(Role.VIEWER, "v1")


@pytest.mark.slow
async def test_presence_mailbox_and_what_is_brought_keep_to_one_slot_a_script(tmp_path: Path) -> None:
    with RedisServer(tmp_path / "redis", options=("--cluster-enabled", "yes")) as server:
        form(server)
        settings = patient_settings(f"redis+cluster://{server.host}:{server.port}")
        async with running_link(settings) as link:
            await play(link)
            await move(link)


def form(server: RedisServer) -> None:
    server.command("CLUSTER", "ADDSLOTSRANGE", 0, 16_383)
    give_up_at = time.monotonic() + 10.0
    while b"cluster_state:ok" not in (server.command("CLUSTER", "INFO") or b""):
        assert time.monotonic() < give_up_at
        time.sleep(0.02)


async def play(link: Link) -> None:
    a, b = RedisPresence(link, "a", CALM), RedisPresence(link, "b", CALM)
    box = RedisMailbox(link, Limits.aws())
    async with running(a.run(), b.run(), box.run()):
        leases = []
        for number in range(5):
            admission = await a.admit(f"channel-{number}", Role.MASTER, "", f"a-{number}", 10)
            assert admission is not None
            leases.append(Lease(f"channel-{number}", admission.holder))
        newer = await b.admit("channel-3", Role.MASTER, "", "b-1", 10)
        assert newer is not None
        assert newer.replaced == leases[3].holder
        assert await a.renew(leases, 10) == (leases[3],)
        assert await b.locate("channel-0", Role.MASTER, "") == leases[0].holder
        await a.leave([leases[number] for number in (0, 1, 3)])
        found = [await b.locate(f"channel-{number}", Role.MASTER, "") for number in range(5)]
        assert found == [None, None, leases[2].holder, newer.holder, leases[4].holder]

        mail = Mail("1", "channel-1", MASTER, VIEWER, Action.SDP_OFFER, b"offer", "", 60.0, "a", "a-1")
        assert await box.hold(mail, is_expected=True) is None
        assert [taken.id for taken in await box.take("channel-1", MASTER)] == [mail.id]
        await box.remember([Seen("channel-1", "v1", 60.0)])
        await until(lambda: len(box) == 0)
        assert not await box.withdraw(mail)
        await box.drop("channel-1")


async def move(link: Link) -> None:
    store = RedisStore(link, "p")
    made = [Channel(ChannelArn("aws", "us-west-2", account * 12, "door", 1), "v1") for account in "012"]
    for is_trial in (True, False):
        assert await store.bring(made, is_trial=is_trial) == (Found(),) * 3
    assert await store.bring(made, is_trial=False) == tuple(Found(each, "v1") for each in made)
