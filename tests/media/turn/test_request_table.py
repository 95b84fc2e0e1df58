"""The table of requests against the core: every answer is the one that the RFCs ask for."""

import pytest

from media.turn.address import pack
from tests.media.turn import request_driver
from tests.media.turn.request_driver import Exchange
from tests.media.turn.request_row import Row, State
from tests.media.turn.request_table import ROWS
from tests.media.turn.world import PASSWORD, RULES, World, with_rules

STATE_RULES = {
    State.QUOTA: {"allocations_per_key": 1},
    State.FULL: {"first_port": 50000, "last_port": 50000},
}


class Core:
    """The core with a clock by hand, as a place for clients."""

    peers = {
        "peer": pack("8.8.8.8"),
        "other": pack("8.8.4.4"),
        "IPv6": pack("2606:4700::1111"),
        "forbidden": pack("224.0.0.1"),
    }

    def __init__(self, state: State) -> None:
        self.world = with_rules(**STATE_RULES[state]) if state in STATE_RULES else World()
        self.clients = 0
        if state is State.EXPIRED_OWN:
            self.world.credential_end = self.world.now + 1.0

    def client(self) -> Exchange:
        self.clients += 1
        source = ("203.0.113.5", 40000 + self.clients)

        def exchange(datagram: bytes) -> bytes | None:
            replies = self.world.receive(datagram, source)
            assert len(replies) <= 1
            return replies[0] if replies else None

        return exchange

    def credential(self, name: str, *, is_expired: bool = False) -> tuple[str, str]:
        if is_expired:
            self.world.credential_end = self.world.now
        return name, PASSWORD

    def enter(self, state: State) -> None:
        if state in (State.DRAINING, State.DRAINING_OWN):
            self.world.server.drain(None)
        elif state is State.REDIRECTING:
            self.world.server.drain((pack("203.0.113.99"), 3478))
        elif state is State.EXPIRED_OWN:
            self.world.pass_time(2.0)


@pytest.mark.parametrize("row", ROWS, ids=repr)
def test_core_answers_as_the_rfc_has_it(row: Row) -> None:
    outcome = request_driver.run(row, Core(row.state))
    assert not outcome.objections, f"{row.name} (RFC {row.section})"


def test_rows_are_told_apart_by_name_and_cite_their_source() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS) > 120
    assert all(row.section for row in ROWS)
    assert RULES.max_lifetime_s == 3600  # the rows of LIFETIME count on it
