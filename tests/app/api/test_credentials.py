"""A session is never more than its maker, and ends with it."""

import logging
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import pytest
from starlette.applications import Starlette
from starlette.requests import HTTPConnection
from starlette.routing import Route

from app.api.credentials import CredentialsApi
from app.wire import operation_endpoint
from channels.auth import token
from channels.auth.grant import Grant, Statement, decide
from channels.auth.key_ring import AccessKey, KeyRing
from channels.auth.seal import Seal
from channels.auth.session import Sessions
from channels.control import ControlPlane, ControlSettings
from channels.embedded.database import MEMORY
from channels.embedded.key_store import SqliteKeyStore
from channels.embedded.store import SqliteStore
from channels.errors import UnrecognizedClientException
from channels.quotas import Quotas

ACCOUNT = "000000000000"
ARN = f"arn:aws:kinesisvideo:us-west-2:{ACCOUNT}:channel/door/1700000000000"
GATE = ARN.replace("door", "gate")
SIGNING = token.new_es256_key()
SETTINGS = token.TokenSettings()
KEY = AccessKey(
    "AKIAIOSFODNN7EXAMPLE",
    ACCOUNT,
    "s" * 40,
    (Statement(("kinesisvideo:Connect*",), ("*",)), Statement(("kinesisvideo:*",), (GATE,), is_allowed=False)),
)


class Service:
    """The operation behind HTTP, called as `grant`; `verify` is what a door does with its answer."""

    def __init__(self, quotas: Quotas | None = None) -> None:
        self.keys = SqliteKeyStore(MEMORY)
        self.ring = KeyRing(self.keys, Seal.for_this_process())
        self.ring.add(KEY)
        self.verifier = token.TokenVerifier([SIGNING], SETTINGS, admit=self.ring.admit)
        self.sessions = Sessions([token.new_secret_key()], SIGNING, SETTINGS)
        self.store = SqliteStore(MEMORY)
        control = ControlPlane(
            self.store, ControlSettings(quotas=quotas or Quotas.relaxed()), wall_ms=lambda: 0, now=lambda: 0.0
        )
        self.grant = KEY.grant()
        (operation,) = CredentialsApi(self.sessions, control).operations
        route = Route(operation.path, operation_endpoint(operation, self._authenticate), methods=["POST"])
        self._http = httpx.AsyncClient(transport=httpx.ASGITransport(Starlette(routes=[route])), base_url="http://kvs")

    def _authenticate(self, connection: HTTPConnection, body: bytes) -> Grant:
        return self.grant

    async def ask(self, **body: Any) -> httpx.Response:
        return await self._http.post("/v1/credentials", json=body)

    async def made(self, **body: Any) -> Grant:
        answer = await self.ask(**body)
        assert answer.status_code == 200, answer.text
        credentials = answer.json()["credentials"]
        grant = self.verifier.verify(credentials["sessionToken"], time.time())
        assert grant.token_id == credentials["accessKeyId"]
        assert self.sessions.secret_of(grant) == credentials["secretAccessKey"]
        return grant

    async def refusal(self, **body: Any) -> str:
        answer = await self.ask(**body)
        assert answer.status_code >= 400
        return f"{answer.status_code} {answer.json()['__type']}: {answer.json()['message']}"

    async def as_token(
        self, scope: str, *channels: str, lifetime_s: float = 7200.0, client_id: str | None = None
    ) -> None:
        text = token.mint(
            SIGNING,
            SETTINGS,
            subject="backend",
            actions=scope.split(),
            channels=channels,
            client_id=client_id,
            now_wall=time.time(),
            lifetime_s=lifetime_s,
        )
        self.grant = self.verifier.verify(text, time.time())

    async def close(self) -> None:
        await self._http.aclose()
        self.store.close()
        self.keys.close()


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    made = Service()
    yield made
    await made.close()


def may(grant: Grant, *actions: str, on: str = ARN) -> bool:
    return all(decide(grant, action, on).is_allowed for action in actions)


async def test_a_key_makes_a_session_with_its_own_rights(service: Service) -> None:
    grant = await service.made()
    assert (grant.subject, grant.account, grant.key_id) == (f"key/{KEY.id}", ACCOUNT, KEY.id)
    assert may(grant, "ConnectAsMaster", "ConnectAsViewer")
    assert not may(grant, "DeleteSignalingChannel")
    assert not may(grant, "ConnectAsMaster", on=GATE)
    assert 3590 < grant.expires_at - time.time() <= 3600


async def test_a_key_may_ask_for_less_and_gets_no_more_than_it_has(service: Service) -> None:
    grant = await service.made(scope=["ConnectAsViewer", "kvs:Delete*", "kinesisvideo:Get*"], channels=["door", GATE])
    assert may(grant, "ConnectAsViewer")
    assert not may(grant, "ConnectAsMaster")
    assert not may(grant, "DeleteSignalingChannel")
    assert not may(grant, "ConnectAsViewer", on=GATE)
    assert not may(grant, "ConnectAsViewer", on=ARN.replace("door", "attic"))


async def test_a_session_of_a_key_ends_with_the_key(service: Service) -> None:
    answer = (await service.ask()).json()["credentials"]
    service.verifier.verify(answer["sessionToken"], time.time())
    service.ring.revoke(KEY.id, time.time())
    with pytest.raises(UnrecognizedClientException, match="was revoked"):
        service.verifier.verify(answer["sessionToken"], time.time())


async def test_a_token_makes_a_copy_of_itself(service: Service) -> None:
    await service.as_token("kvs:ConnectAsViewer kvs:Get*", "door")
    grant = await service.made()
    assert grant.statements == service.grant.statements
    assert grant.key_id is None
    assert grant.credential_ids == (grant.token_id, service.grant.token_id)


async def test_a_session_of_a_token_ends_with_the_token(service: Service) -> None:
    await service.as_token("kvs:*", "*")
    answer = (await service.ask()).json()["credentials"]
    service.ring.revoke(service.grant.token_id or "", time.time())
    with pytest.raises(UnrecognizedClientException, match="was revoked"):
        service.verifier.verify(answer["sessionToken"], time.time())


async def test_a_session_may_be_made_from_a_session_and_ends_with_each_before_it(service: Service) -> None:
    first = await service.made()
    service.grant = first
    second = await service.made()
    assert second.credential_ids == (second.token_id, first.token_id, KEY.id)
    assert second.boundary == KEY.statements
    assert second.expires_at <= first.expires_at


@pytest.mark.parametrize(
    "body",
    [
        {"scope": ["ConnectAsViewer"]},
        {"scope": ["GetIceServerConfig", "kvs:GetSignalingChannelEndpoint"]},
        {"scope": ["Get*", "connectasviewer"]},
        {"channels": ["door"]},
        {"channels": [ARN.replace("aws", "aws-cn")]},
        {"scope": ["GetI*"], "channels": [ARN]},
    ],
)
async def test_what_lies_within_a_token_is_handed_on(service: Service, body: dict[str, Any]) -> None:
    await service.as_token("kvs:ConnectAsViewer kvs:Get*", "door")
    await service.made(**body)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"scope": ["ConnectAsMaster"]}, "may not hand on kinesisvideo:ConnectAsMaster on"),
        ({"scope": ["ConnectAsViewer", "*"]}, "may not hand on kinesisvideo:* on"),
        ({"scope": ["Connect*"]}, "kinesisvideo:Connect*"),
        ({"scope": ["Ge?*"]}, "kinesisvideo:Ge?*"),
        ({"channels": ["*"]}, "on *: no statement of its own covers all of it"),
        ({"channels": ["door", "gate"]}, "channel/gate/"),
        ({"channels": ["arn:*:channel/door/*"]}, "arn:"),
        ({"channels": [ARN.replace(ACCOUNT, "111111111111")]}, "111111111111"),
        ({"clientId": "v-2"}, "only the client id of its token"),
    ],
)
async def test_more_than_a_token_says_is_refused(service: Service, body: dict[str, Any], words: str) -> None:
    await service.as_token("kvs:ConnectAsViewer kvs:Get*", "door", client_id="v-1")
    refusal = await service.refusal(**body)
    assert refusal.startswith("401 AccessDeniedException: backend may")
    assert words in refusal
    assert (await service.made()).client_id == "v-1"
    assert (await service.made(clientId="v-1")).client_id == "v-1"


async def test_no_right_hides_behind_a_blank(service: Service) -> None:
    await service.as_token("kvs:Get*", "*")
    assert "is no action" in await service.refusal(scope=["kvs:GetX kvs:Delete*"])


async def test_a_token_that_allows_nothing_hands_on_nothing(service: Service) -> None:
    service.grant = Grant("backend", ACCOUNT, (), time.time() + 3600, token_id="t", credential_ids=("t",))
    assert "may do nothing that it could hand on" in await service.refusal()


async def test_a_bare_name_in_a_token_means_no_channel_and_hands_on_none(service: Service) -> None:
    statement = Statement(("kinesisvideo:*",), ("door",))
    service.grant = Grant("backend", ACCOUNT, (statement,), time.time() + 3600, token_id="t", credential_ids=("t",))
    assert not may(service.grant, "ConnectAsViewer")
    assert "may not hand on" in await service.refusal()


async def test_many_rights_are_compared_quickly(service: Service) -> None:
    own = tuple(f"arn:*:channel/{number}-*/*" for number in range(600))
    statement = Statement(("kinesisvideo:*",), (*own, "*"))
    service.grant = Grant("backend", ACCOUNT, (statement,), time.time() + 3600, token_id="t", credential_ids=("t",))
    started = time.process_time()
    await service.made(scope=["Get?", "Get*"] * 5, channels=["*", "arn:*"] * 5)
    assert time.process_time() - started < 2.0  # each pair with each pattern took 10 s
    assert "no session token holds them" in await service.refusal(channels=["arn:" + "a" * 1000] * 3)


async def test_a_client_id_binds_a_session_of_a_key(service: Service) -> None:
    assert (await service.made(clientId="v-7")).client_id == "v-7"
    assert (await service.refusal(clientId="AWS_1")).startswith("400 InvalidArgumentException: ClientId")


async def test_no_session_outlives_its_token(service: Service) -> None:
    await service.as_token("kvs:*", "*", lifetime_s=1000.0)
    assert (await service.made(durationSeconds=43200)).expires_at <= service.grant.expires_at
    service.grant = msgspec.structs.replace(service.grant, expires_at=time.time() - 5)
    assert (await service.refusal()).startswith("403 ExpiredTokenException")


async def test_a_subject_stands_behind_that_of_the_caller(service: Service) -> None:
    assert (await service.made(subject="cam-7@home")).subject == f"key/{KEY.id}/cam-7@home"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"durationSeconds": 899}, "durationSeconds must be"),
        ({"durationSeconds": 43201}, "durationSeconds must be"),
        ({"durationSeconds": "900"}, "durationSeconds: expected int"),
        ({"scope": []}, "scope must be"),
        ({"scope": "ConnectAsViewer"}, "scope: expected array"),
        ({"scope": ["s3:GetObject"]}, "scope: s3:GetObject is no action of this service"),
        ({"scope": ["kvs:Get* kvs:*"]}, "scope: 'kvs:Get* kvs:*' is no action"),
        ({"channels": ["front door"]}, "ChannelName must be"),
        ({"channels": ["c" * 1025]}, "channels"),
        ({"subject": "a/b"}, "subject must be 1 to 64 characters"),
        ({"subject": "a\n"}, "subject must be 1 to 64 characters"),
        ({"subject": ""}, "subject"),
        ({"channels": [f"front-door-{number}" for number in range(60)]}, "the claim channels is too long"),
    ],
)
async def test_what_is_malformed_is_named(service: Service, body: dict[str, Any], words: str) -> None:
    refusal = await service.refusal(**body)
    assert refusal.startswith("400 InvalidArgumentException")
    assert words in refusal


async def test_minting_is_limited_per_caller() -> None:
    service = Service(Quotas.aws())
    for _ in range(10):
        await service.made()
    assert "CreateCredentials is limited to 5 calls per second for one caller" in await service.refusal()
    await service.as_token("kvs:*", "*")
    for number in range(11):  # one from the other, each under a subject of its own
        service.grant = await service.made(subject=f"{number}")
    assert "for one caller" in await service.refusal()
    await service.close()


async def test_the_audit_log_names_the_session_and_no_secret(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="heliograph.audit")
    answer = (await service.ask()).json()["credentials"]
    (record,) = [record for record in caplog.records if record.name == "heliograph.audit"]
    assert record.__dict__["issued"] == answer["accessKeyId"]
    assert answer["secretAccessKey"] not in str(record.__dict__)
    assert answer["sessionToken"] not in str(record.__dict__)
