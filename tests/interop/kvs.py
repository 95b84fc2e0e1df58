"""A real `heliograph serve` with TLS and access keys, and what stock AWS clients need to reach it."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import msgspec
import pytest
from botocore.config import Config

from tests.running import FREE_PORTS, environment, heliograph, running

REGION = "us-west-2"
ROLES = ("MASTER", "VIEWER")
Observe = Callable[[str, str], None]


class Credentials(msgspec.Struct, frozen=True):
    """What an AWS client is configured with."""

    access_key_id: str
    secret_access_key: str
    session_token: str | None = None

    def environment(self) -> dict[str, str]:
        """As aws-cli and the SDKs read it."""
        token = {"AWS_SESSION_TOKEN": self.session_token} if self.session_token else {}
        return {"AWS_ACCESS_KEY_ID": self.access_key_id, "AWS_SECRET_ACCESS_KEY": self.secret_access_key, **token}

    def javascript(self) -> dict[str, str | None]:
        """As the JavaScript SDKs take it."""
        return {
            "accessKeyId": self.access_key_id,
            "secretAccessKey": self.secret_access_key,
            "sessionToken": self.session_token,
        }

    def altered(self) -> "Credentials":
        """The same with another secret."""
        secret = self.secret_access_key
        return msgspec.structs.replace(self, secret_access_key=secret[:-1] + ("A" if secret[-1] != "A" else "B"))


class Kvs:
    """The running service: `ready` is its ready line, `home` its HOME, `key` an access key that may do everything."""

    def __init__(self, home: Path, ready: dict[str, Any]) -> None:
        self.home = home
        self.ready = ready
        self.http: str = ready["http"]
        self.https: str = ready["https"]
        self.ca_file: str = ready["ca_file"]
        self._secrets: list[str] = []
        self.key = self.create_key()

    def command(self, *words: str) -> Any:
        """What a command of the command line says with `--json`."""
        done = heliograph(*words, "--json", home=self.home)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def create_key(self, *words: str) -> Credentials:
        made = self.command("key", "create", *words)
        return self._known(Credentials(made["access_key_id"], made["secret_access_key"]))

    def session(self, key: Credentials, *words: str) -> Credentials:
        """A short-lived triple out of a key."""
        made = self.command("key", "session", "--key", key.access_key_id, *words)["credentials"]
        return self._known(Credentials(made["accessKeyId"], made["secretAccessKey"], made["sessionToken"]))

    def _known(self, found: Credentials) -> Credentials:
        self._secrets.append(found.secret_access_key)
        if found.session_token:
            self._secrets.append(found.session_token.rpartition(".")[2])
        return found

    def _peer_settings(self) -> dict[str, str]:
        """Environment of `heliograph master` and `viewer`, which sign as stock clients do."""
        return {
            **environment(self.home),
            "HELIOGRAPH_ENDPOINT": self.https,
            "HELIOGRAPH_ACCESS_KEY_ID": self.key.access_key_id,
            "HELIOGRAPH_SECRET_ACCESS_KEY": self.key.secret_access_key,
            "HELIOGRAPH_CA_FILE": self.ca_file,
        }

    @contextmanager
    def master(self, channel: str) -> Iterator[None]:
        """Our master with its test pattern, until the block ends."""
        log = self.home / "master.log"
        with log.open("wb") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "app", "master", "--channel", channel],
                env=self._peer_settings(),
                stderr=errors,
            )
            try:
                yield
                assert process.poll() is None, log.read_text()
            finally:
                process.terminate()
                process.wait(60)

    def watch(self, channel: str, frames: int) -> dict[str, Any]:
        """What our viewer reports after so many frames."""
        words = ["--channel", channel, "--frames", str(frames), "--timeout", "60", "--json"]
        done = subprocess.run(
            [sys.executable, "-m", "app", "viewer", *words],
            env=self._peer_settings(),
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        report: dict[str, Any] = json.loads(done.stdout)
        return report

    def address(self, scheme: str) -> str:
        return self.https if scheme == "https" else self.http

    def log(self) -> str:
        """All that the service has logged."""
        return Path(self.ready["log"]).read_text()

    def assert_quiet(self) -> None:
        """Nothing that opens anything stands in the log: no secret, no token's signature, no signature."""
        log = self.log()
        assert "ConnectAs" in log or "SignalingChannel" in log, "the log is not that of this service"
        assert not [secret for secret in self._secrets if secret in log]
        assert not re.findall(r"Signature=(?!\*)\w+", log)

    def client_settings(self, home: Path) -> dict[str, str]:
        """Environment of an AWS client: this service's CA, no file and no metadata service of the machine's."""
        return {
            "AWS_CA_BUNDLE": self.ca_file,
            "AWS_CONFIG_FILE": str(home / "no-config"),
            "AWS_SHARED_CREDENTIALS_FILE": str(home / "no-credentials"),
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_DEFAULT_REGION": REGION,
        }

    def client(
        self,
        service: str = "kinesisvideo",
        endpoint: str | None = None,
        credentials: Credentials | None = None,
        observe: Observe | None = None,
        **more: Any,
    ) -> Any:
        """boto3's client, unmodified; `observe` is told each operation and what was answered."""
        who = credentials or self.key
        session = boto3.Session(
            who.access_key_id, who.secret_access_key, aws_session_token=who.session_token, region_name=REGION
        )
        config = Config(retries={"total_max_attempts": 1}, proxies={}, **more)
        made = session.client(service, endpoint_url=endpoint or self.https, config=config)
        if observe is not None:
            made.meta.events.register("after-call", lambda **call: observe(call["model"].name, answer(call["parsed"])))
        return made

    def endpoints(self, arn: str, scheme: str = "https", observe: Observe | None = None) -> dict[tuple[str, str], str]:
        """The endpoints of a channel by role and protocol."""
        client = self.client(endpoint=self.address(scheme), observe=observe)
        found = {}
        for role in ROLES:
            wanted = {"Protocols": ["WSS", "HTTPS"], "Role": role}
            said = client.get_signaling_channel_endpoint(
                ChannelARN=arn, SingleMasterChannelEndpointConfiguration=wanted
            )
            found |= {(role, item["Protocol"]): item["ResourceEndpoint"] for item in said["ResourceEndpointList"]}
        return found

    def create(self, name: str, **more: Any) -> str:
        """Make a channel; return its ARN."""
        arn: str = self.client().create_signaling_channel(ChannelName=name, **more)["ChannelARN"]
        return arn


@contextmanager
def serving(home: Path, *words: str) -> Iterator[Kvs]:
    """Run the service until the block ends."""
    with running("serve", *FREE_PORTS, "--tls", "--https-port", "0", *words, home=home) as ready:
        yield Kvs(home, ready)


def answer(parsed: dict[str, Any]) -> str:
    """Status and error code of what botocore read."""
    status = parsed["ResponseMetadata"]["HTTPStatusCode"]
    code = parsed.get("Error", {}).get("Code")
    return f"{status} {code}" if code else str(status)


def refused(error: type[Exception], call: Callable[..., Any], **arguments: Any) -> Any:
    """The answer to a call that must fail in this class; it has a message and a request id, as all have."""
    with pytest.raises(error) as caught:
        call(**arguments)
    said = caught.value.response  # type: ignore[attr-defined]
    assert said["Error"]["Message"]
    assert said["ResponseMetadata"]["RequestId"]
    return said


def channel_name(request: pytest.FixtureRequest) -> str:
    """A channel name of this test's own."""
    return "".join(letter if letter.isalnum() else "-" for letter in request.node.name)
