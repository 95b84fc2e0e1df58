import asyncio
from pathlib import Path

import pytest

from app.settings import SettingsError
from app.wiring.backing import Embedded, new_node
from channels.embedded.store import MEMORY
from channels.names import ChannelArn


def test_a_process_has_a_name_that_no_other_has() -> None:
    assert len({new_node() for _ in range(100)}) == 100


async def test_all_is_in_the_process_and_there_is_nobody_to_hear_of() -> None:
    backing = Embedded(MEMORY)
    await backing.store.check()
    backing.forget(ChannelArn("aws", "us-west-2", "0" * 12, "door", 1))
    assert (backing.mailbox, backing.link_numbers, backing.checks) == (None, None, {})
    async with asyncio.TaskGroup() as group:
        working = group.create_task(backing.work())
        await asyncio.sleep(0)
        working.cancel()
    backing.close()
    backing.close()


def test_a_catalog_that_cannot_be_opened_is_told_by_its_setting(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="DATA_DIR: the catalog"):
        Embedded(str(tmp_path / "nowhere" / "catalog.sqlite"))
