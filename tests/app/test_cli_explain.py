import json
import time
from pathlib import Path
from typing import Any

import pytest

from app import cli, cli_explain, cli_key
from app.exits import CommandError, Exit
from app.settings import load
from channels.auth import keys, token

ACCOUNT = "000000000000"
ARN = f"arn:aws:kinesisvideo:us-west-2:{ACCOUNT}:channel/door/1700000000000"
GATE = ARN.replace("door", "gate")
DOOR = ARN.rpartition("/")[0]
POLICY = {
    "Version": "2012-10-17",
    "Statement": [
        {"Sid": "Connect", "Effect": "Allow", "Action": ["s3:*", "kinesisvideo:Connect*"], "Resource": "*"},
        {"Effect": "Deny", "Action": "kinesisvideo:ConnectAsMaster", "Resource": [GATE, f"{DOOR}/*"]},
        {"Sid": "Old", "Effect": "Allow", "Action": "kinesisvideo:Update*", "Resource": f"{DOOR}/1600000000000"},
        {"Sid": "Short", "Effect": "Allow", "Action": "kinesisvideo:Delete*", "Resource": DOOR},
    ],
}


class Asker:
    """`heliograph explain-access` over a data folder and a policy file."""

    def __init__(self, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.data = path / "data"
        self.policy = path / "policy.json"
        self.policy.write_text(json.dumps(POLICY))
        self._capsys = capsys

    def ask(self, *words: str) -> tuple[Exit, str]:
        arguments = cli.build_parser().parse_args(["explain-access", *words])
        code = cli_explain.run(arguments, load({"data_dir": str(self.data)}, {}))
        return code, self._capsys.readouterr().out

    def of_policy(self, action: str, arn: str = ARN) -> tuple[Exit, str]:
        return self.ask("--policy", str(self.policy), "--action", action, "--arn", arn)

    def key(self, *words: str) -> Any:
        cli_key.run(cli.build_parser().parse_args(["key", *words, "--json"]), load({"data_dir": str(self.data)}, {}))
        return json.loads(self._capsys.readouterr().out)


@pytest.fixture
def asker(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Asker:
    return Asker(tmp_path, capsys)


def test_the_statement_that_allows_is_named_with_its_patterns(asker: Asker) -> None:
    assert asker.of_policy("ConnectAsViewer") == (
        Exit.OK,
        f"allowed: kinesisvideo:ConnectAsViewer on {ARN}\n"
        "Connect of the policy allows it: action kinesisvideo:Connect*, resource *\n",
    )


def test_the_statement_that_denies_is_named_with_its_patterns(asker: Asker) -> None:
    assert asker.of_policy("ConnectAsMaster") == (
        Exit.REFUSED,
        f"refused: kinesisvideo:ConnectAsMaster on {ARN}\n"
        f"Statement[1] of the policy denies it: action kinesisvideo:ConnectAsMaster, resource {DOOR}/*\n",
    )


def test_that_no_statement_covers_it_is_said(asker: Asker) -> None:
    code, text = asker.of_policy("TagResource")
    assert code is Exit.REFUSED
    assert text.splitlines()[1:] == ["no statement of the policy covers it"]


@pytest.mark.parametrize("name", ["ConnectAsViewer", "kinesisvideo:connectasviewer", "kvs:CONNECTASVIEWER"])
def test_an_action_may_be_written_in_any_case_with_any_prefix(asker: Asker, name: str) -> None:
    assert asker.of_policy(name)[1].startswith("allowed: kinesisvideo:ConnectAsViewer on")


@pytest.mark.parametrize(
    ("action", "words"),
    [
        ("ConectAsViewer", "no action; did you mean kinesisvideo:ConnectAsViewer?"),
        ("kinesisvideo:PutMedia", "is about streams, which this service does not have"),
        ("s3:GetObject", "--action: s3:GetObject is of another service than kinesisvideo"),
        ("Zebra", "kinesisvideo:Zebra is no action"),
        ("Connect*", "--action: kinesisvideo:Connect* is a pattern: ask about one action"),
    ],
)
def test_what_is_no_action_is_told_with_the_nearest(asker: Asker, action: str, words: str) -> None:
    with pytest.raises(CommandError) as refused:
        asker.of_policy(action)
    assert words in str(refused.value)
    assert refused.value.code is Exit.USAGE


def test_a_name_in_the_place_of_an_arn_is_told(asker: Asker) -> None:
    with pytest.raises(CommandError, match=r"--arn door is neither an ARN nor \*; `heliograph channel describe` shows"):
        asker.of_policy("ConnectAsViewer", "door")


@pytest.mark.parametrize(
    ("action", "arn", "hint"),
    [
        ("ConnectAsViewer", DOOR, "this ARN lacks the creation time: a channel's is .../channel/NAME/DIGITS"),
        ("ConnectAsViewer", f"{DOOR}/", "this ARN lacks the creation time: a channel's is .../channel/NAME/DIGITS"),
        ("ListSignalingChannels", ARN, "the service asks for ListSignalingChannels on *"),
        (
            "ConnectAsViewer",
            ARN.replace(ACCOUNT, "111111111111"),
            f"the ARN is of account 111111111111, but the policy of {ACCOUNT}: it sees its own channels only",
        ),
        (
            "DeleteSignalingChannel",
            ARN,
            f"Short names {DOOR}, which lacks the creation time: write {DOOR}/*",
        ),
        (
            "UpdateSignalingChannel",
            ARN,
            f"Old names {DOOR}/1600000000000, which is of another creation time: write {DOOR}/*",
        ),
    ],
)
def test_what_may_be_another_than_meant_is_hinted_at(asker: Asker, action: str, arn: str, hint: str) -> None:
    assert f"hint: {hint}" in asker.of_policy(action, arn)[1].splitlines()


def test_what_is_as_meant_has_no_hint(asker: Asker) -> None:
    assert "hint" not in asker.of_policy("ConnectAsViewer")[1] + asker.of_policy("TagResource", "*")[1]


def test_a_key_is_explained(asker: Asker) -> None:
    identity = asker.key("create", "--role", "viewer", "--channel", "door")["access_key_id"]
    code, text = asker.ask("--key", identity, "--action", "ConnectAsViewer", "--arn", ARN, "--json")
    assert code is Exit.OK
    assert json.loads(text) == {
        "allowed": True,
        "action": "kinesisvideo:ConnectAsViewer",
        "arn": ARN,
        "subject": f"key/{identity}",
        "decided_by": f"access key {identity}",
        "statement": {
            "sid": "viewer",
            "effect": "Allow",
            "action": "kinesisvideo:ConnectAsViewer",
            "resource": f"arn:*:kinesisvideo:*:{ACCOUNT}:channel/door/*",
        },
        "hints": [],
    }
    code, text = asker.ask("--key", identity, "--action", "ConnectAsViewer", "--arn", GATE, "--json")
    assert (code, json.loads(text)["statement"]) == (Exit.REFUSED, None)


def test_a_key_that_is_not_there_is_told(asker: Asker) -> None:
    with pytest.raises(CommandError, match="is not in this --data-dir") as refused:
        asker.ask("--key", "AKIAIOSFODNN7EXAMPLE", "--action", "ConnectAsViewer", "--arn", ARN)
    assert refused.value.code is Exit.NOT_FOUND


def test_a_session_is_explained_by_itself_and_by_its_key(asker: Asker) -> None:
    identity = asker.key("create", "--policy", str(asker.policy))["access_key_id"]
    session = asker.key("session", "--key", identity, "--role", "master")["credentials"]["sessionToken"]
    lines = [
        asker.ask("--token", session, "--action", action, "--arn", arn)[1].splitlines()[1]
        for action, arn in (
            ("ConnectAsMaster", ARN.replace("door", "attic")),
            ("ConnectAsMaster", ARN),
            ("ConnectAsViewer", ARN),
            ("GetIceServerConfig", ARN),
        )
    ]
    assert lines == [
        "the scope of the token allows it: action kinesisvideo:ConnectAsMaster, resource *",
        f"Statement[1] of access key {identity} denies it: action kinesisvideo:ConnectAsMaster, resource {DOOR}/*",
        "no statement of the token covers it",
        f"no statement of access key {identity} covers it",
    ]


def test_a_token_that_binds_a_client_id_says_so(asker: Asker) -> None:
    asker.key("list")
    text = token.mint(
        keys.load_or_create(asker.data)[-1],
        token.TokenSettings(),
        subject="s",
        actions=["*"],
        channels=["*"],
        client_id="v-1",
        now_wall=time.time(),
        lifetime_s=60.0,
    )
    code, shown = asker.ask("--token", text, "--action", "ConnectAsViewer", "--arn", ARN)
    assert (code, shown.splitlines()[-1]) == (Exit.OK, "hint: only under the client id v-1")


def test_a_token_that_is_not_good_is_refused_with_its_reason(asker: Asker) -> None:
    with pytest.raises(CommandError, match=r"--token: .* \[UnrecognizedClientException\]") as refused:
        asker.ask("--token", "eyJ", "--action", "ConnectAsViewer", "--arn", ARN)
    assert refused.value.code is Exit.REFUSED
