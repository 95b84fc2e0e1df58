"""boto3 with access keys and sessions of a real `heliograph serve`: made, bounded, revoked."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from tests.running import FREE_PORTS, environment, heliograph, running

pytestmark = [
    pytest.mark.interop,
    pytest.mark.filterwarnings("ignore:.*:boto3.exceptions.PythonDeprecationWarning"),
]
REGION = "us-west-2"
LIMIT_S = 30.0
POLICY = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Action": ["kinesisvideo:*", "s3:*"], "Resource": "*"},
        {"Sid": "Keep", "Effect": "Deny", "Action": "kinesisvideo:Delete*", "Resource": "*"},
    ],
}


class Service:
    """A running service, and its command line on the same data folder."""

    def __init__(self, home: Path, endpoint: str) -> None:
        self.home = home
        self.endpoint = endpoint

    def key(self, *words: str) -> Any:
        done = heliograph("key", *words, "--json", home=self.home)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def client(self, access_key_id: str, secret: str, session_token: str | None = None) -> Any:
        return boto3.client(
            "kinesisvideo",
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id=access_key_id,
            aws_secret_access_key=secret,
            aws_session_token=session_token,
            config=Config(retries={"total_max_attempts": 1}),
        )

    def by_key(self, made: Any) -> Any:
        return self.client(made["access_key_id"], made["secret_access_key"])

    def by_session(self, made: Any) -> Any:
        return self.client(made["accessKeyId"], made["secretAccessKey"], made["sessionToken"])

    def credentials(self, credentials: Credentials, **body: Any) -> httpx.Response:
        """POST /v1/credentials, signed by botocore."""
        request = AWSRequest("POST", f"{self.endpoint}/v1/credentials", data=json.dumps(body).encode())
        SigV4Auth(credentials, "kinesisvideo", REGION).add_auth(request)
        return httpx.post(request.url, content=request.data, headers=dict(request.headers))


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    home = tmp_path_factory.mktemp("home")
    with running("serve", *FREE_PORTS, "--limits-profile", "relaxed", home=home) as ready:
        yield Service(home, ready["http"])


def code(call: Any, **arguments: Any) -> str:
    with pytest.raises(ClientError) as refused:
        call(**arguments)
    return str(refused.value.response["Error"]["Code"])


def test_a_key_with_a_policy_does_what_that_says(service: Service) -> None:
    path = service.home / "policy.json"
    path.write_text(json.dumps(POLICY))
    client = service.by_key(service.key("create", "--policy", str(path)))
    arn = client.create_signaling_channel(ChannelName="policy")["ChannelARN"]
    assert client.describe_signaling_channel(ChannelName="policy")["ChannelInfo"]["ChannelARN"] == arn
    assert code(client.delete_signaling_channel, ChannelARN=arn) == "AccessDeniedException"


def test_each_account_sees_its_own_channels(service: Service) -> None:
    ours = service.by_key(service.key("create"))
    theirs = service.by_key(service.key("create", "--account", "123456789012"))
    arn = ours.create_signaling_channel(ChannelName="account")["ChannelARN"]
    assert ":123456789012:" in theirs.create_signaling_channel(ChannelName="account")["ChannelARN"]
    assert [info["ChannelName"] for info in theirs.list_signaling_channels()["ChannelInfoList"]] == ["account"]
    assert code(theirs.describe_signaling_channel, ChannelARN=arn) == "ResourceNotFoundException"


def test_a_session_of_the_command_line_is_bounded_by_its_role_and_ends_with_its_key(service: Service) -> None:
    key = service.key("create")
    owner = service.by_key(service.key("create"))
    arn = owner.create_signaling_channel(ChannelName="session")["ChannelARN"]
    words = ("--key", key["access_key_id"], "--role", "viewer", "--channel", "session")
    client = service.by_session(service.key("session", *words)["credentials"])
    assert client.describe_signaling_channel(ChannelARN=arn)["ChannelInfo"]["ChannelName"] == "session"
    assert code(client.delete_signaling_channel, ChannelARN=arn) == "AccessDeniedException"
    service.key("revoke", key["access_key_id"])
    give_up_at = time.monotonic() + LIMIT_S
    while time.monotonic() < give_up_at:
        try:
            client.describe_signaling_channel(ChannelARN=arn)
        except ClientError as error:
            assert error.response["Error"]["Code"] == "UnrecognizedClientException"  # noqa: PT017
            break
    else:
        pytest.fail("the session outlived its key")
    assert owner.describe_signaling_channel(ChannelARN=arn)


def test_a_session_of_the_endpoint_is_made_by_a_signed_call_and_from_a_session_again(service: Service) -> None:
    key = service.key("create")
    owner = Credentials(key["access_key_id"], key["secret_access_key"])
    answer = service.credentials(owner, scope=["Describe*", "Create*"], subject="back-end")
    assert answer.status_code == 200, answer.text
    made = answer.json()["credentials"]
    client = service.by_session(made)
    arn = client.create_signaling_channel(ChannelName="endpoint")["ChannelARN"]
    assert code(client.delete_signaling_channel, ChannelARN=arn) == "AccessDeniedException"
    bearer = Credentials(made["accessKeyId"], made["secretAccessKey"], made["sessionToken"])
    assert service.credentials(bearer, scope=["Delete*"]).status_code == 401
    less = service.credentials(bearer, scope=["Describe*"], channels=["endpoint"]).json()["credentials"]
    assert service.by_session(less).describe_signaling_channel(ChannelARN=arn)["ChannelInfo"]["ChannelARN"] == arn
    assert code(service.by_session(less).create_signaling_channel, ChannelName="x") == "AccessDeniedException"


def test_parts_of_two_triples_do_not_fit(service: Service) -> None:
    key = service.key("create")
    one, two = (service.key("session", "--key", key["access_key_id"])["credentials"] for _ in range(2))
    for mixed in (
        one | {"sessionToken": two["sessionToken"]},
        one | {"accessKeyId": two["accessKeyId"]},
        {"accessKeyId": key["access_key_id"], "secretAccessKey": key["secret_access_key"]}
        | {"sessionToken": one["sessionToken"]},
    ):
        assert code(service.by_session(mixed).list_signaling_channels) == "UnrecognizedClientException"
    wrong = one | {"secretAccessKey": two["secretAccessKey"]}
    assert code(service.by_session(wrong).list_signaling_channels) in (
        "InvalidSignatureException",
        "SignatureDoesNotMatch",
    )
    service.by_session(one).list_signaling_channels()
    service.by_session(two).list_signaling_channels()


def test_an_imported_pair_is_good_at_once(service: Service) -> None:
    pair = ("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
    assert code(service.client(*pair).list_signaling_channels) == "UnrecognizedClientException"
    done = subprocess.run(
        [sys.executable, "-m", "app", "key", "create", "--access-key-id", pair[0], "--secret-stdin"],
        env=environment(service.home),
        input=pair[1],
        text=True,
        capture_output=True,
        check=True,
    )
    assert pair[1] not in done.stdout + done.stderr
    service.client(*pair).list_signaling_channels()
