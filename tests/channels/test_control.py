"""The rules of the control plane, over a catalog in memory."""

import asyncio
import re
from collections.abc import Iterator

import pytest

from channels.channel import Channel, ChannelStatus, ChannelType
from channels.control import PAGE_LIMIT, ControlPlane, ControlSettings, public_version, require_active
from channels.embedded.store import MEMORY, SqliteStore
from channels.errors import (
    AccountChannelLimitExceededException,
    ClientLimitExceededException,
    InvalidArgumentException,
    ResourceInUseException,
    ResourceNotFoundException,
    ServiceUnavailableException,
    TagsPerResourceExceededLimitException,
    VersionMismatchException,
)
from channels.names import ChannelArn
from channels.quotas import Quotas, Rates
from channels.store import StoreUnavailableError

ACCOUNT = "000000000000"
NOW_MS = 1_700_000_000_000


@pytest.fixture
def store() -> Iterator[SqliteStore]:
    made = SqliteStore(MEMORY)
    yield made
    made.close()


@pytest.fixture
def control(store: SqliteStore) -> ControlPlane:
    return ControlPlane(store, ControlSettings(account_channel_limit=5), wall_ms=lambda: NOW_MS)


async def test_a_new_channel_has_the_defaults_and_is_active_at_once(control: ControlPlane) -> None:
    made = await control.create(ACCOUNT, "demo")
    assert str(made.arn) == f"arn:aws:kinesisvideo:us-west-2:{ACCOUNT}:channel/demo/{NOW_MS}"
    assert (made.message_ttl_s, made.type, made.status) == (60, ChannelType.SINGLE_MASTER, ChannelStatus.ACTIVE)
    assert re.fullmatch(r"[a-zA-Z0-9]{1,64}", made.version)
    assert re.fullmatch(r"[a-zA-Z0-9]{20}", public_version(made))
    assert await control.describe(ACCOUNT, "demo") == await control.resolve(made.arn) == made


async def test_recreating_a_name_in_the_same_millisecond_gives_another_arn(control: ControlPlane) -> None:
    first = await control.create(ACCOUNT, "demo")
    await control.delete(first.arn, ACCOUNT)
    second = await control.create(ACCOUNT, "demo")
    assert second.arn != first.arn
    with pytest.raises(ResourceNotFoundException):
        await control.resolve(first.arn)


async def test_a_name_is_taken_once_and_the_account_is_bounded(control: ControlPlane) -> None:
    for number in range(5):
        await control.create(ACCOUNT, f"c{number}")
    with pytest.raises(ResourceInUseException):
        await control.create(ACCOUNT, "c0")
    with pytest.raises(AccountChannelLimitExceededException):
        await control.create(ACCOUNT, "c5")


@pytest.mark.parametrize(
    ("name", "more", "error"),
    [
        ("two words", {}, InvalidArgumentException),
        ("", {}, InvalidArgumentException),
        ("a" * 257, {}, InvalidArgumentException),
        ("demo", {"channel_type": ChannelType.FULL_MESH}, InvalidArgumentException),
        ("demo", {"message_ttl_s": 4}, InvalidArgumentException),
        ("demo", {"message_ttl_s": 121}, InvalidArgumentException),
        ("demo", {"tag_pairs": [("a;b", "")]}, InvalidArgumentException),
        ("demo", {"tag_pairs": [(f"k{n}", "") for n in range(51)]}, TagsPerResourceExceededLimitException),
    ],
)
async def test_what_must_not_be_created_is_refused(
    control: ControlPlane, name: str, more: dict[str, object], error: type[Exception]
) -> None:
    with pytest.raises(error):
        await control.create(ACCOUNT, name, **more)
    assert (await control.list(ACCOUNT)).channels == ()


@pytest.mark.parametrize("message_ttl_s", [5, 120])
async def test_the_bounds_of_the_message_ttl_are_good(control: ControlPlane, message_ttl_s: int) -> None:
    assert (await control.create(ACCOUNT, "demo", message_ttl_s=message_ttl_s)).message_ttl_s == message_ttl_s


async def test_an_unknown_channel_is_not_found(control: ControlPlane) -> None:
    arn = ChannelArn("aws", "us-west-2", ACCOUNT, "demo", 1)
    assert await control.find(ACCOUNT, "demo") is None
    for call in (
        control.describe(ACCOUNT, "demo"),
        control.resolve(arn),
        control.update(arn, ACCOUNT, "v"),
        control.delete(arn, ACCOUNT),
        control.tag(arn, ACCOUNT, [("a", "b")]),
        control.untag(arn, ACCOUNT, ["a"]),
        control.list_tags(arn, ACCOUNT),
    ):
        with pytest.raises(ResourceNotFoundException):
            await call


async def test_a_channel_of_another_account_is_not_found(control: ControlPlane) -> None:
    made = await control.create(ACCOUNT, "demo")
    assert await control.resolve(made.arn, ACCOUNT) == made
    for call in (
        control.resolve(made.arn, "111111111111"),
        control.update(made.arn, "111111111111", public_version(made)),
        control.delete(made.arn, "111111111111"),
        control.describe("111111111111", "demo"),
    ):
        with pytest.raises(ResourceNotFoundException):
            await call


async def test_an_update_changes_the_ttl_and_the_version(control: ControlPlane) -> None:
    first = await control.create(ACCOUNT, "demo", message_ttl_s=30)
    second = await control.update(first.arn, ACCOUNT, public_version(first), 90)
    assert second.message_ttl_s == 90
    assert public_version(second) != public_version(first)
    third = await control.update(first.arn, ACCOUNT, public_version(second))
    assert third.message_ttl_s == 90
    assert await control.resolve(first.arn) == third
    with pytest.raises(InvalidArgumentException):
        await control.update(first.arn, ACCOUNT, public_version(third), 4)


async def test_a_stale_version_neither_updates_nor_deletes(control: ControlPlane) -> None:
    first = await control.create(ACCOUNT, "demo")
    await control.update(first.arn, ACCOUNT, public_version(first), 90)
    with pytest.raises(VersionMismatchException):
        await control.update(first.arn, ACCOUNT, public_version(first), 30)
    with pytest.raises(VersionMismatchException):
        await control.delete(first.arn, ACCOUNT, public_version(first))
    assert (await control.resolve(first.arn)).message_ttl_s == 90


async def test_of_racing_updates_with_one_version_one_wins(control: ControlPlane) -> None:
    first = await control.create(ACCOUNT, "demo")
    outcomes: list[str] = []

    async def update(ttl_s: int) -> None:
        try:
            await control.update(first.arn, ACCOUNT, public_version(first), ttl_s)
            outcomes.append("updated")
        except VersionMismatchException:
            outcomes.append("stale")

    async with asyncio.TaskGroup() as group:
        for ttl_s in range(10, 20):
            group.create_task(update(ttl_s))
    assert sorted(outcomes) == ["stale"] * 9 + ["updated"]


async def test_tags_are_merged_and_removed_without_a_new_version(control: ControlPlane) -> None:
    first = await control.create(ACCOUNT, "demo", tag_pairs=[("a", "1"), ("b", "2")])
    await control.tag(first.arn, ACCOUNT, [("b", "3"), ("c", "4")])
    assert await control.list_tags(first.arn, ACCOUNT) == {"a": "1", "b": "3", "c": "4"}
    await control.untag(first.arn, ACCOUNT, ["a", "never there"])
    assert await control.list_tags(first.arn, ACCOUNT) == {"b": "3", "c": "4"}
    assert public_version(await control.resolve(first.arn)) == public_version(first)
    await control.update(first.arn, ACCOUNT, public_version(first), 30)
    await control.delete(first.arn, ACCOUNT)


async def test_the_fifty_first_tag_is_refused_and_changes_nothing(control: ControlPlane) -> None:
    first = await control.create(ACCOUNT, "demo", tag_pairs=[(f"k{n}", "") for n in range(50)])
    with pytest.raises(TagsPerResourceExceededLimitException):
        await control.tag(first.arn, ACCOUNT, [("one", "more")])
    await control.tag(first.arn, ACCOUNT, [("k0", "other")])
    assert len(await control.list_tags(first.arn, ACCOUNT)) == 50


async def test_empty_lists_of_tags_are_refused(control: ControlPlane) -> None:
    first = await control.create(ACCOUNT, "demo")
    with pytest.raises(InvalidArgumentException):
        await control.tag(first.arn, ACCOUNT, [])
    with pytest.raises(InvalidArgumentException):
        await control.untag(first.arn, ACCOUNT, [])
    with pytest.raises(InvalidArgumentException):
        await control.untag(first.arn, ACCOUNT, [f"k{n}" for n in range(51)])


class Contended(SqliteStore):
    """A catalog in which somebody else writes a tag just before each of the first `times` writes."""

    def __init__(self, times: int) -> None:
        super().__init__(MEMORY)
        self.times = times

    async def interfere(self, arn: ChannelArn) -> None:
        if self.times > 0:
            self.times -= 1
            other = ControlPlane(self, ControlSettings(), wall_ms=lambda: NOW_MS)
            left, self.times = self.times, 0
            await other.tag(arn, ACCOUNT, [(f"other{left}", "")])
            self.times = left

    async def replace(self, channel: Channel, expected_version: str) -> None:
        await self.interfere(channel.arn)
        await super().replace(channel, expected_version)

    async def delete(self, arn: ChannelArn, expected_version: str | None) -> None:
        await self.interfere(arn)
        await super().delete(arn, expected_version)


@pytest.mark.parametrize("times", [1, 4])
async def test_no_writer_loses_the_tag_of_another(times: int) -> None:
    store = Contended(times)
    control = ControlPlane(store, ControlSettings(), wall_ms=lambda: NOW_MS)
    made = await control.create(ACCOUNT, "demo")
    await control.tag(made.arn, ACCOUNT, [("mine", "")])
    assert len(await control.list_tags(made.arn, ACCOUNT)) == times + 1
    store.times = times
    await control.delete(made.arn, ACCOUNT, public_version(made))
    assert await control.find(ACCOUNT, "demo") is None
    store.close()


async def test_endless_interference_ends_in_an_answer() -> None:
    store = Contended(1000)
    control = ControlPlane(store, ControlSettings(), wall_ms=lambda: NOW_MS)
    made = await control.create(ACCOUNT, "demo")
    with pytest.raises(ResourceInUseException, match="try again"):
        await control.tag(made.arn, ACCOUNT, [("mine", "")])
    with pytest.raises(ResourceInUseException, match="try again"):
        await control.delete(made.arn, ACCOUNT)
    store.close()


class Forgetful(SqliteStore):
    """A store that deletes and does not say so."""

    async def delete(self, arn: ChannelArn, expected_version: str | None) -> None:
        await super().delete(arn, expected_version)
        raise StoreUnavailableError("no answer")


async def test_a_delete_without_an_answer_is_told_as_doubtful() -> None:
    store = Forgetful(MEMORY)
    control, deleted, doubtful = (
        ControlPlane(store, ControlSettings(), lambda: 1),
        list[ChannelArn](),
        list[ChannelArn](),
    )
    control.on_deleted.append(deleted.append)
    control.on_doubtful_delete.append(doubtful.append)
    made = await control.create(ACCOUNT, "demo")
    with pytest.raises(ServiceUnavailableException):
        await control.delete(made.arn, ACCOUNT)
    assert (deleted, doubtful) == ([], [made.arn])
    store.close()


async def test_a_delete_is_told_once_and_only_after_it_happened(control: ControlPlane) -> None:
    told: list[ChannelArn] = []
    control.on_deleted.append(told.append)
    made = await control.create(ACCOUNT, "demo")
    with pytest.raises(VersionMismatchException):
        await control.delete(made.arn, ACCOUNT, "stale")
    assert told == []
    await control.delete(made.arn, ACCOUNT, public_version(made))
    with pytest.raises(ResourceNotFoundException):
        await control.delete(made.arn, ACCOUNT)
    assert told == [made.arn]


async def test_an_update_is_told_with_the_new_state_and_only_after_it_happened(control: ControlPlane) -> None:
    told: list[Channel] = []
    control.on_updated.append(told.append)
    made = await control.create(ACCOUNT, "demo")
    await control.tag(made.arn, ACCOUNT, [("a", "b")])
    with pytest.raises(VersionMismatchException):
        await control.update(made.arn, ACCOUNT, "stale", 30)
    assert told == []
    await control.update(made.arn, ACCOUNT, public_version(made), 30)
    assert told == [await control.resolve(made.arn)]
    assert told[0].message_ttl_s == 30


async def test_a_listing_is_walked_by_its_tokens(control: ControlPlane) -> None:
    for name in ("cam-2", "cam-1", "door", "cam-3"):
        await control.create(ACCOUNT, name)
    first = await control.list(ACCOUNT, "cam-", page_size=2)
    assert [channel.arn.name for channel in first.channels] == ["cam-1", "cam-2"]
    assert first.next_token is not None
    second = await control.list(ACCOUNT, "cam-", 2, first.next_token)
    assert [channel.arn.name for channel in second.channels] == ["cam-3"]
    assert second.next_token is None
    for prefix in ("", "cam"):
        with pytest.raises(InvalidArgumentException, match="NextToken"):
            await control.list(ACCOUNT, prefix, 2, first.next_token)
    with pytest.raises(InvalidArgumentException, match="NextToken"):
        await control.list("111111111111", "cam-", 2, first.next_token)


async def test_a_page_has_a_bound_of_its_own(store: SqliteStore) -> None:
    control = ControlPlane(store, ControlSettings(), wall_ms=lambda: NOW_MS)
    for number in range(PAGE_LIMIT + 1):
        await control.create(ACCOUNT, f"c{number:05}")
    first = await control.list(ACCOUNT, page_size=10_000)
    assert len(first.channels) == PAGE_LIMIT
    rest = await control.list(ACCOUNT, page_size=10_000, token=first.next_token)
    assert [channel.arn.name for channel in rest.channels] == [f"c{PAGE_LIMIT:05}"]
    assert rest.next_token is None


@pytest.mark.parametrize("page_size", [0, 10_001, -1])
async def test_a_page_size_out_of_range_is_refused(control: ControlPlane, page_size: int) -> None:
    with pytest.raises(InvalidArgumentException, match="1 to 10000"):
        await control.list(ACCOUNT, page_size=page_size)
    with pytest.raises(InvalidArgumentException):
        await control.list(ACCOUNT, prefix="two words")


@pytest.mark.parametrize("status", [ChannelStatus.CREATING, ChannelStatus.UPDATING, ChannelStatus.DELETING])
async def test_a_channel_that_is_not_active_is_in_use(
    store: SqliteStore, control: ControlPlane, status: ChannelStatus
) -> None:
    made = Channel(ChannelArn("aws", "us-west-2", ACCOUNT, "busy", 1), "v1", status=status)
    await store.create(made, 10)
    with pytest.raises(ResourceInUseException, match=status.value):
        require_active(made)
    with pytest.raises(ResourceInUseException):
        await control.update(made.arn, ACCOUNT, "v1")
    with pytest.raises(ResourceInUseException):
        await control.delete(made.arn, ACCOUNT)


async def test_a_silent_store_is_service_unavailable(store: SqliteStore, control: ControlPlane) -> None:
    await control.check()
    store.close()
    arn = ChannelArn("aws", "us-west-2", ACCOUNT, "demo", 1)
    for call in (
        control.create(ACCOUNT, "demo"),
        control.find(ACCOUNT, "demo"),
        control.resolve(arn),
        control.list(ACCOUNT),
        control.check(),
    ):
        with pytest.raises(ServiceUnavailableException, match="try again"):
            await call


async def test_quotas_are_counted_with_the_clock_given(store: SqliteStore) -> None:
    now = 0.0
    settings = ControlSettings(quotas=Quotas({"Describe": Rates(account=1)}))
    control = ControlPlane(store, settings, wall_ms=lambda: NOW_MS, now=lambda: now)
    control.meter("Describe", ACCOUNT)
    control.meter("Describe", ACCOUNT)
    with pytest.raises(ClientLimitExceededException):
        control.meter("Describe", ACCOUNT)
    now = 1.0
    control.meter("Describe", ACCOUNT)


def test_the_resource_of_a_name_is_any_incarnation_of_it(control: ControlPlane) -> None:
    assert control.name_pattern(ACCOUNT, "demo") == f"arn:aws:kinesisvideo:us-west-2:{ACCOUNT}:channel/demo/*"
