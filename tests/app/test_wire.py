"""The door of every operation: strict bodies, typed errors, one write, and nothing of our own faults told."""

import asyncio
import json
import logging
import re
import uuid
from collections.abc import AsyncIterator, Callable

import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.routing import Route

from app import wire
from app.wire import Caller, Operation
from channels.auth.grant import Grant
from channels.errors import (
    ClientLimitExceededException,
    InvalidArgumentException,
    Limit,
    MissingAuthenticationTokenException,
    RequestEntityTooLargeException,
    ResourceNotFoundException,
    ServiceError,
    ServiceUnavailableException,
    UnrecognizedClientException,
)
from channels.store import StoreUnavailableError

GRANT = Grant("alice", "000000000000", (), 2_000_000_000.0)


class Inner(msgspec.Struct):
    number: int


class Question(msgspec.Struct):
    number: int | None = None
    inner: Inner | None = None
    items: tuple[Inner, ...] = ()


class Answer(msgspec.Struct):
    number: int | None
    host: str
    scheme: str
    subject: str


async def echo(caller: Caller, question: Question) -> Answer:
    return Answer(question.number, caller.host, caller.scheme, caller.grant.subject)


def allow(connection: HTTPConnection, body: bytes) -> Grant:
    if "authorization" not in connection.headers:
        raise MissingAuthenticationTokenException("no credential")
    if connection.headers["authorization"].startswith("AWS4"):
        raise UnrecognizedClientException("no such key")
    return GRANT


def client(
    handle: Callable[[Caller, Question], object] = echo, service: str = "kinesisvideo", **headers: str
) -> httpx.AsyncClient:
    operation = Operation("Ask", "/ask", Question, handle, service)  # type: ignore[arg-type]
    endpoint = wire.operation_endpoint(operation, allow)
    application = Starlette(routes=[Route("/ask", endpoint, methods=["GET", "PUT", "POST"])])
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(application),
        base_url="http://kvs.test:8080",
        headers={"authorization": "Bearer x", **headers},
    )


def failing(error: Exception) -> Callable[[Caller, Question], object]:
    async def handle(caller: Caller, question: Question) -> Answer:
        raise error

    return handle


async def post(body: bytes | AsyncIterator[bytes], **headers: str) -> httpx.Response:
    async with client() as http:
        return await http.post("/ask", content=body, headers=headers)


async def test_a_good_body_is_answered_with_its_length_and_request_id() -> None:
    answer = await post(b'{"number": 58, "unknown": [1, 2]}')
    assert answer.status_code == 200
    assert answer.json() == {"number": 58, "host": "kvs.test:8080", "scheme": "http", "subject": "alice"}
    assert answer.headers["content-length"] == str(len(answer.content))
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert re.fullmatch(r"[0-9a-f-]{36}", answer.headers["x-amzn-requestid"])


@pytest.mark.parametrize("body", [b"", b"{}", b" {} "])
async def test_an_empty_body_is_an_empty_object(body: bytes) -> None:
    assert (await post(body)).json()["number"] is None


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"number": 58.0}', "number: expected int"),
        (b'{"number": 1e2}', "number: expected int"),
        (b'{"number": "58"}', "number: expected int"),
        (b'{"number": true}', "number: expected int"),
        (b'{"inner": {}}', "inner.number is missing"),
        (b'{"items": [{"number": 1}, {}]}', "items[1].number is missing"),
        (b'{"items": {}}', "items: expected array"),
        (b"[]", "the body: expected object"),
        (b"null", "the body: expected object"),
        (b'"text"', "the body: expected object"),
    ],
)
async def test_a_wrong_field_is_named(body: bytes, field: str) -> None:
    answer = await post(body)
    assert answer.status_code == 400
    assert answer.headers["x-amzn-errortype"] == "InvalidArgumentException"
    assert answer.json()["Message"].startswith(field)
    assert "`" not in answer.text


@pytest.mark.parametrize(
    "body",
    [b"{", b"{}x", b"number=1", b'{"number": 1,}', b"\xff\xfe", b'{"u": "\\ud800"}', b"\x1f\x8b\x08", b'{"u":' * 9999],
)
async def test_what_is_not_json_is_said_to_be_so(body: bytes) -> None:
    answer = await post(body)
    assert (answer.status_code, answer.json()["__type"]) == (400, "InvalidArgumentException")
    assert "not JSON" in answer.json()["Message"]


@given(st.binary(max_size=200))
def test_any_bytes_decode_or_raise_the_one_error(body: bytes) -> None:
    try:
        assert isinstance(wire.decode(msgspec.json.Decoder(Question), body), Question)
    except InvalidArgumentException as error:
        assert error.message  # noqa: PT017  either outcome is right, any other error is not


async def test_a_body_over_the_cap_is_refused_whether_announced_or_not() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(65):
            yield b" " * 1024

    for answer in (await post(b" " * (wire.BODY_LIMIT + 1)), await post(pieces())):
        assert answer.status_code == 413
        assert answer.headers["x-amzn-errortype"] == "RequestEntityTooLargeException"
        assert answer.json()["limit"] == {"name": "body_bytes", "value": wire.BODY_LIMIT}
    assert (await post(b"{}" + b" " * (wire.BODY_LIMIT - 2))).status_code == 200


@pytest.mark.parametrize("announced", ["-1", "many", "9" * 400])
async def test_a_strange_content_length_does_no_harm(announced: str) -> None:
    request = Request({"type": "http", "headers": [(b"content-length", announced.encode())]}, _nothing_more)
    if announced.startswith("9"):
        with pytest.raises(RequestEntityTooLargeException):
            await wire.read_body(request)
    else:
        assert await wire.read_body(request) == b"{}"


async def _nothing_more() -> dict[str, object]:
    return {"type": "http.request", "body": b"{}", "more_body": False}


async def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    async def never() -> dict[str, object]:
        await asyncio.Event().wait()
        raise AssertionError

    with pytest.raises(InvalidArgumentException, match="did not arrive"):
        await wire.read_body(Request({"type": "http", "headers": []}, never), timeout_s=0.01)


async def test_a_caller_that_leaves_is_no_fault_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    async def gone() -> dict[str, object]:
        return {"type": "http.disconnect"}

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/ask",
        "scheme": "http",
        "query_string": b"",
        "headers": [(b"authorization", b"Bearer x"), (b"host", b"kvs")],
    }
    endpoint = wire.operation_endpoint(Operation("Ask", "/ask", Question, echo, "kinesisvideo"), allow)
    await endpoint(Request(scope, gone))
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_who_has_no_credential_is_refused_before_the_body_is_read() -> None:
    async with client() as http:
        del http.headers["authorization"]
        answer = await http.post("/ask", content=b" " * (wire.BODY_LIMIT + 1))
    assert (answer.status_code, answer.json()["__type"]) == (403, "MissingAuthenticationTokenException")


@pytest.mark.parametrize("method", ["GET", "PUT"])
async def test_another_method_is_an_unknown_operation(method: str) -> None:
    async with client() as http:
        answer = await http.request(method, "/ask")
    assert (answer.status_code, answer.json()["__type"]) == (404, "UnknownOperationException")


@pytest.mark.parametrize("host", ["", "a b", "kvs/../x", "kvs:99999999", "kvs@evil", "<script>", "[::1", "é"])
async def test_a_host_that_cannot_stand_in_an_endpoint_is_refused(host: str) -> None:
    async with client() as http:
        answer = await http.post("/ask", content=b"{}", headers={"host": host.encode()})
    assert (answer.status_code, answer.json()["__type"]) == (400, "InvalidArgumentException")
    assert "Host" in answer.json()["Message"]


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost", "[::1]:8080", "kvs.example.com:443", "node_1"])
async def test_the_host_is_handed_on_as_the_caller_wrote_it(host: str) -> None:
    async with client() as http:
        answer = await http.post("/ask", content=b"{}", headers={"host": host})
    assert answer.json()["host"] == host


@pytest.mark.parametrize("error", ServiceError.__subclasses__(), ids=lambda error: error.__name__)
async def test_every_error_has_its_status_its_header_and_its_words(error: type[ServiceError]) -> None:
    async with client(failing(error("what to do"))) as http:
        answer = await http.post("/ask")
    assert answer.status_code == error.status
    assert answer.headers["x-amzn-errortype"] == error.__name__
    assert answer.json() == {"__type": error.__name__, "Message": "what to do"}


async def test_outside_the_control_plane_the_member_is_lower_case() -> None:
    for service in ("signaling", "heliograph"):
        async with client(failing(ResourceNotFoundException("gone")), service) as http:
            answer = await http.post("/ask")
        assert answer.json() == {"__type": "ResourceNotFoundException", "message": "gone"}


@pytest.mark.parametrize(("wait", "header"), [(0.2, "1"), (1.0, "1"), (1.2, "2")])
async def test_a_limit_is_told_with_its_value_and_when_to_try_again(wait: float, header: str) -> None:
    error = ClientLimitExceededException("slowly", Limit("calls_per_second_per_channel", 5, wait))
    answer = wire.error_response(error, "id")
    assert answer.headers["retry-after"] == header
    assert json.loads(answer.body)["limit"] == {
        "name": "calls_per_second_per_channel",
        "value": 5,
        "retryAfterSeconds": wait,
    }


def test_a_limit_that_only_somebody_leaving_lifts_names_no_time() -> None:
    error = ClientLimitExceededException("full", Limit("viewers_per_channel", 10))
    answer = wire.error_response(error, "id")
    assert "retry-after" not in answer.headers
    assert json.loads(answer.body)["limit"] == {"name": "viewers_per_channel", "value": 10}


def test_a_long_sentence_is_cut_so_that_the_answer_stays_small() -> None:
    answer = wire.error_response(InvalidArgumentException("é" * 60_000), "id")
    assert len(answer.body) < 3500


async def test_our_own_fault_is_logged_once_and_told_without_details(caplog: pytest.LogCaptureFixture) -> None:
    async with client(failing(ZeroDivisionError("secret detail"))) as http:
        answer = await http.post("/ask")
    assert (answer.status_code, answer.json()["__type"]) == (500, "InternalFailureException")
    assert "secret detail" not in answer.text
    assert answer.headers["x-amzn-requestid"] in answer.json()["Message"]
    faults = [record for record in caplog.records if record.exc_info]
    assert len(faults) == 1
    assert faults[0].__dict__["request_id"] == answer.headers["x-amzn-requestid"]


async def test_each_call_is_one_line_of_the_audit_log_without_its_content(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with client(failing(ServiceUnavailableException("later"))) as http:
        answer = await http.post("/ask", content=b'{"number": 424242}')
    (record,) = [record for record in caplog.records if record.name.startswith(("app", "heliograph"))]
    said = record.__dict__
    assert (record.name, record.message) == ("heliograph.audit", "called")
    assert (said["operation"], said["code"], said["subject"]) == ("Ask", "ServiceUnavailableException", "alice")
    assert said["source"] == "127.0.0.1"
    assert said["request_id"] == answer.headers["x-amzn-requestid"]
    assert "424242" not in str(said)
    assert "Bearer" not in str(said)


def test_the_audit_log_has_what_a_part_said_that_does_not_answer() -> None:
    error = ServiceUnavailableException("the catalog of channels does not answer: try again")
    error.__cause__ = StoreUnavailableError("the catalog /d/c.sqlite cannot be used: database or disk is full")
    assert wire.failure(error, with_reason=False) == {
        "code": "ServiceUnavailableException",
        "cause": "the catalog /d/c.sqlite cannot be used: database or disk is full",
    }
    assert wire.failure(ServiceUnavailableException("later"), with_reason=False) == {
        "code": "ServiceUnavailableException"
    }


@pytest.mark.parametrize(
    ("body", "authorization", "code", "reason"),
    [
        (b'{"number": "hush"}', "Bearer x", "InvalidArgumentException", None),
        (b"{}", None, "MissingAuthenticationTokenException", "no credential"),
    ],
)
async def test_the_audit_log_has_the_reason_of_a_denial_and_no_words_of_a_body(
    caplog: pytest.LogCaptureFixture, body: bytes, authorization: str | None, code: str, reason: str | None
) -> None:
    caplog.set_level(logging.INFO, logger="heliograph.audit")
    async with client() as http:
        if authorization is None:
            del http.headers["authorization"]
        await http.post("/ask", content=body)
    (record,) = [record for record in caplog.records if record.name == "heliograph.audit"]
    assert (record.__dict__["code"], record.__dict__.get("reason")) == (code, reason)
    assert "hush" not in str(record.__dict__)


async def test_the_audit_log_has_the_key_that_a_refused_call_names(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="heliograph.audit")
    named = "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20261125/us-west-2/kinesisvideo/aws4_request"
    async with client() as http:
        await http.post("/ask", content=b"{}", headers={"Authorization": named})
    (record,) = [record.__dict__ for record in caplog.records if record.name == "heliograph.audit"]
    assert (record["subject"], record["access_key_id"]) == ("", "AKIAIOSFODNN7EXAMPLE")


@pytest.mark.parametrize(
    ("limit", "told"),
    [
        (
            Limit("calls_per_second_per_channel", 5, 0.2),
            {"limit": "calls_per_second_per_channel", "limit_value": "5", "retry_after_s": "0.20"},
        ),
        (Limit("viewers_per_channel", 10), {"limit": "viewers_per_channel", "limit_value": "10"}),
    ],
)
async def test_the_audit_log_names_the_limit_that_refused(
    caplog: pytest.LogCaptureFixture, limit: Limit, told: dict[str, str]
) -> None:
    caplog.set_level(logging.INFO, logger="heliograph.audit")
    async with client(failing(ClientLimitExceededException("slowly", limit))) as http:
        await http.post("/ask", json={"number": 1})
    (record,) = [record.__dict__ for record in caplog.records if record.name == "heliograph.audit"]
    assert {key: record[key] for key in ("limit", "limit_value", "retry_after_s") if key in record} == told


def test_a_request_has_one_id() -> None:
    connection = HTTPConnection({"type": "http"})
    assert wire.request_id(connection) == wire.request_id(connection)
    assert wire.request_id(connection) != wire.request_id(HTTPConnection({"type": "http"}))


def test_a_request_id_is_a_random_uuid() -> None:
    texts = {wire.request_id(HTTPConnection({"type": "http"})) for _ in range(200)}
    assert len(texts) == 200
    assert {(uuid.UUID(text).version, uuid.UUID(text).variant) for text in texts} == {(4, uuid.RFC_4122)}
    assert {str(uuid.UUID(text)) for text in texts} == texts
