"""A real service: what is deleted or revoked loses its relays within a second, and everybody else keeps theirs."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from channels.access import Access
from tests.app.relay_rig import Service, signing
from tests.media.turn.world import code_of
from tests.running import FREE_PORTS, running

pytestmark = pytest.mark.slow
LIMIT_S = 30.0


@pytest.fixture(params=["1", "2"], ids=["one worker", "two workers"])
async def service(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Service]:
    words = (*FREE_PORTS, "--turn-workers", request.param)
    with running("serve", *words, home=tmp_path) as ready, contextlib.ExitStack() as stack:
        yield Service(tmp_path, ready, stack)


async def test_deleting_a_channel_ends_its_relays_and_no_others(service: Service) -> None:
    doomed, kept = await service.create("doomed"), await service.create("kept")
    first, second = await service.relay(doomed, service.admin), await service.relay(doomed, service.admin)
    other = await service.relay(kept, service.admin)
    await service.call("/deleteSignalingChannel", {"ChannelARN": doomed}, service.admin)
    for client in (first, second):
        await client.ends_within(LIMIT_S)
        assert code_of(await client.allocate()) == 401
    assert await other.is_alive()


async def test_revoking_a_key_ends_what_it_and_its_sessions_fetched(service: Service) -> None:
    arn = await service.create("door")
    key, other_key = service.command("key", "create"), service.command("key", "create")
    session = service.session(key["access_key_id"])
    by_key, by_session = await service.relay(arn, signing(key)), await service.relay(arn, session)
    by_other, by_token = await service.relay(arn, signing(other_key)), await service.relay(arn, service.admin)
    service.command("key", "revoke", key["access_key_id"])
    for client in (by_key, by_session):
        await client.ends_within(LIMIT_S)
        assert code_of(await client.allocate()) == 401
    for client in (by_other, by_token):
        assert await client.is_alive()


async def test_revoking_a_session_or_a_token_ends_what_that_alone_fetched(service: Service) -> None:
    arn = await service.create("door")
    key = service.command("key", "create")
    session, token = service.session(key["access_key_id"]), str(service.command("token", "--role", "viewer")["token"])
    by_key, by_session = await service.relay(arn, signing(key)), await service.relay(arn, session)
    by_token, by_admin = await service.relay(arn, Access(token)), await service.relay(arn, service.admin)
    assert session.credentials is not None
    for words, client in ((session.credentials.access_key_id, by_session), (token, by_token)):
        service.command("key", "revoke", words)
        await client.ends_within(LIMIT_S)
    for client in (by_key, by_admin):
        assert await client.is_alive()
