"""USERHASH (RFC 8489, 14.4) with real processes: clients that read in the nonce whether it is known what they hide."""

import asyncio
import base64
import contextlib
import re
import time
from pathlib import Path
from typing import Any

import pytest

from app.data_folder import read_turn_secrets
from channels import ice
from channels.names import ChannelArn
from media.turn import nonce, stun
from media.turn.credential import PASSWORD_ALGORITHMS
from tests.app.relay_rig import Relayed, Service
from tests.media.turn.world import UDP, address_of, code_of
from tests.running import FREE_PORTS, running, started

ARN = ChannelArn("aws", "us-west-2", "000000000000", "demo", 1)
FIRST, HALF, LAST = 47200, 47250, 47299
OWN_PORTS = ("--turn-min-port", str(FIRST), "--turn-max-port", str(LAST))
OFFER = ((stun.PASSWORD_ALGORITHM, bytes((0, stun.SHA256, 0, 0))), (stun.PASSWORD_ALGORITHMS, PASSWORD_ALGORITHMS))


class Hidden(Relayed):
    """A client that never sends its user name, and signs with SHA-256."""

    def __init__(self, server: dict[str, Any]) -> None:
        super().__init__(server)
        self.key = stun.integrity_key(self.username, "heliograph", server["Password"], stun.SHA256)

    async def features(self) -> int:
        """The security features that a nonce tells (RFC 8489, 9.2)."""
        self.nonce = (await self.request(stun.ALLOCATE, [(stun.REQUESTED_TRANSPORT, UDP)])).first(stun.NONCE) or b""
        assert self.nonce.startswith(b"obMatJos2")
        return int.from_bytes(base64.b64decode(self.nonce[9:13]))

    async def allocated(self, *attributes: tuple[int, bytes]) -> tuple[str, int]:
        async with asyncio.timeout(15):
            while code_of(reply := await self.allocate(*attributes)) == 401:
                pass  # on loopback a request may overtake the news of the name on its way to a worker
        assert code_of(reply) == 0, code_of(reply)
        return address_of(reply, stun.XOR_RELAYED_ADDRESS)

    async def request(self, method: int, attributes: list[tuple[int, bytes]]) -> stun.Message:
        self.count += 1
        message = stun.Message(method, stun.REQUEST, self.count.to_bytes(12), list(attributes))
        if self.nonce:
            userhash = stun.userhash(self.username, "heliograph")
            message.attributes += [(stun.USERHASH, userhash), (stun.REALM, b"heliograph"), (stun.NONCE, self.nonce)]
            message.attributes += OFFER
        key = self.key if self.nonce else None
        return stun.decode(await self.ask(stun.encode(message, key, is_sha256=bool(self.nonce))))


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
async def test_a_name_of_get_ice_server_config_may_be_hidden(workers: int, tmp_path: Path) -> None:
    words = ("serve", *FREE_PORTS, *OWN_PORTS, "--turn-workers", str(workers), "--limits-profile", "relaxed")
    with running(*words, home=tmp_path) as ready, contextlib.ExitStack() as stack:
        service = Service(tmp_path, ready, stack)
        arn = await service.create("door")
        reached = set()
        for number in range(20):
            body = {"ChannelARN": arn, "ClientId": f"viewer-{number}"}
            answer = await service.call("/v1/get-ice-server-config", body, service.admin)
            client = stack.enter_context(Hidden(answer["IceServerList"][0]))
            assert await client.features() == nonce.PASSWORD_ALGORITHMS_BIT | nonce.USERNAME_ANONYMITY_BIT
            reached.add((await client.open()).relayed[1] >= HALF and workers > 1)
            assert await client.is_alive()
            if len(reached) == workers:
                break
        assert len(reached) == workers, "each worker knows the names"
        plain = await service.relay(arn, service.admin)
        assert await plain.is_alive(), "who tells the name is known as well"
        stranger = stack.enter_context(Hidden({**answer["IceServerList"][0], "Username": "9999999999:nobody"}))
        await stranger.features()
        assert code_of(await stranger.allocate()) == 401


@pytest.mark.slow
async def test_a_relay_alone_knows_no_names_and_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with started("turn", "--data-dir", str(folder), *OWN_PORTS, ports=("--turn-port", "0")) as turn:
        username, password = ice.mint(read_turn_secrets(folder)[-1], ARN, None, time.time())
        port = re.findall(r":([0-9]+)\?", turn.ready["turn"])[0]
        server = {"Uris": [f"turn:127.0.0.1:{port}"], "Username": username, "Password": password}
        with Hidden(server) as hidden, Relayed(server) as plain:
            assert await hidden.features() == nonce.PASSWORD_ALGORITHMS_BIT
            assert code_of(await hidden.allocate()) == 401
            assert await (await plain.open()).is_alive()
