import time

from app.cli_token import token_settings
from app.settings import Settings
from app.wiring.memory import in_memory
from channels.auth import token
from channels.auth.grant import decide
from channels.embedded.store import MEMORY


def test_the_token_does_everything_for_half_a_day() -> None:
    memory = in_memory(Settings(), "test")
    now = time.time()
    grant = token.TokenVerifier(memory.order.keys, token_settings(Settings())).verify(memory.token, now)
    arn = "arn:aws:kinesisvideo:us-west-2:000000000000:channel/demo/1"
    wanted = ("ConnectAsViewer", "ConnectAsMaster", "DescribeSignalingChannel", "GetIceServerConfig")
    assert all(decide(grant, action, arn).is_allowed for action in wanted)
    assert decide(grant, "ListSignalingChannels", "*").is_allowed
    assert 11 * 3600 < grant.expires_at - now <= 12 * 3600


def test_nothing_is_written_and_no_secret_shows() -> None:
    memory = in_memory(Settings(), "test")
    assert memory.order.catalog == MEMORY
    assert memory.token not in repr(memory)
    assert memory.order.turn_secrets[-1].decode() not in repr(memory)


def test_two_of_them_share_no_secret() -> None:
    one, other = in_memory(Settings(), "test"), in_memory(Settings(), "test")
    assert one.order.turn_secrets != other.order.turn_secrets
    assert one.order.keys != other.order.keys
