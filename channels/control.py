"""Rules of the control plane: create, find, list, update, delete and tag channels. Knows no HTTP and no permissions.

A channel's stored version has two parts. The first is the one that clients see, new on each UpdateSignalingChannel; the
second is new on every write, so that two writers of the same channel never overwrite each other unseen (a tag does not
change the version that a client holds).
"""

import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

import msgspec

from channels import page_token, tags
from channels.channel import DEFAULT_MESSAGE_TTL_S, Channel, ChannelStatus, ChannelType
from channels.errors import (
    InvalidArgumentException,
    ResourceInUseException,
    ResourceNotFoundException,
    ServiceUnavailableException,
    VersionMismatchException,
)
from channels.names import ChannelArn, parse_channel_name
from channels.quotas import QuotaMeter, Quotas
from channels.store import Store, StoreUnavailableError

MESSAGE_TTL_S = range(5, 121)
PAGE_SIZE = range(1, 10_001)
DEFAULT_PAGE_SIZE = 500
PAGE_LIMIT = 1_000  # a page may hold fewer than MaxResults; longer ones would hold up everybody else's requests
_PUBLIC_VERSION_LENGTH = 20
_WRITE_ATTEMPTS = 5
_CONTENDED = "other requests keep changing this channel: try again"

OnDeleted = Callable[[ChannelArn], None]
OnUpdated = Callable[[Channel], None]


class ControlSettings(msgspec.Struct, frozen=True):
    """Where this service says it is, how many channels one account may hold, and how often it may be called."""

    region: str = "us-west-2"
    account: str = "000000000000"
    partition: str = "aws"
    account_channel_limit: int = 10_000
    quotas: Quotas = Quotas.aws()


class Listing(msgspec.Struct, frozen=True):
    """One page of channels in name order and the token of the next one, None on the last."""

    channels: tuple[Channel, ...]
    next_token: str | None


def public_version(channel: Channel) -> str:
    """The version that clients see and give back as CurrentVersion."""
    return channel.version[:_PUBLIC_VERSION_LENGTH]


class ControlPlane:
    """The control plane over a store. Every method raises ServiceUnavailableException when the store does not answer.

    `wall_ms` gives epoch milliseconds, `now` monotonic seconds. Functions in `on_deleted` and `on_updated`
    are called once a delete or an update is acknowledged, with the ARN or the new state; they must not block. Those in
    `on_doubtful_delete` hear of a channel that may be deleted or not, as the store did not answer.
    """

    def __init__(
        self,
        store: Store,
        settings: ControlSettings,
        wall_ms: Callable[[], int],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings
        self.on_deleted: list[OnDeleted] = []
        self.on_updated: list[OnUpdated] = []
        self.on_doubtful_delete: list[OnDeleted] = []
        self._store = store
        self._wall_ms = wall_ms
        self._now = now
        self._meter = QuotaMeter(settings.quotas)
        self._last_created_ms = 0

    def meter(self, operation: str, account: str, arn: ChannelArn | None = None, *, caller: str = "") -> None:
        """Count a call of `operation` against the quotas. Raises: ClientLimitExceededException."""
        self._meter.take(operation, account, arn, self._now(), caller)

    def name_pattern(self, account: str, name: str) -> str:
        """The resource of a permission on a channel known by name alone: any incarnation of it."""
        return f"arn:{self.settings.partition}:kinesisvideo:{self.settings.region}:{account}:channel/{name}/*"

    async def create(
        self,
        account: str,
        name: str,
        channel_type: ChannelType = ChannelType.SINGLE_MASTER,
        message_ttl_s: int = DEFAULT_MESSAGE_TTL_S,
        tag_pairs: Iterable[tuple[str, str]] = (),
    ) -> Channel:
        """Make a channel, ACTIVE at once (KVS API: CreateSignalingChannel).

        Raises: InvalidArgumentException, ResourceInUseException (the name is taken),
        AccountChannelLimitExceededException, TagsPerResourceExceededLimitException.
        """
        parse_channel_name(name)
        if channel_type is not ChannelType.SINGLE_MASTER:
            raise InvalidArgumentException(f"ChannelType {channel_type.value} is not supported: use SINGLE_MASTER")
        channel = Channel(
            arn=ChannelArn(self.settings.partition, self.settings.region, account, name, self._next_created_ms()),
            version=_new_version(),
            message_ttl_s=_parse_message_ttl(message_ttl_s),
            tags=tags.parse_tags(tag_pairs),
        )
        with _store_answers():
            await self._store.create(channel, self.settings.account_channel_limit)
        return channel

    async def find(self, account: str, name: str) -> Channel | None:
        """The living channel of this name. Raises: InvalidArgumentException for text that is no name."""
        parse_channel_name(name)
        with _store_answers():
            return await self._store.get_by_name(account, self.settings.region, name)

    async def describe(self, account: str, name: str) -> Channel:
        """The living channel of this name. Raises: InvalidArgumentException, ResourceNotFoundException."""
        channel = await self.find(account, name)
        if channel is None:
            raise ResourceNotFoundException(f"there is no channel named {name}")
        return channel

    async def resolve(self, arn: ChannelArn, account: str | None = None) -> Channel:
        """The channel of exactly this incarnation, which must belong to `account` when that is given.

        Raises: ResourceNotFoundException.
        """
        with _store_answers():
            channel = await self._store.get(arn) if account in (None, arn.account) else None
        if channel is None:
            raise ResourceNotFoundException(f"there is no channel {arn}")
        return channel

    async def list(
        self, account: str, prefix: str = "", page_size: int = DEFAULT_PAGE_SIZE, token: str | None = None
    ) -> Listing:
        """One page, of at most 1,000, of the account's channels whose names begin with `prefix`.

        Source: KVS API, ListSignalingChannels.

        Raises: InvalidArgumentException, also for a token that another listing gave.
        """
        if page_size not in PAGE_SIZE:
            raise InvalidArgumentException(f"MaxResults must be {PAGE_SIZE.start} to {PAGE_SIZE.stop - 1}")
        if prefix:
            parse_channel_name(prefix)
        listing = f"{account}/{self.settings.region}/{prefix}"
        after = page_token.decode(listing, token) if token else ""
        with _store_answers():
            page = await self._store.list(account, self.settings.region, prefix, after, min(page_size, PAGE_LIMIT))
        next_token = None if page.next_name is None else page_token.encode(listing, page.next_name)
        return Listing(page.channels, next_token)

    async def update(
        self, arn: ChannelArn, account: str, current_version: str, message_ttl_s: int | None = None
    ) -> Channel:
        """Change a channel, give it a new version and tell `on_updated` (KVS API: UpdateSignalingChannel).

        Raises: InvalidArgumentException, ResourceNotFoundException, ResourceInUseException, VersionMismatchException.
        """

        def change(channel: Channel) -> Channel:
            require_active(channel)
            require_version(channel, current_version)
            ttl_s = channel.message_ttl_s if message_ttl_s is None else _parse_message_ttl(message_ttl_s)
            return msgspec.structs.replace(channel, message_ttl_s=ttl_s, version=_new_version())

        updated = await self._change(arn, account, change)
        for on_updated in self.on_updated:
            on_updated(updated)
        return updated

    async def delete(self, arn: ChannelArn, account: str, current_version: str | None = None) -> None:
        """Remove a channel and tell `on_deleted` (KVS API: DeleteSignalingChannel).

        Raises: ResourceNotFoundException, ResourceInUseException, VersionMismatchException.
        """
        for _ in range(_WRITE_ATTEMPTS):
            channel = await self.resolve(arn, account)
            require_active(channel)
            if current_version is not None:
                require_version(channel, current_version)
            try:
                with _store_answers():
                    await self._store.delete(arn, channel.version)
            except VersionMismatchException:
                continue
            except ServiceUnavailableException:
                for on_doubtful_delete in self.on_doubtful_delete:
                    on_doubtful_delete(arn)
                raise
            for on_deleted in self.on_deleted:
                on_deleted(arn)
            return
        raise ResourceInUseException(_CONTENDED)

    async def tag(self, arn: ChannelArn, account: str, tag_pairs: Iterable[tuple[str, str]]) -> None:
        """Add tags or change their values (KVS API: TagResource).

        Raises: InvalidArgumentException, ResourceNotFoundException, TagsPerResourceExceededLimitException.
        """
        new = tags.parse_tags(tag_pairs)
        if not new:
            raise InvalidArgumentException("Tags must hold 1 to 50 tags")
        await self._change(arn, account, lambda channel: _with_tags(channel, tags.merge(channel.tags, new)))

    async def untag(self, arn: ChannelArn, account: str, keys: Iterable[str]) -> None:
        """Remove tags; keys that the channel does not carry are ignored (KVS API: UntagResource).

        Raises: InvalidArgumentException, ResourceNotFoundException.
        """
        gone = {tags.parse_tag_key(key) for key in keys}
        if not 1 <= len(gone) <= tags.TAG_LIMIT:
            raise InvalidArgumentException("TagKeyList must hold 1 to 50 keys")

        def change(channel: Channel) -> Channel:
            return _with_tags(channel, {key: value for key, value in channel.tags.items() if key not in gone})

        await self._change(arn, account, change)

    async def list_tags(self, arn: ChannelArn, account: str) -> Mapping[str, str]:
        """The tags of a channel. Raises: ResourceNotFoundException."""
        return (await self.resolve(arn, account)).tags

    async def check(self) -> None:
        """Prove that the catalog answers, for readiness. Raises: ServiceUnavailableException."""
        with _store_answers():
            await self._store.check()

    async def _change(self, arn: ChannelArn, account: str, change: Callable[[Channel], Channel]) -> Channel:
        """Write `change` of the channel over the state that it was made from; anew if another writer was faster."""
        for _ in range(_WRITE_ATTEMPTS):
            old = await self.resolve(arn, account)
            new = change(old)
            try:
                with _store_answers():
                    await self._store.replace(new, old.version)
            except VersionMismatchException:
                continue
            return new
        raise ResourceInUseException(_CONTENDED)

    def _next_created_ms(self) -> int:
        """The present, but never the same twice: a re-created channel gets another ARN."""
        self._last_created_ms = max(self._wall_ms(), self._last_created_ms + 1)
        return self._last_created_ms


def require_active(channel: Channel) -> None:
    """Raises: ResourceInUseException unless the channel is ACTIVE (KVS API: GetSignalingChannelEndpoint)."""
    if channel.status is not ChannelStatus.ACTIVE:
        raise ResourceInUseException(f"channel {channel.arn.name} is {channel.status.value}, not ACTIVE: try again")


def require_version(channel: Channel, current_version: str) -> None:
    """Raises: VersionMismatchException unless `current_version` is the one that clients see now."""
    if public_version(channel) != current_version:
        raise VersionMismatchException("CurrentVersion is not the version of the channel: describe it again")


@contextmanager
def _store_answers() -> Iterator[None]:
    try:
        yield
    except StoreUnavailableError as error:
        raise ServiceUnavailableException("the catalog of channels does not answer: try again") from error


def _new_version() -> str:
    return secrets.token_hex(_PUBLIC_VERSION_LENGTH // 2) + _new_revision()


def _new_revision() -> str:
    return secrets.token_hex(6)


def _with_tags(channel: Channel, new: dict[str, str]) -> Channel:
    return msgspec.structs.replace(channel, tags=new, version=public_version(channel) + _new_revision())


def _parse_message_ttl(value: int) -> int:
    if value not in MESSAGE_TTL_S:
        raise InvalidArgumentException(f"MessageTtlSeconds must be {MESSAGE_TTL_S.start} to {MESSAGE_TTL_S.stop - 1}")
    return value
