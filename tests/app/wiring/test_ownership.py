import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app import logs, slot_memory
from app.endpoints import Owner
from app.settings import Settings, SettingsError
from app.wiring.ownership import Ownership, endpoint_settings
from channels.names import ChannelArn
from channels.owners import Place, Slot

ARN = ChannelArn("aws", "us-west-2", "0" * 12, "door", 1)
FIRST, SECOND = 0, 1  # as that channel prefers them


class Known:
    """Slots that a test knows."""

    def __init__(self, *others: Slot, number: int | None = None) -> None:
        self.place = Place()
        self.on_number: list[Callable[[int | None, str], None]] = []
        self.number = number
        self.has_drained = False
        self._others = others

    @property
    def live(self) -> tuple[Slot, ...]:
        own = () if self.number is None else (Slot(self.number, "own", self.place, self.has_drained),)
        return (*own, *self._others)

    async def settle(self) -> bool:
        return self.number is not None

    async def drain(self) -> None:
        self.has_drained = True


@pytest.fixture
def unmarked() -> Iterator[None]:
    yield
    logs.mark("slot", None)


async def test_who_is_alone_owns_nothing_and_waits_for_nothing() -> None:
    alone = Ownership(Settings(), None)
    await alone.settle()
    await alone.drain()
    assert (alone.number, alone.owner(ARN), list(alone.ports()), alone.hosts()) == (None, None, [], set())
    assert alone.known() is None


def test_one_machine_has_one_name_for_processes_that_bind_alike() -> None:
    one, same, other = Known(), Known(), Known()
    Ownership(Settings(http_port=1), one)
    Ownership(Settings(http_port=2), same)
    Ownership(Settings(host="127.0.0.2"), other)
    assert one.place.machine == same.place.machine != other.place.machine
    assert len(one.place.machine) == 16


def test_the_ports_of_an_owner_are_told_where_it_answers_at_our_addresses() -> None:
    settings = Settings(http_port=8080, tls=True, https_port=8443, public_host="a.test")
    known = Known(number=SECOND)
    own = Ownership(settings, known)
    assert known.place == Place("a.test", 8080, 8443, known.place.machine)
    assert own.owner(ARN) == Owner(SECOND, "a.test", {"http": 8080, "https": 8443})
    for machine, ports in ((known.place.machine, {"http": 8081, "https": 0}), ("elsewhere", {})):
        there = Slot(FIRST, "there", Place("b.test:1", 8081, 0, machine))
        both = Ownership(settings, Known(there, number=SECOND))
        assert both.owner(ARN) == Owner(FIRST, "b.test:1", ports)
        assert both.hosts() == {"a.test", "b.test:1"}
        assert set(both.ports()) == ({8080, 8443, 8081, 0} if ports else {8080, 8443})


def test_hosts_of_all_slots_are_ours() -> None:
    own = Ownership(Settings(slot_host="k{slot}.test", redis_url="redis://h"), Known(Slot(4, "there"), number=2))
    assert own.hosts() == {"k2.test", "k4.test"}
    assert endpoint_settings(Settings(slot_host="k{slot}.test")).slot_host == "k{slot}.test"


async def test_who_drains_owns_nothing() -> None:
    known = Known(number=FIRST)
    own = Ownership(Settings(), known)
    assert own.number == FIRST
    assert own.known() == (FIRST, known.live)
    await own.drain()
    assert own.owner(ARN) is None


async def test_a_number_of_another_is_told_only_to_who_must_have_it() -> None:
    await Ownership(Settings(), Known()).settle()
    await Ownership(Settings(slot="3"), Known(number=3)).settle()
    with pytest.raises(SettingsError, match=r"^SLOT: another process has the number 3; stop it"):
        await Ownership(Settings(slot="3"), Known()).settle()


def test_a_new_number_is_remembered_and_stands_in_the_logs(tmp_path: Path, unmarked: None) -> None:
    handler = logging.NullHandler()
    logging.getLogger(logs.AUDIT).addHandler(handler)
    known = Known()
    with slot_memory.opened(tmp_path, 8080) as memory:
        Ownership(Settings(), known, memory)
        for number in (5, 6):
            for told in known.on_number:
                told(number, "token")
        assert memory.wish("").number == 6
    record = logging.makeLogRecord({})
    assert handler.filter(record)
    assert vars(record)["slot"] == 6
    logging.getLogger(logs.AUDIT).removeHandler(handler)
