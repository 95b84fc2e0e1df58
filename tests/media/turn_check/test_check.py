import ssl
import time
from pathlib import Path

import msgspec
import pytest

from app.cli_turn_check import describe
from media.relay.certificate import CertificatePair
from media.turn import stun
from media.turn_check.check import CheckOrder, check
from media.turn_check.client import Credential
from media.turn_check.steps import Attempt
from media.turn_check.uri import TurnUri
from tests import certificates
from tests.certificates import made, trusting
from tests.media.relay.loopback import serving
from tests.media.turn_check.scripted import (
    PASSWORD,
    USERNAME,
    Script,
    error,
    over_stream,
    over_udp,
    swallowing,
)
from tests.ports import free_port

DAY_S = 86400


def order(*uris: str, ca: Path | None = None, **changes: object) -> CheckOrder:
    made_up = CheckOrder(
        uris=tuple(map(TurnUri.parse, uris)),
        credential=Credential(USERNAME, PASSWORD),
        tls=lambda: trusting(ca) if ca else ssl.create_default_context(),
        describe=describe,
        timeout_s=15.0,
        ca_file=str(ca or ""),
    )
    return msgspec.structs.replace(made_up, **changes)


async def checked(wanted: CheckOrder) -> list[Attempt]:
    attempts: list[Attempt] = []
    has_passed = await check(wanted, attempts.append)
    assert has_passed is all(attempt.has_passed for attempt in attempts)
    return attempts


def failed(attempt: Attempt) -> tuple[str, str]:
    (step,) = (step for step in attempt.steps if step.result == "failed")
    assert step.cause
    assert step.fix
    return step.name, step.seen


async def test_our_own_server_over_udp_and_dtls(tmp_path: Path) -> None:
    files = made(tmp_path)
    async with serving(certificate=CertificatePair(files.pair.certificate, files.pair.key)) as running:
        port = running.address.port
        uris = (f"turn:127.0.0.1:{port}?transport=udp", f"turns:localhost:{port}?transport=udp")
        plain, secure = await checked(order(*uris, ca=files.ca))
        assert plain.has_passed
        assert secure.has_passed
        assert "DTLSv1.2, certificate for localhost" in secure.steps[1].seen
        (untrusted,) = await checked(order(uris[1]))
        assert failed(untrusted)[0] == "tls"
        (misnamed,) = await checked(order(f"turns:127.0.0.2:{port}?transport=udp", ca=files.ca))
        assert failed(misnamed)[0] == "tls"


async def test_tcp_and_tls_are_steps_of_their_own(tmp_path: Path) -> None:
    files = made(tmp_path)
    server = certificates.tls_context(CertificatePair(files.pair.certificate, files.pair.key))
    script = Script(allocate=486)
    async with over_stream(script) as plain, over_stream(script, server) as secure:
        uris = (f"turn:127.0.0.1:{plain}?transport=tcp", f"turns:localhost:{secure}?transport=tcp")
        tcp, tls = await checked(order(*uris, ca=files.ca))
        assert [step.name for step in tls.steps[:6]] == ["name", "reach", "tls", "stun", "challenge", "credential"]
        assert failed(tcp) == failed(tls) == ("credential", "486 No")
        assert "TLSv1.3, certificate for localhost" in tls.steps[2].seen
        assert tls.steps[2].note == ""
        late = order(uris[1], ca=files.ca, now_wall=lambda: time.time() + 390 * DAY_S)
        (soon,) = await checked(late)
        assert soon.steps[2].note == "the certificate ends in 7 days"
        (untrusted,) = await checked(order(uris[1]))
        assert failed(untrusted)[0] == "tls"
        assert "signed by Heliograph development CA" in failed(untrusted)[1]


@pytest.mark.slow
async def test_a_port_without_a_listener_and_one_that_swallows_everything() -> None:
    closed = free_port()
    assert [failed(each) for each in await checked(order(f"turn:127.0.0.1:{closed}"))] == [("reach", "refused")] * 2
    with swallowing() as port:
        uris = (f"turn:127.0.0.1:{port}", f"turns:127.0.0.1:{port}")
        for timeout_s in (0.4, 4.0):  # a machine that stalls as long reaches not even what is there
            attempts = await checked(order(*uris, timeout_s=timeout_s))
            steps = [failed(each)[0] for each in attempts]
            if steps == ["reach", "stun", "tls", "tls"]:
                break
        assert steps == ["reach", "stun", "tls", "tls"]
        assert {failed(each)[1] for each in attempts} == {f"no answer in {timeout_s:g} s"}


async def test_a_web_server_is_no_turn_server() -> None:
    async with over_stream(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port:
        (attempt,) = await checked(order(f"turn:127.0.0.1:{port}?transport=tcp"))
        assert failed(attempt) == ("stun", "the answer begins with 'HTTP/1.1'")


async def test_a_name_that_leads_nowhere_is_one_attempt() -> None:
    (attempt,) = await checked(order("turn:nowhere.invalid", timeout_s=2.0))
    assert failed(attempt)[0] == "name"
    assert attempt.address == ""


async def test_a_stun_server_is_asked_for_our_address_only() -> None:
    script = Script()
    async with over_udp(script) as port:
        (attempt,) = await checked(order(f"stun:localhost:{port}"))
        assert [step.name for step in attempt.steps] == ["name", "reach"]
        assert attempt.steps[1].seen == "the server sees us as 127.0.0.1:40000"
        assert script.methods == [stun.BINDING]


async def test_an_answer_without_our_address_is_no_answer() -> None:
    async with over_udp(lambda data: error(stun.decode(data), 500)) as port:
        (attempt,) = await checked(order(f"stun:127.0.0.1:{port}"))
        assert failed(attempt) == ("reach", "500 No")


@pytest.mark.parametrize("count", [3])
async def test_attempts_come_in_the_order_of_the_uris_and_share_a_quota_of_two(count: int) -> None:
    async with serving(allocations_per_channel=2) as running:
        uri = f"turn:127.0.0.1:{running.address.port}?transport=udp"
        attempts = await checked(order(*[uri] * count))
        assert all(attempt.has_passed for attempt in attempts)
        assert running.relay.stats.allocations == 0
