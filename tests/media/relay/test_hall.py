"""Room for what connections read."""

from media.relay.hall import READ_BYTES
from media.relay.tls import MOST_RECORD_BYTES
from media.turn.framing import MOST_BYTES
from tests.media.relay.hallway import entrance


async def test_one_read_fits_behind_the_longest_message_that_is_not_whole() -> None:
    async with entrance() as entered:
        hall = entered.hall
        assert len(hall.encrypted) == READ_BYTES
        assert len(hall.room) >= MOST_BYTES - 1 + READ_BYTES + MOST_RECORD_BYTES
