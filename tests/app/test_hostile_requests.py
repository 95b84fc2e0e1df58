"""Hostile requests against the running service: each is refused by status and code, and harmless it succeeds.

A row is what was done to a request that is good, over REST or as a websocket handshake. Whatever the log says of it at
its lowest level, there is no secret in it.
"""

import io
import logging
import time
from collections.abc import AsyncIterator, Iterator

import msgspec
import pytest

from app import logs
from app.logs import JsonFormatter
from channels.auth.failures import Failures
from channels.signaling.limits import Limits
from tests import signer
from tests.app.hostile.confused import HEADERS, MACS, TOKENS
from tests.app.hostile.doubled import DOUBLED
from tests.app.hostile.harms import (
    INCOMPLETE,
    INVALID,
    NOT_FOUND,
    UNRECOGNIZED,
    Harm,
    Make,
    Outcome,
    call,
    flipped,
    header,
    open_,
    parameter,
    target,
)
from tests.app.hostile.oversized import TOO_MUCH
from tests.app.hostile.replayed import REPLAYED
from tests.app.hostile.rig import OTHER_ACCOUNT, Rig
from tests.app.hostile.swapped import FOREIGN, FOREIGN_SOCKETS, HOSTS
from tests.app.hostile.tampered import TAMPERED
from tests.signaling_service import ACCOUNT, signaling_service
from tests.wire import Wire, exchange


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def rig(anyio_backend: str) -> AsyncIterator[Rig]:
    now = float(int(time.time()))  # it stands: however the machine stalls, what is a second early is refused
    async with signaling_service(Limits.relaxed(), wall=lambda: now) as service:
        mine = await service.control.create(ACCOUNT, "door")
        theirs = await service.control.create(OTHER_ACCOUNT, "door")
        yield Rig(service, mine, theirs)


@pytest.fixture(autouse=True)
def log(rig: Rig) -> Iterator[io.StringIO]:
    """The whole log of a test at its lowest level; no secret may stand in it."""
    rig.service.authenticator.failures = Failures()
    stream, root = io.StringIO(), logging.getLogger()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    quiet = [
        logging.getLogger(name) for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi", "botocore")
    ]
    states = [(logger, logger.level, logger.filters[:]) for logger in quiet]
    logging.getLogger("botocore").setLevel(logging.INFO)  # it signs for the test, and tells all when debugged
    logs.guard_libraries()
    yield stream
    for logger, before, filters in states:
        logger.setLevel(before)
        logger.filters[:] = filters
    root.removeHandler(handler)
    root.setLevel(level)
    written = stream.getvalue()
    assert not [secret for secret in rig.secrets if secret in written]


async def check(rig: Rig, good: Make, harm: Harm, expected: Outcome) -> None:
    """The harmed request is refused as expected, and the same request unharmed succeeds."""
    answer = await exchange(rig.address, harm(rig, good(rig)))
    assert (answer.status, answer.code) == expected, answer.text
    if answer.code:
        assert answer.body["__type"] == answer.code
        assert answer.body.get("Message") or answer.body.get("message")
        assert answer.headers["x-amzn-requestid"]
    unharmed = await exchange(rig.address, good(rig))
    assert unharmed.status in (200, 101), unharmed.text


@pytest.mark.parametrize("name", TAMPERED)
async def test_tampered_signature(rig: Rig, name: str) -> None:
    await check(rig, *TAMPERED[name])


@pytest.mark.parametrize("name", REPLAYED)
async def test_replay_after_expiry(rig: Rig, name: str) -> None:
    await check(rig, *REPLAYED[name])


async def test_the_words_that_device_clients_look_for_are_there(rig: Rig) -> None:
    for age_s, words in ((302, "Signature expired"), (-302, "Signature not yet current")):
        for wire in (rig.call(age_s=age_s), rig.open(age_s=age_s)):
            answer = await exchange(rig.address, wire)
            assert words in answer.body["Message"]
            assert answer.headers["date"].endswith("GMT")


@pytest.mark.parametrize("name", HOSTS)
@pytest.mark.parametrize("good", [call, open_], ids=["rest", "socket"])
async def test_swapped_host(rig: Rig, name: str, good: Make) -> None:
    await check(rig, good, *HOSTS[name])


@pytest.mark.parametrize("name", FOREIGN)
async def test_channel_of_another_account_is_not_there_for_calls(rig: Rig, name: str) -> None:
    await check(rig, *FOREIGN[name], NOT_FOUND)
    assert await rig.service.control.find(OTHER_ACCOUNT, "door"), "it was touched"


@pytest.mark.parametrize("name", FOREIGN_SOCKETS)
async def test_channel_of_another_account_is_not_there_for_websockets(rig: Rig, name: str) -> None:
    await check(rig, *FOREIGN_SOCKETS[name])


@pytest.mark.parametrize("name", HEADERS)
async def test_confused_algorithm_of_a_call(rig: Rig, name: str) -> None:
    change, expected = HEADERS[name]
    await check(rig, call, header("authorization", change), expected)


@pytest.mark.parametrize("name", ["", "none", "HS256", "AWS4-HMAC-SHA1", "AWS4-HMAC-SHA512", "aws4-hmac-sha256"])
async def test_confused_algorithm_of_a_presigned_websocket(rig: Rig, name: str) -> None:
    await check(rig, open_, parameter("X-Amz-Algorithm", name), INCOMPLETE)


@pytest.mark.parametrize("name", MACS)
@pytest.mark.parametrize("good", [call, open_], ids=["rest", "socket"])
async def test_signature_by_other_means(rig: Rig, name: str, good: Make) -> None:
    await check(rig, good, MACS[name], INVALID)


@pytest.mark.parametrize("name", TOKENS)
@pytest.mark.parametrize("good", [call, open_], ids=["rest", "socket"])
async def test_confused_algorithm_of_a_token(rig: Rig, name: str, good: Make) -> None:
    text = TOKENS[name](rig)

    def harm(rig: Rig, wire: Wire) -> Wire:
        return rig.bearer(text) if wire.method == "POST" else rig.handshake(rig.url(token=text))

    await check(rig, good, harm, UNRECOGNIZED)


@pytest.mark.parametrize("name", [name for name in TOKENS if name != "token, of a session"])
@pytest.mark.parametrize("form", ["rest", "socket"])
async def test_forged_session_token_under_a_right_signature(rig: Rig, name: str, form: str) -> None:
    who = signer.credentials(rig.key.id, rig.key.secret, TOKENS[name](rig))
    good = call if form == "rest" else open_
    await check(rig, good, lambda rig, _: rig.call(who=who) if form == "rest" else rig.open(who=who), UNRECOGNIZED)


async def test_session_token_of_one_under_the_signature_of_another(rig: Rig) -> None:
    """The C SDK's header is not signed, so anybody may put a foreign token into it."""
    other = rig.service.session(rig.key)
    rig.secrets |= {other.secret_access_key, other.session_token}

    def harm(rig: Rig, wire: Wire) -> Wire:
        return wire.having(("x-amz-security-token", other.session_token))

    def c_sdk(rig: Rig) -> Wire:
        triple = rig.session
        who = signer.credentials(triple.access_key_id, triple.secret_access_key)
        return rig.call(who=who, only=["host", "x-amz-date"]).adding(("x-amz-security-token", triple.session_token))

    await check(rig, c_sdk, harm, UNRECOGNIZED)


@pytest.mark.parametrize("name", DOUBLED)
async def test_doubled_parameters_and_credentials(rig: Rig, name: str) -> None:
    await check(rig, *DOUBLED[name])


@pytest.mark.parametrize("name", TOO_MUCH)
async def test_too_much(rig: Rig, name: str) -> None:
    await check(rig, *TOO_MUCH[name])


# What is asked for: ten of each class and door


def test_each_class_has_ten_over_either_door() -> None:
    both = len(HEADERS) + len(MACS) + len(TOKENS)
    assert min(both, 6 + len(MACS) + len(TOKENS), len(HOSTS), len(FOREIGN), len(FOREIGN_SOCKETS)) >= 10
    for table in (TAMPERED, REPLAYED, DOUBLED, TOO_MUCH):
        for door in ("rest", "socket"):
            assert sum(name.startswith(door) for name in table) >= 10, door


async def test_the_audit_log_names_who_what_and_the_statement(rig: Rig, log: io.StringIO) -> None:
    await exchange(rig.address, rig.call())
    await exchange(rig.address, rig.open())
    await exchange(rig.address, header("authorization", flipped)(rig, rig.call()))
    await exchange(rig.address, target(flipped)(rig, rig.open()))
    lines = [msgspec.json.decode(line) for line in log.getvalue().splitlines()]
    called, connected, refused, unconnected = [line for line in lines if line["logger"] == "heliograph.audit"]
    for line, name in ((called, "DescribeSignalingChannel"), (connected, "ConnectAsViewer")):
        assert (line["operation"], line["code"], line["sid"]) == (name, "OK", "everything")
        assert (line["subject"], line["channel"], line["source"]) == (f"key/{rig.key.id}", rig.mine, "127.0.0.1")
        assert line["request_id"]
    for line in (refused, unconnected):
        assert line["code"] == "InvalidSignatureException"
        assert len(line["canonical_sha256"].split()[0]) == 64
