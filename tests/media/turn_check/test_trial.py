import itertools
import time

import pytest

from media.turn.address import pack
from media.turn_check.client import Credential, TurnClient
from media.turn_check.dialog import Dialog
from media.turn_check.link import UdpLink
from media.turn_check.steps import Step, Steps
from media.turn_check.trial import Trial, TrialOrder
from media.turn_check.uri import Way
from media.turn_check.verdict import Asked
from tests.media.relay.loopback import serving
from tests.media.turn_check.scripted import PASSWORD, USERNAME, Script, over_udp, swallowing
from tests.ports import free_port

NOW = 1_800_000_000.0
OURS = Credential(USERNAME, PASSWORD)
WITH_ONE = ("challenge", "credential", "relay address", "relay ports", "release")
"""The steps that need one relay only."""
STRANGER = Credential(f"{NOW - 60:.0f}:x", "wrong")


class Tried:
    """A trial of one server over UDP, and its steps by name."""

    def __init__(
        self, port: int, credential: Credential | None = OURS, ip: str = "127.0.0.1", timeout_s: float = 15.0
    ) -> None:
        self.port = port
        self.timeout_s = timeout_s
        self.credential = credential
        self.count = itertools.count(1)
        self.dialogs: list[Dialog] = []
        self.asked = Asked("example.org", ip, port, Way.UDP)
        self.steps = Steps(time.monotonic, self.asked)

    async def open(self) -> Dialog:
        client = TurnClient(self.credential, lambda: next(self.count).to_bytes(12))
        self.dialogs.append(Dialog(UdpLink("127.0.0.1", self.port), client, self.timeout_s))
        return self.dialogs[-1]

    async def run(self, *, is_alone: bool = False, mapped: str = "127.0.0.1") -> dict[str, Step]:
        order = TrialOrder(self.credential, lambda: NOW, pack(mapped))
        trial = Trial(self.asked, order, await self.open(), self.open)
        if is_alone:
            works = dict(zip(Trial.NAMES, trial._works(), strict=True))
            for name in WITH_ONE:
                await self.steps.take(name, works[name])
        else:
            await trial.run(self.steps)
        for dialog in self.dialogs:
            dialog.leave()
        return {step.name: step for step in self.steps.taken}


async def tried(script: Script, credential: Credential | None = OURS, ip: str = "127.0.0.1") -> dict[str, Step]:
    async with over_udp(script) as port:
        return await Tried(port, credential, ip).run()


def the_failed(steps: dict[str, Step]) -> Step:
    (failed,) = (step for step in steps.values() if step.result == "failed")
    return failed


async def the_silent(script: Script, name: str, *, is_alone: bool = False) -> tuple[Step, str]:
    """The step of this name, in which no answer comes, and what is said of that: with more time for the steps before
    it where the machine stalled.
    """
    for timeout_s in (0.2, 4.0):
        async with over_udp(script) as port:
            failed = the_failed(await Tried(port, timeout_s=timeout_s).run(is_alone=is_alone))
        if failed.name == name:
            return failed, f"no answer in {timeout_s:g} s"
    raise AssertionError(failed)


async def test_our_own_relay_passes_every_step_and_has_nothing_left() -> None:
    async with serving() as running:
        steps = await Tried(running.address.port).run()
        assert {step.result for step in steps.values()} == {"ok"}
        assert tuple(steps) == Trial.NAMES
        assert running.relay.stats.allocations == 0
        assert running.relay.stats.allocations_total == 2


async def test_a_quota_of_one_is_met_at_the_second_relay() -> None:
    async with serving(allocations_per_channel=1) as running:
        failed = the_failed(await Tried(running.address.port).run())
        assert (failed.name, failed.seen) == ("permission", "486 Allocation Quota Reached")
        assert "quota" in failed.fix


async def test_without_a_credential_it_ends_after_the_challenge() -> None:
    steps = await tried(Script(), None)
    assert steps["challenge"].seen == "realm example.org"
    assert steps["credential"].seen == "give --username and --password to go on"
    assert {step.result for step in list(steps.values())[1:]} == {"skipped"}


@pytest.mark.parametrize(
    ("codes", "name", "seen", "words"),
    [
        ({"challenge": 0}, "challenge", "an allocation without a credential", "gives relays to anybody"),
        ({"challenge": 500}, "challenge", "500 No", "failed"),
        ({"challenge": 300}, "challenge", "300 No", "sends clients to another"),
        ({"allocate": 508}, "credential", "508 No", "no relay port left"),
        ({"permit": 403}, "permission", "403 No", "refuses 127.0.0.1 as a peer"),
        ({"permit": 400}, "permission", "400 No", "does not understand"),
    ],
)
async def test_the_first_broken_step_is_named(codes: dict[str, int], name: str, seen: str, words: str) -> None:
    failed = the_failed(await tried(Script(**codes)))
    assert (failed.name, failed.seen) == (name, seen)
    assert words in failed.cause


@pytest.mark.parametrize(
    ("codes", "name", "words"), [({"allocate": -1}, "credential", "firewall"), ({}, "relay to relay", "is lost")]
)
async def test_the_first_step_without_an_answer_is_named(codes: dict[str, int], name: str, words: str) -> None:
    failed, silence = await the_silent(Script(**codes), name)
    assert failed.seen == silence
    assert words in failed.cause


async def test_an_expired_credential_is_told_as_such() -> None:
    failed = the_failed(await tried(Script(allocate=401), STRANGER))
    assert failed.name == "credential"
    assert "expired 60 s ago" in failed.cause


async def test_answers_signed_with_another_password_are_told() -> None:
    script = Script()
    script.key = bytes(16)
    failed, _ = await the_silent(script, "credential")
    assert failed.seen == "answers without a valid signature"


async def test_a_relay_address_that_nobody_reaches_is_named() -> None:
    failed = the_failed(await tried(Script(), ip="8.8.8.8"))
    assert (failed.name, failed.seen) == ("relay address", "127.0.0.1:9")


async def test_a_relay_port_that_is_closed_is_named() -> None:
    with swallowing() as silent:
        for port in (free_port(), silent):
            failed, _ = await the_silent(Script(("127.0.0.1", port)), "relay ports", is_alone=True)
            assert f"UDP {port}" in failed.cause


async def test_what_cannot_be_seen_from_here_is_skipped() -> None:
    async with over_udp(Script(("127.0.0.1", 9), permit=403)) as port:
        steps = await Tried(port).run(is_alone=True)
        assert steps["relay ports"].seen == "the server refuses 127.0.0.1 as a peer (403): not to be seen from here"
        assert steps["release"].result == "ok"
    async with over_udp(Script(("8.8.8.8", 9))) as port:  # documentation addresses would lead nowhere either
        steps = await Tried(port).run(is_alone=True, mapped="::1")
        assert "another address family" in steps["relay ports"].seen
