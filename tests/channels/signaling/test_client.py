import asyncio
import datetime
import ipaddress
import logging
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from websockets.asyncio.server import ServerConnection, serve

from channels.access import Access
from channels.auth.sigv4 import Credentials
from channels.channel import Channel
from channels.errors import AccessDeniedException, Limit, ResourceNotFoundException, ServiceError
from channels.names import Role
from channels.service import EndpointUnreachableError, ServiceClient
from channels.signaling import client as client_module
from channels.signaling.client import (
    ClientSettings,
    ConnectionEndedError,
    Message,
    RefusedError,
    SignalingClient,
    SignalingConnection,
)
from channels.signaling.limits import Limits, Rate
from tests.channels.signaling.rig import Clock
from tests.signaling_service import Service, signaling_service


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    async with signaling_service() as running:
        yield running


@pytest.fixture
async def channel(service: Service) -> Channel:
    return await service.control.create("000000000000", "demo")


def client(service: Service, role: Role, client_id: str | None = None, token: str = "") -> SignalingClient:
    return SignalingClient(ClientSettings(service.http, token or service.token(), "demo", role, client_id))


async def pair(service: Service) -> tuple[SignalingConnection, SignalingConnection]:
    master = await client(service, Role.MASTER).open()
    return master, await client(service, Role.VIEWER, "v1").open()


async def next_of(connection: SignalingConnection) -> Message:
    async with asyncio.timeout(15):
        async for message in connection:
            return message
    raise AssertionError(f"closed with {connection.close_code} {connection.close_reason}")


async def test_master_and_viewer_exchange_any_bytes_in_order(service: Service, channel: Channel) -> None:
    master, viewer = await pair(service)
    await viewer.send("SDP_OFFER", bytes(range(256)))
    await viewer.send("ICE_CANDIDATE", b"")

    assert await next_of(master) == Message("SDP_OFFER", bytes(range(256)), "v1")
    assert await next_of(master) == Message("ICE_CANDIDATE", b"", "v1")
    await master.send("SDP_ANSWER", b"answer", "v1")
    assert await next_of(viewer) == Message("SDP_ANSWER", b"answer")


async def test_calls_from_many_tasks_keep_the_order_of_the_calls(service: Service, channel: Channel) -> None:
    master, viewer = await pair(service)
    async with asyncio.TaskGroup() as group:
        for number in range(20):
            group.create_task(viewer.send("ICE_CANDIDATE", b"%d" % number))

    assert [(await next_of(master)).payload for _ in range(20)] == [b"%d" % number for number in range(20)]


async def test_a_status_is_a_message(service: Service, channel: Channel) -> None:
    master, _ = await pair(service)
    await master.send("SDP_ANSWER", b"x", "nobody", "c-1")

    message = await next_of(master)

    assert (message.type, message.payload) == ("STATUS_RESPONSE", b"")
    assert message.status is not None
    assert (message.status.correlation_id, message.status.status_code) == ("c-1", "404")


async def test_the_end_of_a_connection_has_code_and_reason(service: Service, channel: Channel) -> None:
    first, _ = await pair(service)
    await client(service, Role.MASTER).open()

    assert [message async for message in first] == []
    assert (first.close_code, first.close_reason) == (1000, "replaced by a newer master")
    with pytest.raises(ConnectionEndedError, match="1000 replaced"):
        await first.send("SDP_ANSWER", b"", "v1")


async def test_closing_twice_is_harmless_and_frees_the_slot(service: Service, channel: Channel) -> None:
    _, viewer = await pair(service)
    await viewer.close()
    await viewer.close()

    assert viewer.close_code == 1000
    async with asyncio.timeout(15):
        while service.hub.stats.viewers:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_an_unknown_type_is_not_sent(service: Service, channel: Channel) -> None:
    _, viewer = await pair(service)
    with pytest.raises(ValueError, match="HELLO"):
        await viewer.send("HELLO", b"")


async def test_an_unknown_channel_is_told(service: Service) -> None:
    with pytest.raises(ResourceNotFoundException):
        await client(service, Role.MASTER).open()


async def test_a_token_without_the_right_to_describe_is_told(service: Service, channel: Channel) -> None:
    with pytest.raises(AccessDeniedException):
        await client(service, Role.MASTER, token=service.token("kvs:ConnectAsMaster")).open()


async def test_a_refused_upgrade_carries_code_sentence_and_limit(service: Service, channel: Channel) -> None:
    for number in range(10):
        await client(service, Role.VIEWER, f"v{number}").open()

    with pytest.raises(RefusedError, match="10 viewers") as caught:
        await client(service, Role.VIEWER, "late").open()

    assert (caught.value.status, caught.value.code) == (400, "ClientLimitExceededException")
    assert caught.value.limit == Limit("viewers_per_channel", 10.0)


async def test_a_refusal_for_want_of_a_right_has_status_403(service: Service, channel: Channel) -> None:
    rights = ("kvs:DescribeSignalingChannel", "kvs:GetSignalingChannelEndpoint")
    with pytest.raises(RefusedError) as caught:
        await client(service, Role.MASTER, token=service.token(*rights)).open()

    assert (caught.value.status, caught.value.code) == (403, "AccessDeniedException")


async def test_a_rate_limit_is_waited_for() -> None:
    clock = Clock()
    async with signaling_service(Limits(master_connects=Rate(20, 1)), now=clock) as service:
        await service.control.create("000000000000", "demo")
        await client(service, Role.MASTER).open()
        started = time.monotonic()
        async with asyncio.TaskGroup() as group:
            opening = group.create_task(client(service, Role.MASTER).open())
            while not service.hub.stats.admissions.get(("master", "rate")):  # noqa: ASYNC110  # the hub tells nobody
                await asyncio.sleep(0.005)
            assert not opening.done()
            clock.now += 0.06
        assert time.monotonic() - started >= 0.045, "it was told to come back after 0.05 s"


async def test_a_rate_limit_that_takes_too_long_is_raised() -> None:
    async with signaling_service(Limits(master_connects=Rate(0.01, 1))) as service:
        await service.control.create("000000000000", "demo")
        await client(service, Role.MASTER).open()
        with pytest.raises(RefusedError) as caught:
            await client(service, Role.MASTER).open()

    assert caught.value.limit is not None
    assert caught.value.limit.name == "master_connects_per_second"


async def test_ice_servers_come_with_a_credential(service: Service, channel: Channel) -> None:
    (server,) = await client(service, Role.VIEWER, "v1").ice_servers()

    assert server.uris == ("turn:127.0.0.1:3478?transport=udp",)
    assert server.username
    assert server.password
    assert server.ttl_s > 30


async def test_a_silent_connection_says_that_it_is_there(
    service: Service, channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "_KEEP_ALIVE_S", 0.01)
    heard: list[str] = []
    receive = service.hub.receive
    monkeypatch.setattr(service.hub, "receive", lambda member, frame: (heard.append(frame), receive(member, frame)))
    master, viewer = await pair(service)
    async with asyncio.TaskGroup() as group:
        listening = group.create_task(next_of(master))
        async with asyncio.timeout(15):
            while len(heard) < 3:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        await viewer.send("SDP_OFFER", b"late")

    assert listening.result().payload == b"late"
    assert heard[:3] == ["", "", ""]


FOREIGN = '{"messageType":"X","messagePayload":"é"}'


async def strange(connection: ServerConnection) -> None:
    for frame in ("", "no JSON", b"\x00", '{"messageType":1}', '{"messageType":"X","messagePayload":"A"}', FOREIGN):
        await connection.send(frame)
    await connection.send('{"messageType":"NEW","messagePayload":"-_-_","other":1}')
    await connection.close(4000, "done")


async def test_frames_that_are_no_messages_are_skipped(caplog: pytest.LogCaptureFixture) -> None:
    settings = ClientSettings("http://127.0.0.1:1", "token", "demo", Role.MASTER)
    async with serve(strange, "127.0.0.1", 0) as server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        connection = SignalingConnection(await SignalingClient(settings)._connect(url))
        messages = [message async for message in connection]

    assert messages == [Message("NEW", b"\xfb\xff\xbf")]
    assert (connection.close_code, connection.close_reason) == (4000, "done")
    assert caplog.text.count("signaling frame ignored") == 6


async def test_a_websocket_that_does_not_open_is_told_without_query_or_token() -> None:
    settings = ClientSettings("http://127.0.0.1:1", "secret-token", "demo", Role.MASTER)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"ws://127.0.0.1:{unused.getsockname()[1]}/master?X-Amz-ChannelARN=secret"
        with pytest.raises(EndpointUnreachableError, match=r"no websocket opens at ws://127.0.0.1") as caught:
            await SignalingClient(settings)._connect(url)

    assert "secret" not in str(caught.value)


async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 418 I'm a teapot\r\nContent-Length: 3\r\nConnection: close\r\n\r\nno!")
    await writer.drain()
    writer.close()


async def test_a_refusal_by_another_program_is_told_by_its_status() -> None:
    settings = ClientSettings("http://127.0.0.1:1", "t", "demo", Role.MASTER)
    async with await asyncio.start_server(plain, "127.0.0.1", 0) as server:
        with pytest.raises(RefusedError, match="HTTP 418") as caught:
            await SignalingClient(settings)._connect(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}")

    assert caught.value.status == 418


async def test_no_token_is_in_settings_errors_or_logs(
    service: Service, channel: Channel, caplog: pytest.LogCaptureFixture
) -> None:
    token = service.token("kvs:DescribeSignalingChannel")
    made = client(service, Role.MASTER, token=token)
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("channels.signaling.client").setLevel(logging.DEBUG)
        with pytest.raises(ServiceError) as caught:
            await made.open()
        full = service.token()
        connection = await client(service, Role.MASTER, token=full).open()
        await connection.close()

    logging.getLogger("channels.signaling.client").setLevel(logging.NOTSET)
    ours = [record for record in caplog.records if not record.name.startswith(("uvicorn", "asyncio"))]
    text = repr(made.settings) + repr(caught.value) + " ".join(record.getMessage() for record in ours)
    assert token not in text
    assert full not in text


@pytest.mark.parametrize(
    "answers",
    [
        {"/describeSignalingChannel": {}},
        {"/getSignalingChannelEndpoint": {"ResourceEndpointList": [{"Protocol": "WSS"}]}},
        {"/getSignalingChannelEndpoint": {"ResourceEndpointList": 1}},
        {"/getSignalingChannelEndpoint": {"ResourceEndpointList": [{"Protocol": "HTTPS", "ResourceEndpoint": "x:1"}]}},
        {"/v1/get-ice-server-config": {"IceServerList": [{"Uris": "turn:x"}]}},
        {"/v1/get-ice-server-config": {"IceServerList": 1}},
    ],
)
async def test_answers_of_another_shape_are_told(
    service: Service, channel: Channel, answers: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    call = ServiceClient.call

    async def bent(self: ServiceClient, path: str, body: dict[str, Any]) -> dict[str, Any]:
        return answers[path] if path in answers else await call(self, path, body)

    monkeypatch.setattr(ServiceClient, "call", bent)
    with pytest.raises(EndpointUnreachableError, match="is another program listening there"):
        await client(service, Role.MASTER).ice_servers()


def certificate(folder: Path) -> Path:
    """A self-signed certificate for 127.0.0.1 and its key, in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = folder / "certificate.pem"
    path.write_bytes(key.private_bytes(*form) + made.public_bytes(serialization.Encoding.PEM))
    return path


async def test_master_and_viewer_connect_with_access_keys(service: Service, channel: Channel) -> None:
    key = service.access_key()
    triple = service.session(key)
    keys = (
        Credentials(key.id, key.secret),
        Credentials(triple.access_key_id, triple.secret_access_key, triple.session_token),
    )
    for credentials in keys:
        access = Access(credentials=credentials)
        master = await SignalingClient(ClientSettings(service.http, access, "demo", Role.MASTER)).open()
        client_of_viewer = SignalingClient(ClientSettings(service.http, access, "demo", Role.VIEWER, "v1"))
        viewer = await client_of_viewer.open()
        assert (await client_of_viewer.ice_servers())[0].uris
        await viewer.send("SDP_OFFER", b"x")
        assert (await next_of(master)).payload == b"x"
        await master.close()
        await viewer.close()


async def test_a_ca_file_is_trusted(tmp_path: Path) -> None:
    path = certificate(tmp_path)
    async with signaling_service(certificate=path) as service:
        await service.control.create("000000000000", "demo")
        access = Access(service.token(), ca_file=str(path))
        master = await SignalingClient(ClientSettings(service.http, access, "demo", Role.MASTER)).open()
        await master.close()
        access = Access(service.token(), ca_file=str(tmp_path / "none"))
        with pytest.raises(EndpointUnreachableError, match=r"CA_FILE: .*none cannot be read"):
            await SignalingClient(ClientSettings(service.http, access, "demo", Role.MASTER)).open()


async def test_tls_works_with_a_trusted_certificate_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = certificate(tmp_path)
    async with signaling_service(certificate=path) as service:
        await service.control.create("000000000000", "demo")
        with pytest.raises(EndpointUnreachableError, match="not trusted"):
            await client(service, Role.MASTER).open()
        monkeypatch.setenv("SSL_CERT_FILE", str(path))
        master, viewer = await pair(service)
        assert (await client(service, Role.VIEWER, "v1").ice_servers())[0].uris
        await viewer.send("SDP_OFFER", b"x")
        assert (await next_of(master)).payload == b"x"
        await master.close()
        await viewer.close()
