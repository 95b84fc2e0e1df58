"""Debian's coturn in the place of our relay: it takes our credentials, closes what we close, and ends with us."""

import asyncio
import base64
import contextlib
import hmac
import json
import os
import re
import signal
import socket
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography import x509

from app.cli_turn_check import describe
from channels.redis.coturn import CoturnRedis
from media.coturn.coturn import Coturn, CoturnSettings
from media.coturn.coturn_config import CoturnRedisPlace, CoturnRules
from media.coturn.coturn_statistics import CoturnStatistics
from media.relay.interfaces import detect
from media.turn import stun
from media.turn.address import IPV4, IPV6, pack, parse_range
from media.turn.policy import PeerRules
from media.turn_check.check import CheckOrder, check
from media.turn_check.client import Credential
from media.turn_check.steps import Attempt
from media.turn_check.uri import TurnUri
from tests.certificates import made, trusting
from tests.media.relay.loopback import Client
from tests.media.turn.world import code_of
from tests.ports import free_port
from tests.programs import require
from tests.redis_link import patient_settings
from tests.redis_server import RedisServer
from tests.running import Started, ends_within, heliograph, started

pytestmark = [pytest.mark.interop, pytest.mark.timeout(240)]

SECRET = "north"
CLOSED = {
    "this network": "0.0.0.1",
    "private": "10.0.0.1",
    "private too": "172.16.0.1",
    "private at home": "192.168.0.1",
    "shared": "100.64.0.1",
    "metadata": "169.254.169.254",
    "metadata elsewhere": "100.100.100.200",
    "link-local": "169.254.0.1",
    "loopback": "127.0.0.1",
    "protocol assignments": "192.0.0.1",
    "6to4 relays": "192.88.99.1",
    "documentation": "192.0.2.1",
    "documentation too": "198.51.100.1",
    "documentation more": "203.0.113.1",
    "benchmarking": "198.18.0.1",
    "multicast": "224.0.0.1",
    "reserved": "240.0.0.1",
    "broadcast": "255.255.255.255",
    "own": "8.8.4.4",
}
CLOSED_V6 = {
    "loopback": "::1",
    "unique-local": "fd12::1",
    "link-local": "fe80::1",
    "documentation": "2001:db8::1",
    "multicast": "ff02::1",
    "reserved": "4000::1",
    "mapped": "::ffff:10.0.0.1",
    "compatible": "::10.0.0.1",
    "6to4": "2002:a00:1::1",
    "NAT64": "64:ff9b::10.0.0.1",
    "Teredo": "2001:0:a00:1::",
}


class TurnUser(Client):
    """A client with a credential as coturn wants it."""

    def __init__(self, port: int) -> None:
        username = f"{int(time.time()) + 300}:tester"
        super().__init__(("127.0.0.1", port), username=username)
        digest = hmac.digest(SECRET.encode(), username.encode(), "sha1")
        self.password = base64.b64encode(digest).decode()
        self.key = stun.integrity_key(username, "heliograph", self.password)

    async def ask(self, request: bytes) -> bytes:
        """Say it again until it is answered, as clients over UDP do (RFC 8489, 6.2.1).

        What comes from a new client in the moment in which coturn makes the socket of another one is not answered:
        four of 1,600 Bindings where eight clients came at once. And we look after it from a new port each time.
        """
        while True:
            self.socket.send(request)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    while (answer := await self.receive())[8:20] != request[8:20]:  # to what was said twice before
                        continue
                    return answer


@contextlib.asynccontextmanager
async def coturn(folder: Path, **changes: object) -> AsyncIterator[tuple[Coturn, int]]:
    program = require("turnserver")
    rules = CoturnRules(
        listener_hosts=("127.0.0.1",),
        port=free_port(),
        relay_hosts={IPV4: detect(socket.AF_INET) or "127.0.0.1", IPV6: detect(socket.AF_INET6) or "::1"},
        advertised={IPV4: pack("8.8.8.8"), IPV6: pack("2600::7")},
        min_port=47000,
        max_port=47099,
        realm="heliograph",
        secrets=(SECRET,),
        peers=PeerRules(own=frozenset((pack("8.8.4.4"),)), advertised=frozenset(map(pack, ("8.8.8.8", "2600::7")))),
        folder=str(folder),
    )
    rules = msgspec.structs.replace(rules, **changes)
    one = Coturn(CoturnSettings(program, accepts_old=True, look_s=0.1), rules)
    is_ready, stopping = asyncio.Event(), asyncio.Event()
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        group.create_task(one.run(is_ready.set, stopping))
        await is_ready.wait()
        yield one, rules.port
        stopping.set()


async def test_each_closed_category_is_refused_and_the_open_world_is_not(tmp_path: Path) -> None:
    async with coturn(tmp_path) as (_, port):
        with TurnUser(port) as client:
            assert code_of(await client.allocate()) == 0
            found = {name: await client.permit(host) for name, host in CLOSED.items()}
            assert found == dict.fromkeys(CLOSED, 403)
            assert [await client.permit(host) for host in ("8.8.8.8", "1.1.1.1", "100.63.255.255")] == [0, 0, 0]
        with TurnUser(port) as client:
            family = (stun.REQUESTED_ADDRESS_FAMILY, bytes((IPV6, 0, 0, 0)))
            assert code_of(await client.allocate(family)) == 0
            found = {name: await client.permit(host) for name, host in CLOSED_V6.items()}
            assert found == dict.fromkeys(CLOSED_V6, 403)
            assert [await client.permit(host) for host in ("2600::7", "2600::8", "64:ff9b::8.8.4.5")] == [0, 0, 0]


async def test_a_check_passes_by_every_way(tmp_path: Path) -> None:
    files = made(tmp_path)
    pair = (str(files.pair.certificate), str(files.pair.key))
    host = detect(socket.AF_INET) or "127.0.0.1"
    changes = {
        "advertised": {IPV4: pack(host)},
        "relay_hosts": {IPV4: host},
        "peers": PeerRules(own=frozenset((pack(host),)), advertised=frozenset((pack(host),))),
    }
    async with coturn(tmp_path, certificate=pair, **changes) as (_, port):
        with TurnUser(port) as user:
            credential = Credential(user.username, user.password)
        uris = tuple(map(TurnUri.parse, (f"turn:127.0.0.1:{port}", f"turns:localhost:{port}", f"stun:[::1]:{port}")))
        attempts: list[Attempt] = []
        await check(
            CheckOrder(uris, credential, lambda: trusting(files.ca), describe, ca_file=str(files.ca)), attempts.append
        )
    found = {attempt.way: [step.result for step in attempt.steps] for attempt in attempts[:4]}
    assert found.keys() == {"UDP", "TCP", "TLS", "DTLS"}
    assert all(set(results) == {"ok"} for results in found.values()), attempts
    assert not attempts[4].has_passed, "it does not listen there"


async def test_networks_that_are_named_are_open(tmp_path: Path) -> None:
    peers = PeerRules(
        own=frozenset((pack("10.1.0.5"),)),
        advertised=frozenset((pack("8.8.8.8"),)),
        allowed=(parse_range("10.1.0.0/16", is_openable=True),),
    )
    async with coturn(tmp_path, peers=peers) as (_, port):
        with TurnUser(port) as client:
            assert code_of(await client.allocate()) == 0
            codes = [await client.permit(host) for host in ("10.1.0.4", "10.1.0.6", "10.1.0.5", "10.2.0.1")]
            assert codes == [0, 0, 403, 403]


async def test_a_quota_and_several_secrets(tmp_path: Path) -> None:
    async with coturn(tmp_path, secrets=("newer", SECRET), allocations_per_user=1) as (_, port):
        with TurnUser(port) as one, TurnUser(port) as other:
            assert code_of(await one.allocate()) == 0
            assert code_of(await other.allocate()) == 486


async def test_secrets_denied_peers_and_statistics_go_by_redis(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    statistics = CoturnStatistics(lambda name: name.encode())
    with RedisServer(tmp_path / "redis", password="p-1") as redis:
        place = CoturnRedisPlace(redis.host, redis.port, password=redis.password)
        link = CoturnRedis(patient_settings(redis.url), "heliograph")
        async with coturn(tmp_path, redis=place, secrets=("other",)) as (_, port), asyncio.TaskGroup() as group:
            hearing = group.create_task(link.listen(lambda *message: statistics.take(*message, time.monotonic())))
            with TurnUser(port) as client:
                assert code_of(await client.allocate()) == 401
            await link.put_secrets([SECRET])
            while redis.command("PUBSUB", "NUMPAT") == 0:  # noqa: ASYNC110  # before that, what is published is lost
                await asyncio.sleep(0.01)
            with TurnUser(port) as client:
                assert code_of(await client.allocate()) == 0
                assert await client.permit("1.1.1.1") == 0
                redis.command("SADD", "turn/realm/heliograph/denied-peer-ip", "1.1.1.0-1.1.1.255")
                while await client.permit("1.1.1.1") != 403:  # noqa: ASYNC110  # it looks every few seconds
                    await asyncio.sleep(0.1)
                while not (counters := statistics.counters(time.monotonic())):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
                assert counters == {"allocations_total": 1.0, "transports.udp": 1.0}
            hearing.cancel()
    assert [usage.allocations for usage in statistics.usage().values()] == [1]
    log = capfd.readouterr().err
    assert "password=***" in log
    assert "p-1" not in log


def serial(port: int, ca: Path) -> int:
    with (
        socket.create_connection(("127.0.0.1", port), 5) as plain,
        trusting(ca).wrap_socket(plain, server_hostname="localhost") as secure,
    ):
        return x509.load_der_x509_certificate(secure.getpeercert(binary_form=True) or b"").serial_number


def wait_for_serial(port: int, ca: Path, wanted: int) -> None:
    """Shake hands until that certificate is served; the test's own limit ends it."""
    while serial(port, ca) != wanted:
        pass


async def test_a_new_certificate_is_served(tmp_path: Path) -> None:
    files = made(tmp_path)
    pair = (str(files.pair.certificate), str(files.pair.key))
    async with coturn(tmp_path, certificate=pair) as (one, port):
        before = await asyncio.to_thread(serial, port, files.ca)
        files.pair.certificate.unlink()
        made(tmp_path)
        wanted = x509.load_pem_x509_certificate(files.pair.certificate.read_bytes()).serial_number
        await asyncio.to_thread(wait_for_serial, port, files.ca, wanted)
        assert one.reloads == 1
        assert before != wanted


@contextlib.contextmanager
def served(folder: Path, *words: str) -> Iterator[tuple[Started, int, Path]]:
    """`heliograph serve` with coturn; gives it, the TURN port, and its log."""
    require("turnserver")
    port, log = free_port(), folder / "log"
    ports = ("--http-port", "0", "--ops-port", "0", "--turn-port", str(port))
    command = (
        "serve",
        "--data-dir",
        str(folder / "data"),
        "--turn-engine",
        "coturn",
        "--turn-coturn-accept-old",
        *words,
    )
    with log.open("wb") as errors, started(*command, ports=ports, stderr=errors, home=folder) as service:
        yield service, port, log


def pid_of_coturn(log: Path) -> int:
    return next(event["pid"] for event in events(log) if event["event"] == "coturn ready")


def events(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]


def test_a_credential_of_get_ice_server_config_is_good_for_coturn(tmp_path: Path) -> None:
    with served(tmp_path) as (service, port, log):
        token = heliograph(
            "token", "--role", "admin", "--data-dir", str(tmp_path / "data"), home=tmp_path
        ).stdout.strip()
        variables = {"HELIOGRAPH_ENDPOINT": service.ready["http"], "HELIOGRAPH_TOKEN": token}
        assert heliograph("channel", "create", "door", home=tmp_path, variables=variables).returncode == 0
        done = heliograph("turn", "check", "--channel", "door", "--json", home=tmp_path, variables=variables)
        answer = json.loads(done.stdout)
        assert answer["ok"], done.stdout
        assert [attempt["way"] for attempt in answer["attempts"]] == ["UDP", "TCP"]
        own = heliograph(
            "turn", "check", "--turn-engine", "coturn", "--turn-port", str(port), "--data-dir", str(tmp_path / "data"),
            home=tmp_path,
        )  # fmt: skip
        assert own.returncode == 0, own.stdout
        pid = pid_of_coturn(log)
        code, _ = service.stop()
        assert code == 0
        assert ends_within(pid, 30)
    (warned,) = [event for event in events(log) if event["event"] == "old coturn accepted"]
    assert "CVE-2026-27624" in warned["reason"]


def test_the_end_of_coturn_is_the_end_of_the_service(tmp_path: Path) -> None:
    with served(tmp_path) as (service, _, log):
        os.kill(pid_of_coturn(log), signal.SIGKILL)
        assert service.process.wait(60) == 30
    assert "heliograph: TURN: coturn ended by itself (signal SIGKILL)" in log.read_text()


def test_coturn_does_not_outlive_a_turn_process_that_is_killed(tmp_path: Path) -> None:
    with served(tmp_path) as (service, _, log):
        pid = pid_of_coturn(log)
        os.kill(service.children()["turn"], signal.SIGKILL)
        assert ends_within(pid, 30)
        assert service.process.wait(60) == 30


def test_an_old_version_is_refused_unless_it_is_accepted(tmp_path: Path) -> None:
    require("turnserver")
    done = heliograph(
        "serve", "--data-dir", str(tmp_path / "data"), "--turn-engine", "coturn", "--turn-port", str(free_port()),
        "--http-port", "0", "--ops-port", "0", home=tmp_path,
    )  # fmt: skip
    assert done.returncode == 2
    assert re.search(r"heliograph: TURN_ENGINE: coturn 4\.\d\.\d is older than 4\.10\.0: .*CVE-2026-27624", done.stderr)
