"""What the parts of the relay are told by its settings."""

import msgspec
import pytest

from media.relay.placement import Placement
from media.relay.relay_settings import (
    RelaySettings,
    last_channel_number,
    ports_of_worker,
    server_rules,
    stranger_bounds,
)
from media.turn.address import IPV4, pack
from media.turn.channel_data import LAST_LEGACY_NUMBER, LAST_NUMBER

LOOPBACK = Placement(("127.0.0.1",), {IPV4: "127.0.0.1"}, {IPV4: pack("127.0.0.1")}, True)
PUBLIC = Placement(("0.0.0.0",), {IPV4: "192.0.2.1"}, {IPV4: pack("198.51.100.1")}, False)


@pytest.mark.parametrize("workers", [1, 2, 3, 7])
def test_workers_share_the_relay_ports_without_a_rest(workers: int) -> None:
    settings = RelaySettings(min_port=50000, max_port=50099, workers=workers)
    shares = [ports_of_worker(msgspec.structs.replace(settings, worker=worker)) for worker in range(workers)]
    assert [port for share in shares for port in share] == list(range(50000, 50100))
    assert {len(share) for share in shares} <= {100 // workers, 100 // workers + 1}


def test_where_every_client_is_this_machine_one_source_is_all() -> None:
    settings = RelaySettings()
    on_loopback, in_public = server_rules(settings, LOOPBACK), server_rules(settings, PUBLIC)
    assert (on_loopback.allocations_per_source, in_public.allocations_per_source) == (0, 100)
    assert on_loopback.replies_per_s > in_public.replies_per_s == 10.0
    assert stranger_bounds(settings, PUBLIC) == settings.stream_bounds
    bounds = stranger_bounds(settings, LOOPBACK)
    assert bounds.unauthenticated == settings.stream_bounds.unauthenticated < bounds.unauthenticated_per_source


def test_clients_of_rfc_5766_get_their_channel_numbers_when_told_so() -> None:
    assert last_channel_number(RelaySettings()) == LAST_NUMBER
    assert last_channel_number(RelaySettings(has_legacy_channel_numbers=True)) == LAST_LEGACY_NUMBER
    assert server_rules(RelaySettings(has_legacy_channel_numbers=True), PUBLIC).last_channel_number == 0x7FFE
