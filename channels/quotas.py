"""How often operations may be called, per account and per channel: a table and its token buckets. Pure.

Source: service quotas in the KVS developer guide; signaling connects and frames have their own limits.
"""

from typing import Self

import msgspec

from channels.bucket import Bucket
from channels.errors import ClientLimitExceededException, Limit
from channels.names import ChannelArn

BURST_S = 2.0  # a bucket holds two seconds' worth, so that a full channel's ten viewers may come at once
_BUCKET_LIMIT = 20_000


class Rates(msgspec.Struct, frozen=True):
    """Calls per second allowed to one account, on one channel and to one caller of an account; None is no limit."""

    account: float | None = None
    channel: float | None = None
    caller: float | None = None


class Quotas(msgspec.Struct, frozen=True):
    """Rates by operation name; an operation that is not named has no limit."""

    rates: dict[str, Rates]

    @classmethod
    def aws(cls) -> Self:
        """The quotas of the AWS service."""
        both = Rates(account=50, channel=5)
        return cls(
            {
                "CreateSignalingChannel": Rates(account=50),
                "DescribeSignalingChannel": Rates(account=300, channel=5),
                "ListSignalingChannels": Rates(account=50),
                "UpdateSignalingChannel": both,
                "DeleteSignalingChannel": both,
                "TagResource": both,
                "UntagResource": both,
                "ListTagsForResource": both,
                "GetSignalingChannelEndpoint": Rates(account=300),
                "DescribeMediaStorageConfiguration": Rates(account=10, channel=5),
                "UpdateMediaStorageConfiguration": Rates(account=10, channel=5),
                "DescribeMappedResourceConfiguration": Rates(account=10),
                "JoinStorageSession": Rates(channel=5),
                "JoinStorageSessionAsViewer": Rates(channel=5),
                "GetIceServerConfig": Rates(channel=5),
                "CreateCredentials": Rates(caller=5),
                "DescribeRelayUsage": Rates(account=300, channel=5),
                "SendAlexaOfferToMaster": Rates(account=100, channel=5),
            }
        )

    @classmethod
    def relaxed(cls) -> Self:
        """No limit at all."""
        return cls({})


class QuotaMeter:
    """Counts calls against the quotas. Buckets that are full again are forgotten, so that its size stays bounded."""

    def __init__(self, quotas: Quotas, bucket_limit: int = _BUCKET_LIMIT) -> None:
        self._quotas = quotas
        self._bucket_limit = bucket_limit
        self._buckets: dict[tuple[str, str, str], Bucket] = {}

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, operation: str, account: str, arn: ChannelArn | None, now: float, caller: str = "") -> None:
        """Count one call at `now` (monotonic seconds); `caller` is whose call it is, where that is limited.

        Raises: ClientLimitExceededException naming the limit, its value and when to try again.
        """
        rates = self._quotas.rates.get(operation)
        if rates is None:
            return
        if rates.channel is not None and arn is not None:
            # Counted for the caller's account: whoever names a channel of another one must not use up its calls.
            self._take((operation, account, str(arn)), "channel", rates.channel, now)
        if rates.caller is not None:
            self._take((operation, account, caller), "caller", rates.caller, now)
        if rates.account is not None:
            self._take((operation, account, ""), "account", rates.account, now)

    def _take(self, key: tuple[str, str, str], scope: str, rate: float, now: float) -> None:
        bucket = self._buckets.get(key)
        if bucket is None:
            self._make_room(now)
            bucket = self._buckets[key] = Bucket(rate, rate * BURST_S, now)
        retry_after_s = bucket.take(now)
        if retry_after_s > 0.0:
            raise ClientLimitExceededException(
                f"{key[0]} is limited to {rate:g} calls per second for one {scope}; try again in {retry_after_s:.2f} s",
                Limit(f"calls_per_second_per_{scope}", rate, retry_after_s),
            )

    def _make_room(self, now: float) -> None:
        if len(self._buckets) < self._bucket_limit:
            return
        self._buckets = {key: bucket for key, bucket in self._buckets.items() if not bucket.is_full(now)}
        while len(self._buckets) >= self._bucket_limit:  # all are in use: the oldest gives way
            del self._buckets[next(iter(self._buckets))]
