"""What the log says of the end of a node's websockets."""

import logging
from collections.abc import Callable

import pytest

from app.processes import Ending, PartEndedError
from app.wiring.draining import drain
from tests.channels.signaling.rig import channel, cluster, running


async def test_the_log_tells_how_many_went_and_how_long_it_took(caplog: pytest.LogCaptureFixture) -> None:
    (node,) = cluster()
    async with running(node):
        await node.master()
        await node.viewer("v1")
        with caplog.at_level(logging.INFO, "app.wiring.draining"):
            await drain(node.hub, 0.0, Ending())

    first, last = caplog.records
    assert (first.message, vars(first)["masters"], vars(first)["viewers"]) == ("draining", 1, 1)
    assert (last.message, last.levelname) == ("drained", "INFO")
    assert 0.0 <= vars(last)["seconds"] < 60.0


async def test_the_log_warns_of_what_was_not_settled_in_time(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("channels.signaling.drain._ANSWERED_S", 0.0)
    monkeypatch.setattr("channels.signaling.hub._SETTLE_S", 0.01)
    (node,) = cluster()
    async with running(node):
        node.mailbox.may_hold.clear()
        master, _ = await node.master(to=channel("slow"))
        node.say(master, "AAAA", recipientClientId="away", correlationId="1")
        with caplog.at_level(logging.INFO, "app.wiring.draining"):
            await drain(node.hub, 0.0, Ending())

    last = caplog.records[-1]
    assert last.levelname == "WARNING"
    assert (vars(last)["has_unsettled_messages"], vars(last)["leases_left"]) == (True, 0)


def _by_signal(ending: Ending) -> None:
    ending.event.set()


def _by_hand(ending: Ending) -> None:
    ending.is_by_hand = True


def _by_a_part_that_ended(ending: Ending) -> None:
    ending.fail(PartEndedError("the TURN process ended by itself"))


@pytest.mark.parametrize(("end", "over_s"), [(_by_hand, 1.0), (_by_a_part_that_ended, 1.0), (_by_signal, 600.0)])
async def test_an_urgent_end_does_not_wait_for_a_long_drain(
    end: Callable[[Ending], None], over_s: float, caplog: pytest.LogCaptureFixture
) -> None:
    (node,) = cluster()
    ending = Ending()
    end(ending)
    async with running(node):
        with caplog.at_level(logging.INFO, "app.wiring.draining"):
            await drain(node.hub, 600.0, ending)  # nobody is there: it ends at once

    assert vars(caplog.records[0])["over_s"] == over_s
