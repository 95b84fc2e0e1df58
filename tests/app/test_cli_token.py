import argparse
import json
from pathlib import Path

import pytest

from app import cli_token
from app.settings import SettingsError, load
from channels.auth.grant import Decision, Grant, decide
from channels.auth.token import TokenVerifier
from channels.errors import ExpiredTokenException

ARN = "arn:aws:kinesisvideo:us-west-2:000000000000:channel/front/1795256464613"
OTHER = ARN.replace("front", "back")


def signed(data: Path, capsys: pytest.CaptureFixture[str], **given: object) -> dict[str, object]:
    """Run `heliograph token --json` over a data folder."""
    values = {"json": True, "channel": "front", "role": "viewer", "ttl": 60.0, "client_id": None} | given
    loaded = load({"data_dir": str(data)}, {})
    assert cli_token.run(argparse.Namespace(**values), loaded) == 0
    answer: dict[str, object] = json.loads(capsys.readouterr().out)
    return answer


def grant_of(data: Path, answer: dict[str, object], later_s: float = 0.0) -> Grant:
    loaded = load({"data_dir": str(data)}, {})
    verifier = TokenVerifier(cli_token.load_keys(data), cli_token.token_settings(loaded.settings))
    expires_at = float(str(answer["expires_at"]))
    return verifier.verify(str(answer["token"]), expires_at - 60 + later_s)


def is_allowed(grant: Grant, action: str, arn: str = ARN) -> bool:
    decision: Decision = decide(grant, action, arn)
    return decision.is_allowed


@pytest.mark.parametrize(
    ("role", "allowed", "denied"),
    [
        ("viewer", ["ConnectAsViewer", "GetIceServerConfig", "DescribeSignalingChannel"], ["ConnectAsMaster"]),
        ("master", ["ConnectAsMaster", "GetSignalingChannelEndpoint"], ["ConnectAsViewer", "DeleteSignalingChannel"]),
        ("admin", ["ConnectAsMaster", "ConnectAsViewer", "DeleteSignalingChannel", "TagResource"], []),
    ],
)
def test_a_role_allows_its_actions_on_its_channel_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], role: str, allowed: list[str], denied: list[str]
) -> None:
    grant = grant_of(tmp_path / "data", signed(tmp_path / "data", capsys, role=role))
    assert all(is_allowed(grant, action) for action in allowed)
    assert not any(is_allowed(grant, action) for action in denied)
    assert not any(is_allowed(grant, action, OTHER) for action in allowed)


def test_an_admin_of_every_channel_may_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grant = grant_of(tmp_path / "data", signed(tmp_path / "data", capsys, role="admin", channel="*"))
    assert is_allowed(grant, "ListSignalingChannels", "*")


def test_a_token_binds_a_viewer_and_ends(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer = signed(tmp_path / "data", capsys, client_id="tablet")
    assert grant_of(tmp_path / "data", answer).client_id == "tablet"
    with pytest.raises(ExpiredTokenException):
        grant_of(tmp_path / "data", answer, later_s=120)


def test_wrong_names_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(cli_token.CommandError, match="ChannelName"):
        signed(tmp_path / "data", capsys, channel="front door")
    with pytest.raises(cli_token.CommandError, match="ClientId"):
        signed(tmp_path / "data", capsys, client_id="AWS_1")


def test_keys_that_others_may_read_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    signed(tmp_path / "data", capsys)
    next((tmp_path / "data" / "keys").glob("*.pem")).chmod(0o644)
    with pytest.raises(SettingsError, match="run: chmod 600"):
        signed(tmp_path / "data", capsys)
