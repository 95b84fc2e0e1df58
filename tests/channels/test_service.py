import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from typing import Any

import pytest

from channels.access import Access
from channels.auth.sigv4 import Credentials
from channels.errors import (
    ClientLimitExceededException,
    InvalidArgumentException,
    InvalidSignatureException,
    Limit,
    MissingAuthenticationTokenException,
    ResourceNotFoundException,
    ServiceError,
    UnrecognizedClientException,
)
from channels.quotas import Quotas, Rates
from channels.service import EndpointUnreachableError, ServiceClient, service_error, untrusted
from tests.signaling_service import Service, signaling_service

SECRET = "header.secret-claims.signature"


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    async with signaling_service() as running:
        yield running


@contextlib.asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[str]:
    """An endpoint that sends these bytes, whatever it is asked."""

    async def answer_and_close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer_and_close, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_an_operation_is_called_and_answered(service: Service) -> None:
    client = ServiceClient(service.http, service.token())

    made = await client.call("/createSignalingChannel", {"ChannelName": "demo"})
    described = await client.call("/describeSignalingChannel", {"ChannelName": "demo"})

    assert described["ChannelInfo"]["ChannelARN"] == made["ChannelARN"]


async def test_an_operation_is_called_with_an_access_key_and_with_a_session(service: Service) -> None:
    key = service.access_key()
    triple = service.session(key)
    session = Credentials(triple.access_key_id, triple.secret_access_key, triple.session_token)
    for credentials in (Credentials(key.id, key.secret), session):
        for endpoint in (service.http, service.http + "/"):
            client = ServiceClient(endpoint, Access(credentials=credentials))
            assert (await client.call("/listSignalingChannels", {}))["ChannelInfoList"] == []
    with pytest.raises(InvalidSignatureException, match="does not match"):
        await ServiceClient(service.http, Access(credentials=Credentials(key.id, "wrong"))).call(
            "/listSignalingChannels", {}
        )


async def test_a_path_and_a_slash_in_the_endpoint_are_kept_and_folded(service: Service) -> None:
    client = ServiceClient(service.http + "/", service.token())
    assert (await client.call("/listSignalingChannels", {}))["ChannelInfoList"] == []

    with pytest.raises(ServiceError, match="/prefix/listSignalingChannels"):
        await ServiceClient(service.http + "/prefix", service.token()).call("/listSignalingChannels", {})


@pytest.mark.parametrize(
    ("path", "body", "token", "error"),
    [
        ("/describeSignalingChannel", {"ChannelName": "nobody"}, "good", ResourceNotFoundException),
        ("/describeSignalingChannel", {"ChannelName": "a b"}, "good", InvalidArgumentException),
        ("/describeSignalingChannel", {"ChannelName": "x"}, "", MissingAuthenticationTokenException),
        ("/describeSignalingChannel", {"ChannelName": "x"}, SECRET, UnrecognizedClientException),
    ],
)
async def test_an_error_answer_becomes_the_error_it_names(
    service: Service, path: str, body: dict[str, Any], token: str, error: type[ServiceError]
) -> None:
    client = ServiceClient(service.http, service.token() if token == "good" else token)

    with pytest.raises(error) as caught:
        await client.call(path, body)

    assert caught.value.message
    assert SECRET not in str(caught.value)


async def test_the_limit_of_an_error_answer_is_carried() -> None:
    async with signaling_service(quotas=Quotas({"ListSignalingChannels": Rates(account=0.5)})) as service:
        client = ServiceClient(service.http, service.token())
        await client.call("/listSignalingChannels", {})
        with pytest.raises(ClientLimitExceededException) as caught:
            await client.call("/listSignalingChannels", {})

    limit = caught.value.limit
    assert limit is not None
    assert (limit.value, limit.retry_after_s is not None) == (0.5, True)


async def test_nobody_listening_says_what_to_check() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(EndpointUnreachableError, match=r"no service answers at .*connection refused.*that it runs"):
            await ServiceClient(endpoint, SECRET).call("/x", {})


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n<a/>",
        b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 4\r\n\r\nnope",
        b'HTTP/1.1 404 Not Found\r\nContent-Length: 20\r\n\r\n{"detail":"No such"}',
        b"HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n\xff\xfe",
        b"SSH-2.0-OpenSSH\r\n",
        b"",
    ],
)
async def test_an_endpoint_that_is_another_program_is_told(answer: bytes) -> None:
    async with answering(answer) as endpoint:
        with pytest.raises(EndpointUnreachableError) as caught:
            await ServiceClient(endpoint, SECRET).call("/x", {})

    assert SECRET not in str(caught.value)
    assert endpoint in str(caught.value)
    assert "is another program listening there?" in str(caught.value)


@pytest.mark.parametrize(
    "endpoint",
    [
        "",
        "demo",
        "ftp://host",
        "http://",
        "http://host:99999",
        "http://host:x",
        "http://[::1",
        "http://a b",
        "http://host/a b",
        "http://host/é",
    ],
)
def test_an_endpoint_that_is_no_url_is_told(endpoint: str) -> None:
    with pytest.raises(EndpointUnreachableError, match=r"must be a URL like http://127.0.0.1:8080"):
        ServiceClient(endpoint, SECRET)


@pytest.mark.parametrize("endpoint", ["127.0.0.1:8080", "localhost:8080", "demo"])
def test_a_missing_scheme_is_told(endpoint: str) -> None:
    with pytest.raises(EndpointUnreachableError, match=r"http:// is missing"):
        ServiceClient(endpoint, SECRET)


def test_a_certificate_that_is_not_trusted_is_told_with_the_remedy() -> None:
    error = ssl.SSLCertVerificationError(1, "[SSL: CERTIFICATE_VERIFY_FAILED]")
    error.verify_message, error.verify_code = "self-signed certificate", 18
    assert str(untrusted("https://h", error)) == (
        "the certificate of https://h is not trusted (self-signed certificate): name its CA with --ca-file or "
        "HELIOGRAPH_CA_FILE"
    )


@pytest.mark.parametrize(("code", "advice"), [(10, "check the clock"), (62, "--tls-names"), (64, "--tls-names")])
def test_a_certificate_of_another_time_or_name_is_told_with_its_own_remedy(code: int, advice: str) -> None:
    error = ssl.SSLCertVerificationError(1, "[SSL: CERTIFICATE_VERIFY_FAILED]")
    error.verify_message, error.verify_code = "no", code
    assert advice in str(untrusted("https://h", error))
    assert "--ca-file" not in str(untrusted("https://h", error))


async def test_tls_where_there_is_none_is_told_without_names_of_classes(service: Service) -> None:
    with pytest.raises(EndpointUnreachableError, match=r"TLS does not work there.* write http:// instead") as caught:
        await ServiceClient(service.http.replace("http:", "https:"), SECRET).call("/x", {})

    assert "Error" not in str(caught.value)


@pytest.mark.parametrize("endpoint", ["http://a..b", "http://" + "x" * 70])
async def test_a_host_that_cannot_be_looked_up_is_told_as_such(endpoint: str) -> None:
    with pytest.raises(EndpointUnreachableError, match=r"no service answers at"):
        await ServiceClient(endpoint, SECRET).call("/x", {})


@pytest.mark.parametrize("end", ["\r\nX: y", "\n", "é", "\x00"])
async def test_a_token_that_no_header_can_carry_is_not_shown(service: Service, end: str) -> None:
    with pytest.raises(UnrecognizedClientException, match="the token holds") as caught:
        await ServiceClient(service.http, SECRET + end).call("/x", {})

    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None


def test_the_token_does_not_show_in_the_client() -> None:
    assert SECRET not in repr(ServiceClient("http://127.0.0.1:8080", SECRET))


@pytest.mark.parametrize(
    ("code", "body", "name"),
    [
        ("ResourceNotFoundException", {"Message": "m"}, "ResourceNotFoundException"),
        ("ResourceNotFoundException:http://x", {"message": "m"}, "ResourceNotFoundException"),
        ("", {"__type": "ns#VersionMismatchException", "message": "m"}, "VersionMismatchException"),
        ("", {"code": "ResourceInUseException", "Message": "m"}, "ResourceInUseException"),
        ("SomethingNew", {"Message": "m"}, "ServiceError"),
        ("ClassVar", {"Message": "m"}, "ServiceError"),
        ("", {}, "ServiceError"),
    ],
)
def test_the_code_is_found_wherever_a_service_puts_it(code: str, body: dict[str, Any], name: str) -> None:
    assert service_error(400, code, body).code == name


def test_a_malformed_limit_is_left_out() -> None:
    assert service_error(400, "X", {"limit": {"name": 1}}).limit is None
    found = service_error(400, "X", {"limit": {"name": "n", "value": 3, "retryAfterSeconds": 0.5}}).limit
    assert found == Limit("n", 3, 0.5)
