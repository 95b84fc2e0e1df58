import logging
import secrets

import pytest

from app.settings import Settings
from app.wiring.turn_self_check import credential, find_out, tell
from channels import ice
from media.turn_check.self_check import Finding, Reach
from tests.ports import free_port

SECRET = secrets.token_hex(32).encode()


def test_the_credential_is_one_that_our_relay_takes() -> None:
    ours = credential(Settings(), SECRET)
    keys = ice.turn_keys(ours.username, (SECRET,))
    assert keys is not None
    assert ours.password in keys.passwords


@pytest.mark.parametrize("settings", [Settings(), Settings(host="0.0.0.0", turn_self_check=False)])
async def test_on_loopback_or_switched_off_nothing_is_tried(settings: Settings) -> None:
    assert await find_out(settings, free_port(), credential(settings, SECRET)) is None


async def test_a_server_that_does_not_answer_itself_is_found_out() -> None:
    settings = Settings(host="0.0.0.0")
    finding = await find_out(settings, free_port(), credential(settings, SECRET))
    assert finding is not None
    assert finding.reach is Reach.NOWHERE


@pytest.mark.parametrize(
    ("reach", "level", "is_told"),
    [
        (Reach.HERE, logging.INFO, False),
        (Reach.UNKNOWN, logging.INFO, False),
        (Reach.PRIVATE, logging.INFO, True),
        (Reach.NOWHERE, logging.WARNING, True),
    ],
)
def test_one_line_is_logged_and_a_person_told_what_matters(
    reach: Reach, level: int, is_told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    notices: list[str] = []
    with caplog.at_level(logging.INFO):
        tell(Finding(reach, "192.0.2.7", "do this"), notices.append)
    (record,) = caplog.records
    assert record.levelno == level
    assert notices == (["TURN: do this"] if is_told else [])
