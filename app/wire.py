"""An operation as HTTP carries it: request body to Struct, Struct or ServiceError to an AWS-shaped answer.

Every answer goes out with Content-Length in one body write, since a common device SDK keeps only the last piece of a
body that it reads. Errors: `x-amzn-ErrorType`, and a body with `Message` (`message` outside the control plane).
Each call, answered or refused, is one line of the audit log; what its body and its answer held is in no log.
"""

import asyncio
import logging
import math
import os
import re
import time
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, Literal

import msgspec
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import Response

from app.authenticate import claimed_key, signs_body
from app.bounds import bounds
from channels.auth.grant import Grant
from channels.errors import (
    AccessDeniedException,
    InternalFailureException,
    InvalidArgumentException,
    InvalidSignatureException,
    Limit,
    RequestEntityTooLargeException,
    ServiceError,
    ServiceUnavailableException,
    UnknownOperationException,
)

log = logging.getLogger(__name__)
audit = logging.getLogger("heliograph.audit")

BODY_LIMIT = 64 * 1024
BODY_TIMEOUT_S = 10.0
MESSAGE_LIMIT = 1024  # characters; keeps every error answer far below 3.5 KB
_HOST = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?", re.ASCII)
_LOCATED = re.compile(r"(.*) - at `\$\.?([^`]*)`", re.DOTALL)  # how msgspec words its errors
_MISSING = re.compile(r"Object missing required field `(.*)`")
_REQUEST_ID = "heliograph.request_id"  # key of the ASGI scope
_DENIALS = (401, 403)
_VERSION_AND_VARIANT = 0x4 << 76 | 0b10 << 62
_RANDOM_BITS = ~(0xF << 76 | 0b11 << 62)

_BOUND = re.compile(r"(matching regex|of length| [<>]=? )")  # what msgspec says of values out of bounds

Service = Literal["kinesisvideo", "signaling", "storage", "heliograph", "emulator"]


class Caller(msgspec.Struct, frozen=True):
    """Who calls, and where it found us: `host` is the Host header with its port, `scheme` is http or https.

    `event` is the call's line of the audit log as it grows: `app.authenticate.authorise` adds what it decided.
    `gone` returns once nobody waits for the answer any more, for a call that takes its time.
    """

    grant: Grant
    request_id: str
    host: str
    scheme: str
    event: dict[str, str]
    gone: Callable[[], Coroutine[Any, Any, None]]


class Operation(msgspec.Struct, frozen=True):
    """One operation: POST of a `request` Struct to `path`; `handle` answers with a Struct or raises ServiceError."""

    name: str
    path: str
    request: type[msgspec.Struct]
    handle: Callable[[Caller, Any], Awaitable[msgspec.Struct]]
    service: Service


class ErrorLimit(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """The limit that refused a request: its name, its value, and the seconds after which a retry can succeed."""

    name: str
    value: float
    retry_after_seconds: float | None = None


class ErrorBody(msgspec.Struct, frozen=True, omit_defaults=True):
    """Body of an error answer; the text stands in `Message` or in `message`, as the service has it."""

    code: str = msgspec.field(name="__type")
    Message: str | msgspec.UnsetType = msgspec.UNSET
    message: str | msgspec.UnsetType = msgspec.UNSET
    limit: ErrorLimit | None = None


_encode = msgspec.json.Encoder().encode

Endpoint = Callable[[Request], Awaitable[Response]]
Authenticate = Callable[[HTTPConnection, bytes], Grant]
"""Takes a call and its body, which is empty unless `signs_body`. Raises: ServiceError."""


def request_id(connection: HTTPConnection) -> str:
    """The id of this request, made at the first call; answers, logs and errors carry it."""
    found = connection.scope.get(_REQUEST_ID)
    if found is None:
        found = connection.scope[_REQUEST_ID] = _new_id()
    return str(found)


def _new_id() -> str:
    """A random UUID (RFC 9562, 5.4); the class of that name takes four times as long."""
    bits = int.from_bytes(os.urandom(16), "big") & _RANDOM_BITS | _VERSION_AND_VARIANT
    text = f"{bits:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def operation_endpoint(operation: Operation, authenticate: Authenticate) -> Endpoint:
    """Return the endpoint of `operation`: authenticate, read the body, decode, run, answer."""
    return _Endpoint(operation, authenticate).answer


class _Endpoint:
    def __init__(self, operation: Operation, authenticate: Authenticate) -> None:
        self._operation = operation
        self._authenticate = authenticate
        self._decoder = msgspec.json.Decoder(operation.request)

    async def answer(self, request: Request) -> Response:
        started = time.perf_counter()
        event = self._event(request)
        try:
            response = struct_response(await self._run(request, event), request_id(request))
            event["code"] = "OK"
        except ServiceError as error:
            if not event["subject"]:
                event |= claimed_key(request)
            response = self._refuse(request, error, event)
        except ClientDisconnect:
            response = Response(status_code=400)  # nobody is there to read it
            event["code"] = "ClientDisconnect"
        except Exception:  # the door: our own fault is logged here, once, and told without details
            log.exception("operation failed", extra=event)
            fault = InternalFailureException(f"the service failed; its log has the reason under {request_id(request)}")
            response = self._refuse(request, fault, event)
        duration_ms = round((time.perf_counter() - started) * 1000, 3)
        audit.info("called", extra={**event, "duration_ms": duration_ms})
        return response

    async def _run(self, request: Request, event: dict[str, str]) -> msgspec.Struct:
        operation = self._operation
        if request.method != "POST":
            raise UnknownOperationException(f"{operation.name} is called by POST {operation.path}")
        body = await read_body(request) if signs_body(request) else None
        grant = self._authenticate(request, body or b"")
        event["subject"] = grant.subject
        host, scheme = _host(request), str(request.scope["scheme"])
        caller = Caller(grant, request_id(request), host, scheme, event, partial(_gone, request))
        if body is None:
            body = await read_body(request)
        return await operation.handle(caller, decode(self._decoder, body))

    def _refuse(self, request: Request, error: ServiceError, event: dict[str, str]) -> Response:
        event |= failure(error, with_reason=error.status in _DENIALS)  # other reasons may repeat what the body held
        is_lower_case = self._operation.service != "kinesisvideo"
        response = error_response(error, request_id(request), lower_case=is_lower_case)
        if self._operation.service == "storage" and isinstance(error, AccessDeniedException):
            response.status_code = 403  # 401 in the control plane (KVS API: service models)
        return response

    def _event(self, request: Request) -> dict[str, str]:
        """What is known of a call before it is heard: what is called, from where."""
        return {
            "operation": self._operation.name,
            "source": request.client.host if request.client else "",
            "request_id": request_id(request),
            "subject": "",
        }


def failure(error: ServiceError, *, with_reason: bool = True) -> dict[str, str]:
    """What the audit log gets of a refusal; of a wrong signature also the hashes of what it was verified against, and
    of a part that does not answer what it said itself.
    """
    event = {"code": error.code}
    if with_reason:
        event["reason"] = error.message
    if isinstance(error, ServiceUnavailableException) and error.__cause__ is not None:
        event["cause"] = str(error.__cause__)
    if error.limit is not None:
        event |= {"limit": error.limit.name, "limit_value": f"{error.limit.value:g}"}
        if error.limit.retry_after_s is not None:
            event["retry_after_s"] = f"{error.limit.retry_after_s:.2f}"
    if isinstance(error, InvalidSignatureException) and error.canonical_hashes:
        event["canonical_sha256"] = " ".join(error.canonical_hashes)
    return event


def struct_response(body: msgspec.Struct, request_id: str) -> Response:
    """Answer 200 with `body` in one write."""
    return _response(200, _encode(body), {"x-amzn-RequestId": request_id})


def error_response(error: ServiceError, request_id: str, *, lower_case: bool = False) -> Response:
    """Answer with the code, the status and the sentence of `error`, and its limit when it names one."""
    text = error.message if len(error.message) <= MESSAGE_LIMIT else error.message[: MESSAGE_LIMIT - 1] + "…"
    headers = {"x-amzn-RequestId": request_id, "x-amzn-ErrorType": error.code}
    limit = None
    if error.limit is not None:
        limit = ErrorLimit(error.limit.name, error.limit.value, error.limit.retry_after_s)
        if error.limit.retry_after_s is not None:
            headers["Retry-After"] = str(max(1, math.ceil(error.limit.retry_after_s)))
    body = (
        ErrorBody(code=error.code, message=text, limit=limit)
        if lower_case
        else ErrorBody(code=error.code, Message=text, limit=limit)
    )
    return _response(error.status, _encode(body), headers)


async def read_body(request: Request, limit: int = BODY_LIMIT, timeout_s: float = BODY_TIMEOUT_S) -> bytes:
    """Read the body of a request.

    Raises: RequestEntityTooLargeException over `limit` bytes, InvalidArgumentException when it takes too long.
    """
    too_large = RequestEntityTooLargeException(f"the body must not be over {limit} bytes", Limit("body_bytes", limit))
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced[:20]) > limit:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(timeout_s):
            async for piece in request.stream():
                body += piece
                if len(body) > limit:
                    raise too_large
    except TimeoutError:
        raise InvalidArgumentException(f"the body did not arrive within {timeout_s:g} s") from None
    return bytes(body)


def decode(decoder: msgspec.json.Decoder[msgspec.Struct], body: bytes) -> msgspec.Struct:
    """Decode a body strictly (58.0 is not an int); an empty body is `{}`, keys that are not known are ignored.

    Raises: InvalidArgumentException naming the field.
    """
    try:
        return decoder.decode(body or b"{}")
    except msgspec.ValidationError as error:
        raise InvalidArgumentException(_field_problem(str(error), decoder.type)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidArgumentException(f"the body is not JSON: {error}") from None
    except RecursionError:
        raise InvalidArgumentException("the body is not JSON that anybody needs: it is nested too deep") from None


def _field_problem(text: str, request: Any) -> str:
    """Turn msgspec's "Expected `int`, got `str` - at `$.Role`" into "Role: expected int, got str"."""
    located = _LOCATED.fullmatch(text)
    problem, where = (located[1], located[2]) if located else (text, "")
    missing = _MISSING.fullmatch(problem)
    if missing:
        return f"{where}.{missing[1]}".removeprefix(".") + " is missing"
    words = bounds(request, where) if _BOUND.search(problem) else None
    if words is not None:
        return f"{where} must be {words}"
    return f"{where or 'the body'}: {problem[:1].lower()}{problem[1:]}".replace("`", "")


async def _gone(request: Request) -> None:
    """Wait until the caller has left (ASGI: `http.disconnect`); its body has been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _host(request: Request) -> str:
    host = request.headers.get("host", "")
    if not _HOST.fullmatch(host):
        raise InvalidArgumentException("the Host header must be a name or an address, with or without a port")
    return host


def _response(status: int, body: bytes, headers: dict[str, str]) -> Response:
    return Response(body, status, {**headers, "Cache-Control": "no-store"}, media_type="application/json")
