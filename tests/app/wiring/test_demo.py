import time

from app.cli_token import token_settings
from app.settings import Settings
from app.wiring import demo
from channels.auth import token
from channels.auth.grant import decide


def test_the_token_does_all_that_the_pages_need_for_half_a_day() -> None:
    key = token.new_es256_key()
    text = demo._token(Settings(), key)
    now = time.time()
    grant = token.TokenVerifier((key,), token_settings(Settings())).verify(text, now)
    arn = "arn:aws:kinesisvideo:us-west-2:000000000000:channel/demo/1"
    wanted = ("ConnectAsViewer", "ConnectAsMaster", "DescribeSignalingChannel", "GetIceServerConfig")
    assert all(decide(grant, action, arn).is_allowed for action in wanted)
    assert decide(grant, "ListSignalingChannels", "*").is_allowed
    assert 11 * 3600 < grant.expires_at - now <= 12 * 3600
