import argparse
import contextlib
import io
import json
import re
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest

from app import cli, cli_key
from app.exits import CommandError, Exit
from app.settings import SettingsError, load
from app.wiring.access import AccessKeys, AccessOrder
from channels.auth import keys, token
from channels.auth.grant import Grant, Statement, decide
from channels.auth.key_ring import AccessKey
from channels.errors import UnrecognizedClientException
from tests.redis_server import RedisServer

ACCOUNT = "000000000000"
ARN = f"arn:aws:kinesisvideo:us-west-2:{ACCOUNT}:channel/door/1700000000000"
GATE = ARN.replace("door", "gate")
ID, SECRET = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"


class Folder:
    """A data folder and `heliograph key` over it."""

    def __init__(self, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.path = path
        self._capsys = capsys

    def text(self, *words: str, account: str = ACCOUNT, **more: str) -> str:
        """What a command says on stdout; what it says on stderr is in `told`."""
        arguments = cli.build_parser().parse_args(["key", *words])
        loaded = load({"data_dir": str(self.path), "account": account, **more}, {})
        code = cli_key.run(arguments, loaded)
        out, self.told = self._capsys.readouterr()
        assert code is Exit.OK
        return out

    def json(self, *words: str, account: str = ACCOUNT, **more: str) -> Any:
        out = self.text(*words, "--json", account=account, **more)
        assert out.count("\n") == 1
        return json.loads(out)

    def refusal(self, *words: str) -> tuple[Exit, str]:
        with pytest.raises(CommandError) as refused:
            self.text(*words)
        self._capsys.readouterr()
        return refused.value.code, str(refused.value)

    def access(self) -> AccessKeys:
        """As a service opens it."""
        signing = keys.load_or_create(self.path)[-1]
        return AccessKeys(AccessOrder.in_folder(self.path), signing, token.TokenSettings())

    def find(self, identity: str) -> AccessKey | None:
        access = self.access()
        found = access.ring.find(identity)
        access.close()
        return found

    def verify(self, text: str) -> Grant:
        access = self.access()
        verifier = token.TokenVerifier(keys.load_or_create(self.path), token.TokenSettings(), admit=access.ring.admit)
        try:
            return verifier.verify(text, time.time())
        finally:
            access.close()


@pytest.fixture
def folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Folder:
    return Folder(tmp_path / "data", capsys)


def may(grant: Grant, action: str, arn: str = ARN) -> bool:
    return decide(grant, action, arn).is_allowed


def test_a_new_key_may_do_everything_in_its_account_and_shows_its_secret_once(folder: Folder) -> None:
    made = folder.json("create", "--description", "back end", account="123456789012")
    assert list(made) == ["access_key_id", "secret_access_key", "account"]
    found = folder.find(made["access_key_id"])
    assert found is not None
    assert (found.secret, found.account, found.description) == (made["secret_access_key"], "123456789012", "back end")
    assert may(found.grant(), "DeleteSignalingChannel")
    assert may(found.grant(), "ListSignalingChannels", "*")
    assert made["secret_access_key"] not in folder.text("list") + json.dumps(folder.json("list"))


def test_text_is_what_a_shell_takes(folder: Folder) -> None:
    text = folder.text("create")
    assert re.fullmatch(
        r"export AWS_ACCESS_KEY_ID=AKIA[A-Z2-7]{16}\nexport AWS_SECRET_ACCESS_KEY=[A-Za-z0-9+/]{40}\n", text
    )
    assert folder.told == "heliograph: this is the only time that the secret is shown\n"


@pytest.mark.parametrize(
    ("role", "allowed", "denied"),
    [
        ("viewer", "ConnectAsViewer", "ConnectAsMaster"),
        ("master", "ConnectAsMaster", "ConnectAsViewer"),
        ("admin", "UpdateSignalingChannel", None),
    ],
)
def test_a_role_on_a_channel(folder: Folder, role: str, allowed: str, denied: str | None) -> None:
    found = folder.find(folder.json("create", "--role", role, "--channel", "door")["access_key_id"])
    assert found is not None
    assert may(found.grant(), allowed)
    assert not may(found.grant(), allowed, GATE)
    assert denied is None or not may(found.grant(), denied)


def test_a_policy_is_what_the_key_may_do_and_its_warnings_are_told(folder: Folder, tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    allowed = {"Sid": "View", "Effect": "Allow", "Action": "kinesisvideo:ConnectAsViewer", "Resource": ARN}
    ignored = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
    path.write_text(json.dumps({"Version": "2012-10-17", "Statement": [allowed, ignored]}))
    made = folder.json("create", "--policy", str(path))
    assert folder.told == f"heliograph: --policy {path}: Statement[1] is left out: it is about other services\n"
    found = folder.find(made["access_key_id"])
    assert found is not None
    assert found.statements == (Statement(("kinesisvideo:ConnectAsViewer",), (ARN,), sid="View"),)


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"Statement":{"Effect":"Allow"}}', b"\xff"])
def test_a_policy_that_is_none_makes_no_key(folder: Folder, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "policy.json"
    path.write_bytes(content)
    code, words = folder.refusal("create", "--policy", str(path))
    assert (code, words.startswith(f"--policy {path}: ")) == (Exit.USAGE, True)
    assert folder.json("list") == []


def test_a_policy_that_cannot_be_read_is_told(folder: Folder, tmp_path: Path) -> None:
    assert folder.refusal("create", "--policy", str(tmp_path))[1].endswith("cannot be read: Is a directory")


def test_an_existing_pair_is_imported_and_its_secret_not_shown(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(SECRET + "\n"))
    made = folder.json("create", "--access-key-id", ID, "--secret-stdin")
    assert made == {"access_key_id": ID, "account": ACCOUNT}
    found = folder.find(ID)
    assert found is not None
    assert found.secret == SECRET
    monkeypatch.setattr("sys.stdin", io.StringIO(SECRET))
    code, words = folder.refusal("create", "--access-key-id", ID, "--secret-stdin")
    assert code is Exit.USAGE
    assert words.startswith(f"there is an access key {ID} already")


def test_a_secret_is_asked_for_at_a_terminal(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", argparse.Namespace(isatty=lambda: True))
    monkeypatch.setattr("getpass.getpass", lambda prompt: SECRET)
    assert folder.text("create", "--access-key-id", ID, "--secret-stdin") == f"export AWS_ACCESS_KEY_ID={ID}\n"
    assert folder.told == ""


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--access-key-id", ID), "give both"),
        (("--secret-stdin",), "give both"),
        (("--policy", "p.json", "--role", "admin"), "--policy says it all"),
        (("--policy", "p.json", "--channel", "door"), "--policy says it all"),
        (("--channel", "front door"), "ChannelName must be"),
        (("--description", "two\nlines"), "--description has 256 printable characters at most"),
        (("--description", "d" * 257), "--description has 256 printable characters at most"),
        (("--access-key-id", "akia", "--secret-stdin"), "an access key id has 16 to 128 characters"),
        (("--access-key-id", "ASIAIOSFODNN7EXAMPLE", "--secret-stdin"), "ids of sessions begin with ASIA"),
    ],
)
def test_wrong_use_makes_no_key(
    folder: Folder, words: tuple[str, ...], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(SECRET))
    code, told = folder.refusal("create", *words)
    assert code is Exit.USAGE
    assert sentence in told
    assert SECRET not in told
    assert folder.json("list") == []


def test_a_list_shows_each_key_and_when_it_was_revoked(folder: Folder) -> None:
    first = folder.json("create", "--description", "one")["access_key_id"]
    second = folder.json("create", "--role", "viewer", "--channel", "door")["access_key_id"]
    folder.json("revoke", first)
    one, two = folder.json("list")
    assert (one["access_key_id"], one["description"], two["access_key_id"]) == (first, "one", second)
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", one["revoked"])
    assert two["revoked"] is None
    assert two["statements"][0]["sid"] == "viewer"
    head, *lines = folder.text("list").splitlines()
    assert head.split() == ["AccessKeyId", "Account", "Created", "Revoked", "Description"]
    assert [line.split()[0] for line in lines] == [first, second]


def test_an_empty_list_says_how_to_make_a_key(folder: Folder) -> None:
    assert folder.text("list") == ""
    assert folder.told == "no access keys; make one: heliograph key create\n"
    assert folder.json("list") == []


def test_a_revoked_key_is_no_key_and_its_sessions_end(folder: Folder) -> None:
    identity = folder.json("create")["access_key_id"]
    session = folder.json("session", "--key", identity)["credentials"]["sessionToken"]
    folder.verify(session)
    assert folder.text("revoke", identity) == f"revoked the access key {identity}, and all that was made from it\n"
    assert folder.find(identity) is None
    with pytest.raises(UnrecognizedClientException):
        folder.verify(session)
    assert folder.text("revoke", identity) == f"the access key {identity} was revoked before\n"
    assert folder.refusal("session", "--key", identity) == (
        Exit.NOT_FOUND,
        f"the access key {identity} was revoked; `heliograph key list` shows them",
    )


def test_a_session_is_revoked_by_its_id_and_leaves_its_key(folder: Folder) -> None:
    identity = folder.json("create")["access_key_id"]
    made = folder.json("session", "--key", identity)["credentials"]
    assert folder.json("revoke", made["accessKeyId"]) == {
        "id": made["accessKeyId"],
        "kind": "session",
        "was_revoked": False,
    }
    with pytest.raises(UnrecognizedClientException):
        folder.verify(made["sessionToken"])
    assert folder.find(identity) is not None


@pytest.mark.parametrize("by_whole", [True, False])
def test_a_plain_token_is_revoked_by_itself_or_by_its_id(folder: Folder, by_whole: bool) -> None:
    folder.text("list")
    text = token.mint(
        keys.load_or_create(folder.path)[-1],
        token.TokenSettings(),
        subject="s",
        actions=["*"],
        channels=["*"],
        now_wall=time.time(),
        lifetime_s=60.0,
    )
    identity = folder.verify(text).token_id
    assert identity is not None
    answer = folder.json("revoke", text if by_whole else identity)
    assert answer == {"id": identity, "kind": "token", "was_revoked": False}
    with pytest.raises(UnrecognizedClientException):
        folder.verify(text)


@pytest.mark.parametrize("nothing", ["", " "])
def test_an_empty_id_is_no_revocation(folder: Folder, nothing: str) -> None:
    code, words = folder.refusal("revoke", nothing)
    assert (code, words) == (2, "the ID is empty: give that of a key or a session, a token, or its jti")


def test_what_cannot_be_revoked_is_told(folder: Folder) -> None:
    assert folder.refusal("revoke", "AKIAUNKNOWN") == (
        Exit.NOT_FOUND,
        "there is no access key AKIAUNKNOWN; `heliograph key list` shows them",
    )
    code, words = folder.refusal("revoke", "eyJhbGciOiJub25lIn0.e30.")
    assert code is Exit.USAGE
    assert "token" in words


def test_a_token_without_an_id_is_told(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token.TokenVerifier, "verify", lambda *_: Grant("s", ACCOUNT, (), 0.0))
    assert folder.refusal("revoke", "eyJ")[1] == "this token has no id (jti): remove the key that signed it"


def test_a_session_has_all_rights_of_its_key_or_those_of_a_role(folder: Folder) -> None:
    identity = folder.json("create", "--role", "admin", "--channel", "door")["access_key_id"]
    every = folder.json("session", "--key", identity, "--ttl", "900")["credentials"]
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", every["expiration"])
    grant = folder.verify(every["sessionToken"])
    assert may(grant, "DeleteSignalingChannel")
    assert not may(grant, "DeleteSignalingChannel", GATE)
    words = ("--role", "viewer", "--channel", "door", "--client-id", "v-1")
    grant = folder.verify(folder.json("session", "--key", identity, *words)["credentials"]["sessionToken"])
    assert may(grant, "ConnectAsViewer")
    assert not may(grant, "ConnectAsMaster")
    assert (grant.client_id, grant.subject, grant.key_id) == ("v-1", f"key/{identity}", identity)


def test_a_session_in_text_is_what_a_shell_takes(folder: Folder) -> None:
    identity = folder.json("create")["access_key_id"]
    lines = folder.text("session", "--key", identity).splitlines()
    assert [line.partition("=")[0] for line in lines] == [
        "export AWS_ACCESS_KEY_ID",
        "export AWS_SECRET_ACCESS_KEY",
        "export AWS_SESSION_TOKEN",
    ]
    assert re.fullmatch(r"heliograph: the session ends at 20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ\n", folder.told)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--client-id", "v-1"), "--client-id binds viewers only"),
        (("--client-id", "v-1", "--role", "master"), "--client-id binds viewers only"),
        (("--client-id", "AWS_1", "--role", "viewer"), "ClientId must not begin with AWS_"),
        (("--ttl", "43201"), "a session lives 43200 s at most"),
        (("--channel", "front door"), "ChannelName must be"),
    ],
)
def test_wrong_use_makes_no_session(folder: Folder, words: tuple[str, ...], sentence: str) -> None:
    code, told = folder.refusal("session", "--key", folder.json("create")["access_key_id"], *words)
    assert code is Exit.USAGE
    assert sentence in told


def test_a_key_of_another_folder_is_told(folder: Folder) -> None:
    code, words = folder.refusal("session", "--key", ID)
    assert code is Exit.NOT_FOUND
    assert words == f"the access key {ID} is not in this --data-dir; `heliograph key list` shows them"


def test_a_key_that_cannot_be_looked_up_is_not_said_to_be_missing(folder: Folder) -> None:
    folder.text("list")
    access = folder.access()
    access.close()
    with pytest.raises(CommandError, match=r"the key store .* is closed") as refused:
        cli_key.require_key(access, ID)
    assert refused.value.code is Exit.FAILURE


def test_files_that_cannot_be_used_are_told(folder: Folder) -> None:
    folder.text("list")
    (folder.path / "keys.sqlite").write_text("no database " * 99)
    with pytest.raises(SettingsError, match=r"the key store .* cannot be used: file is not a database"):
        folder.text("list")


def test_a_store_that_is_locked_is_told(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli_key, "_WAIT_S", 0.01)
    folder.text("list")
    other = sqlite3.connect(folder.path / "keys.sqlite", isolation_level=None)
    access = folder.access()
    other.execute("BEGIN IMMEDIATE")
    loaded = load({"data_dir": str(folder.path)}, {})
    monkeypatch.setattr(cli_key, "opened", lambda settings: contextlib.nullcontext(access))
    with pytest.raises(CommandError, match="is locked by another process"):
        cli_key.run(cli.build_parser().parse_args(["key", "create"]), loaded)
    access.close()
    other.close()


def test_keys_in_redis_are_those_of_every_machine(
    folder: Folder, tmp_path: Path, redis_server: RedisServer, redis_prefix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Folder(tmp_path / "other", capsys)
    redis = {"redis_url": redis_server.url, "redis_prefix": redis_prefix}
    made = folder.json("create", "--description", "shared", **redis)["access_key_id"]
    assert other.json("session", "--key", made, **redis)["credentials"]["accessKeyId"].startswith("ASIA")
    assert other.json("revoke", made, **redis) == {"id": made, "kind": "access key", "was_revoked": False}
    assert folder.json("revoke", made, **redis)["was_revoked"]
    assert [key["access_key_id"] for key in folder.json("list", **redis) if key["revoked"]] == [made]
    assert folder.json("list") == []  # its own keys are others


def test_the_keys_of_a_folder_are_shared_on_demand(
    folder: Folder, redis_server: RedisServer, redis_prefix: str
) -> None:
    code, words = folder.refusal("share")
    assert (code, words[:10]) == (Exit.USAGE, "REDIS_URL:")
    redis = {"redis_url": redis_server.url, "redis_prefix": redis_prefix}
    assert "seal.key" in folder.json("share", **redis)["shared"]
    assert folder.text("share", **redis).startswith("shared keys/")
