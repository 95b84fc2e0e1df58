"""A running service with its relay, and clients that allocate with what GetIceServerConfig gave them."""

import asyncio
import contextlib
import json
import socket
import time
from pathlib import Path
from typing import Any

from channels.access import Access
from channels.auth.sigv4 import Credentials
from channels.service import ServiceClient
from media.turn import stun
from tests.media.relay.loopback import Client
from tests.media.turn.world import code_of
from tests.running import heliograph

RESEND_S = 1.0


class Relayed(Client):
    """A client with an allocation, by a credential of GetIceServerConfig."""

    def __init__(self, server: dict[str, Any]) -> None:
        host, port = server["Uris"][0].removeprefix("turn:").partition("?")[0].split(":")
        super().__init__((host, int(port)), username=server["Username"])
        self.key = stun.integrity_key(server["Username"], "heliograph", server["Password"])
        self.relayed = ("", 0)

    async def open(self) -> "Relayed":
        self.relayed = await self.allocated()
        return self

    async def ask(self, request: bytes) -> bytes:
        """Send it again while there is no answer: a worker that ends takes along what it has not read."""
        while True:
            self.socket.send(request)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RESEND_S):
                    while (reply := await self.receive())[8:20] != request[8:20]:
                        pass  # a second answer to what was sent twice
                    return reply

    async def is_alive(self) -> bool:
        """Whether the allocation can be refreshed; then its relay socket is there."""
        is_bound = self._is_relay_bound()
        code = code_of(await self.request(stun.REFRESH, []))
        assert is_bound or code != 0
        return code == 0

    async def end(self) -> None:
        assert code_of(await self.request(stun.REFRESH, [(stun.LIFETIME, bytes(4))])) == 0

    async def ends_within(self, limit_s: float) -> float:
        started = time.monotonic()
        async with asyncio.timeout(limit_s):
            while await self.is_alive():
                pass
        assert not self._is_relay_bound()
        return time.monotonic() - started

    def _is_relay_bound(self) -> bool:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            try:
                other.bind(self.relayed)
            except OSError:
                return True
        return False


def signing(key: dict[str, Any]) -> Access:
    return Access("", Credentials(key["access_key_id"], key["secret_access_key"]))


class Service:
    """A running `heliograph serve`, its command line and its API."""

    def __init__(self, home: Path, ready: dict[str, Any], stack: contextlib.ExitStack) -> None:
        self._home = home
        self._stack = stack
        self.ready = ready
        self._http = ready["http"]
        self.admin = Access(str(self.command("token", "--role", "admin")["token"]))

    def command(self, *words: str) -> dict[str, Any]:
        done = heliograph(*words, "--json", home=self._home)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def session(self, key_id: str) -> Access:
        made = self.command("key", "session", "--key", key_id)["credentials"]
        return Access("", Credentials(made["accessKeyId"], made["secretAccessKey"], made["sessionToken"]))

    async def call(self, path: str, body: dict[str, object], access: Access) -> dict[str, Any]:
        return await ServiceClient(self._http, access).call(path, body)

    async def create(self, name: str) -> str:
        return str((await self.call("/createSignalingChannel", {"ChannelName": name}, self.admin))["ChannelARN"])

    async def relay(self, arn: str, access: Access) -> Relayed:
        answer = await self.call("/v1/get-ice-server-config", {"ChannelARN": arn}, access)
        return await self._stack.enter_context(Relayed(answer["IceServerList"][0])).open()
