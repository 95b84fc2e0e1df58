"""A real service: what `heliograph key revoke` ends is cut within two seconds, and what it leaves goes on; a token key
that is added is good.
"""

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from channels.auth import sigv4
from channels.auth.sigv4 import Credentials
from tests.running import FREE_PORTS, heliograph, running

pytestmark = pytest.mark.slow
REGION = "us-west-2"
LIMIT_S = 30.0


class Service:
    """A running `heliograph serve`, its command line, and a channel."""

    def __init__(self, home: Path, http: str, stack: contextlib.ExitStack) -> None:
        self._home = home
        self._stack = stack
        self._http = http
        self.token = str(self.command("token", "--role", "admin")["token"])
        self.arn = ""

    def command(self, *words: str) -> dict[str, Any]:
        done = heliograph(*words, "--json", home=self._home)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def session(self, key_id: str) -> Credentials:
        made = self.command("key", "session", "--key", key_id)["credentials"]
        return Credentials(made["accessKeyId"], made["secretAccessKey"], made["sessionToken"])

    def create(self, name: str) -> None:
        made = self.command("channel", "create", name, "--endpoint", self._http, "--token", self.token)
        self.arn = made["ChannelARN"]

    def by_token(self, client_id: str, token: str) -> ClientConnection:
        return self._open({"X-Amz-ClientId": client_id, "token": token}, None)

    def signed(self, client_id: str, credentials: Credentials) -> ClientConnection:
        return self._open({"X-Amz-ClientId": client_id}, credentials)

    def _open(self, query: dict[str, str], credentials: Credentials | None) -> ClientConnection:
        place = self._http.replace("http://", "ws://")
        url = f"{place}/viewer?{urlencode({'X-Amz-ChannelARN': self.arn, **query})}"
        if credentials is not None:
            url = sigv4.presign(url, credentials, REGION, time.time())
        return self._stack.enter_context(connect(url, compression=None))


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with running("serve", *FREE_PORTS, home=tmp_path) as ready, contextlib.ExitStack() as stack:
        made = Service(tmp_path, ready["http"], stack)
        made.create("door")
        yield made


def close_of(socket: ClientConnection) -> tuple[int, str]:
    with pytest.raises(ConnectionClosed) as closed:
        socket.recv(timeout=LIMIT_S)
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code, closed.value.rcvd.reason


def test_revoking_a_key_cuts_its_sockets_and_those_of_its_sessions(service: Service) -> None:
    key = service.command("key", "create")
    other = service.command("key", "create", "--role", "viewer", "--channel", "door")
    triple = service.session(key["access_key_id"])
    signed = service.signed("v-1", Credentials(key["access_key_id"], key["secret_access_key"]))
    session = service.signed("v-2", triple)
    kept = service.signed("v-4", Credentials(other["access_key_id"], other["secret_access_key"]))
    service.command("key", "revoke", key["access_key_id"])
    for socket in (signed, session):
        assert close_of(socket) == (1008, "the credential was revoked")
    assert kept.ping().wait(LIMIT_S)


def test_revoking_a_session_or_a_token_cuts_that_alone(service: Service) -> None:
    key = service.command("key", "create")
    triple = service.session(key["access_key_id"])
    viewer = service.command("token", "--role", "viewer", "--channel", "door")["token"]
    signed = service.signed("v-1", Credentials(key["access_key_id"], key["secret_access_key"]))
    session = service.signed("v-2", triple)
    by_token = service.by_token("v-3", viewer)
    for words, socket in ((triple.access_key_id, session), (viewer, by_token)):
        service.command("key", "revoke", words)
        assert close_of(socket)[0] == 1008
    assert signed.ping().wait(LIMIT_S)


def test_a_token_key_that_is_added_is_good_without_a_restart(tmp_path: Path) -> None:
    with running("serve", *FREE_PORTS, home=tmp_path) as ready, contextlib.ExitStack() as stack:
        (folder,) = tmp_path.rglob("keys")
        path = folder / "9999-01.secret"
        path.touch(0o600)
        path.write_text("k" * 64)
        deadline = time.monotonic() + LIMIT_S
        while 'heliograph_auth_key_files_total{result="loaded"} 1' not in metrics(ready["ops"]):
            assert time.monotonic() < deadline, "the key was not read"
            time.sleep(0.1)
        Service(tmp_path, ready["http"], stack).create("door")  # with a token that the newest key signed


def metrics(ops: str) -> str:
    with urlopen(f"{ops}/metrics", timeout=LIMIT_S) as answer:
        text: bytes = answer.read()
    return text.decode()
