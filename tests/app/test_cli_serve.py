import http.client
import itertools
import json
import os
import signal
import ssl
import subprocess
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from app.listen import listen
from tests.ports import free_port
from tests.redis_server import RedisServer
from tests.running import COMMAND, FREE_PORTS, Started, ends_within, environment, heliograph, started

pytestmark = pytest.mark.slow


def token(data: Path, *words: str) -> str:
    """Sign a token with the keys of a data folder."""
    done = heliograph("token", "--data-dir", str(data), *words)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def run(service: Started, text: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a client command against a service."""
    return heliograph(*words, variables={"HELIOGRAPH_ENDPOINT": service.ready["http"], "HELIOGRAPH_TOKEN": text})


def test_data_stays_private_and_outlives_the_service(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with started("serve", "--data-dir", str(data)) as service:
        assert list(service.ready) == ["http", "https", "turn", "ops", "ready_ms"]
        admin = token(data, "--role", "admin")
        made = run(service, admin, "channel", "create", "front", "--tag", "place=door", "--json")
        assert service.stop()[0] == 0
    assert data.stat().st_mode & 0o777 == 0o700
    assert {path.name for path in data.iterdir()} >= {"catalog.sqlite", "keys", "turn.secret"}
    files = [path for path in data.rglob("*") if path.is_file()]
    assert all(path.stat().st_mode & 0o077 == 0 for path in files), files
    with started("serve", "--data-dir", str(data)) as service:
        found = run(service, admin, "channel", "list", "--json")
    assert [channel["ChannelARN"] for channel in json.loads(found.stdout)] == [json.loads(made.stdout)["ChannelARN"]]


def test_tls_is_told_with_the_ca_and_survives_a_restart(tmp_path: Path) -> None:
    data = tmp_path / "data"
    seen = []
    for _ in range(2):
        with started("serve", "--data-dir", str(data), "--tls", "--https-port", "0") as service:
            assert list(service.ready) == ["http", "https", "turn", "ops", "ready_ms", "ca_file"]
            assert service.ready["ca_file"] == str(data / "tls" / "ca.pem")
            context = ssl.create_default_context(cafile=service.ready["ca_file"])
            with urllib.request.urlopen(service.ready["https"] + "/", timeout=30, context=context) as answer:
                assert answer.status == 200
            assert get(service.ready["http"] + "/")[0] == 200
            metrics = get(service.ready["ops"] + "/metrics")[1]
            assert b'heliograph_tls_handshakes_total{result="begun"} 1.0' in metrics
            seen.append(Path(service.ready["ca_file"]).read_bytes())
    assert seen[0] == seen[1]


def test_our_own_client_trusts_the_ca_that_it_is_told(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with started("serve", "--data-dir", str(data), "--tls", "--https-port", "0") as service:
        variables = {
            "HELIOGRAPH_ENDPOINT": service.ready["https"],
            "HELIOGRAPH_TOKEN": token(data, "--role", "admin"),
        }
        refused = heliograph("channel", "list", "--json", variables=variables)
        variables["SSL_CERT_FILE"] = service.ready["ca_file"]
        listed = heliograph("channel", "list", "--json", variables=variables)
    assert refused.returncode == 3
    assert " is not trusted (" in refused.stderr
    assert "--ca-file" in refused.stderr
    assert (listed.returncode, listed.stdout) == (0, "[]\n"), listed.stderr


def test_the_text_for_people_has_a_line_for_each_client(tmp_path: Path) -> None:
    folder = tmp_path / "my data"
    command = [*COMMAND, "serve", "--data-dir", str(folder), "--tls", "--https-port", "0", *FREE_PORTS]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment()) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(11)]
        process.terminate()
    assert "https://127.0.0.1:" in lines[0]
    quoted = f"'{folder}/tls/ca.pem'"
    for line, words in zip(
        lines[3:],
        (
            "AWS_CA_BUNDLE=",
            "AWS_CA_BUNDLE=",
            "SSL_CERT_FILE=",
            "NODE_EXTRA_CA_CERTS=",
            "AWS_KVS_CACERT_PATH=",
            "--cacert ",
        ),
        strict=False,
    ):
        assert words + quoted in line
    assert "--ignore-certificate-errors-spki-list=" in lines[10]


def test_roles_allow_what_they_say(tmp_path: Path) -> None:
    with started("serve", "--data-dir", str(tmp_path / "data")) as service:
        admin, viewer = (token(tmp_path / "data", "--role", role, "--channel", "front") for role in ("admin", "viewer"))
        assert run(service, admin, "channel", "create", "front").returncode == 0
        assert run(service, viewer, "channel", "describe", "front").returncode == 0
        refused = run(service, viewer, "channel", "delete", "front")
        assert refused.returncode == 4
        assert "DeleteSignalingChannel" in refused.stderr
        assert run(service, admin, "channel", "create", "back").returncode == 4
        assert run(service, viewer, "channel", "describe", "nothing").returncode == 4
        every = token(tmp_path / "data", "--role", "admin")
        assert run(service, every, "channel", "describe", "nothing").returncode == 5
        assert run(service, "", "channel", "list").returncode == 4
        assert run(service, every, "channel", "create", "front").returncode == 1
        assert run(service, every, "channel", "delete", "front").stdout.startswith("deleted arn:")


@pytest.mark.parametrize(("name", "flag"), [("HTTP_PORT", "--http-port"), ("OPS_PORT", "--ops-port")])
def test_a_taken_port_fails_with_the_name_of_its_setting(tmp_path: Path, name: str, flag: str) -> None:
    with listen("127.0.0.1", 0, "http_port") as other:
        port = str(other.getsockname()[1])
        answer = heliograph("serve", "--data-dir", str(tmp_path / "data"), *FREE_PORTS, flag, port)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert answer.stderr.startswith(f"heliograph: {name}: {port} on 127.0.0.1 is taken; choose another with {flag}")


def test_a_taken_turn_port_fails_with_its_name_too(tmp_path: Path) -> None:
    port = str(free_port())
    with started("serve", "--data-dir", str(tmp_path / "one"), ports=(*FREE_PORTS, "--turn-port", port)):
        answer = heliograph("serve", "--data-dir", str(tmp_path / "two"), *FREE_PORTS, "--turn-port", port)
    assert answer.returncode == 2
    assert answer.stderr.startswith(f"heliograph: TURN_PORT: {port} on 127.0.0.1 is taken")
    assert answer.stderr.count("\n") == 1


def test_a_second_service_on_one_folder_is_refused_and_a_token_is_not(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with started("serve", "--data-dir", str(data)) as service:
        answer = heliograph("serve", "--data-dir", str(data), *FREE_PORTS)
        assert (answer.returncode, answer.stdout) == (2, "")
        assert answer.stderr.startswith(
            f"heliograph: DATA_DIR: another `heliograph serve` (process {service.process.pid})"
        )
        assert run(service, token(data, "--role", "admin"), "channel", "list", "--json").stdout == "[]\n"
        service.stop(signal.SIGKILL)
    with started("serve", "--data-dir", str(data)):
        pass


def test_a_redis_that_may_lose_the_catalog_is_refused_in_one_sentence(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    words = ("serve", "--data-dir", str(tmp_path / "data"), *FREE_PORTS, "--redis", redis_server.url)
    answer = heliograph(*words)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert answer.stderr.startswith("heliograph: REDIS_URL: the catalog is kept in redis://127.0.0.1:")
    assert answer.stderr.endswith("set `appendonly yes`; or allow it with --redis-allow-unsafe\n")
    assert answer.stderr.count("\n") == 1


@pytest.mark.parametrize(("number", "over_s"), [(signal.SIGTERM, 20.0), (signal.SIGINT, 1.0)])
def test_a_node_of_several_spreads_its_end_unless_it_is_told_by_hand(
    tmp_path: Path, redis_server: RedisServer, redis_prefix: str, number: int, over_s: float
) -> None:
    where = ("--redis", redis_server.url, "--redis-allow-unsafe", "--redis-prefix", redis_prefix)
    words, log = ("serve", "--data-dir", str(tmp_path / "data"), *where), tmp_path / "log"
    with log.open("wb") as errors, started(*words, stderr=errors) as service:
        code, _ = service.stop(number, limit_s=60.0)  # nobody is connected: it ends at once
    assert code == 0
    assert f'"over_s":{over_s}' in log.read_text().replace(" ", "")


def test_the_relay_ends_with_a_killed_parent_and_the_parent_with_a_killed_relay(tmp_path: Path) -> None:
    with started("serve", "--data-dir", str(tmp_path / "data")) as service:
        children = service.children()
        assert set(children) == {"turn"}
        service.stop(signal.SIGKILL)
        assert ends_within(children["turn"], 30)
    with started("serve", "--data-dir", str(tmp_path / "data"), stderr=subprocess.PIPE) as service:
        os.kill(service.children()["turn"], signal.SIGKILL)
        assert service.process.wait(60) == 30
        assert service.process.stderr is not None
        told = service.process.stderr.read().splitlines()[-1]
        assert told == "heliograph: turn ended by itself (signal SIGKILL); the log above may say why; start again"


def get(url: str) -> tuple[int, Any]:
    """Return status and body."""
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def test_the_operations_port_answers(tmp_path: Path) -> None:
    with started("serve", "--data-dir", str(tmp_path / "data")) as service:
        ops = service.ready["ops"]
        status, body = get(ops + "/livez")
        assert (status, json.loads(body)["status"]) == (200, "ok")
        assert get(ops + "/readyz") == (200, b'{"status":"ok","failing":{}}')
        run(service, token(tmp_path / "data", "--role", "admin"), "channel", "create", "secret-name")
        text = get(ops + "/metrics")[1].decode()
        assert 'heliograph_control_requests_total{code="OK",operation="CreateSignalingChannel"} 1.0' in text
        for sample in ('auth_tokens_total{result="verified"} 1.0', 'catalog_writes_total{result="unavailable"} 0.0'):
            assert f"heliograph_{sample}" in text
        assert "secret-name" not in text
        assert get(ops + "/")[0] == 404
        assert get(service.ready["http"] + "/metrics")[0] == 404


@pytest.mark.faults
def test_every_acknowledged_channel_outlives_kill_9_of_the_service(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with started("serve", "--data-dir", str(data), "--limits-profile", "relaxed", "--log-level", "error") as service:
        admin = token(data, "--role", "admin")
        creators = _Creators(service, admin)
        creators.run_until(600, then=service.process.kill)
    assert len(creators.acknowledged) >= 600
    with started("serve", "--data-dir", str(data)) as service:
        found = run(service, admin, "channel", "list", "--json")
    assert set(creators.acknowledged) <= {channel["ChannelARN"] for channel in json.loads(found.stdout)}


class _Creators:
    """Four clients that create channels as fast as they can, until the service is gone."""

    def __init__(self, service: Started, text: str) -> None:
        self.acknowledged: list[str] = []
        self._place = urlsplit(service.ready["http"]).netloc
        self._headers = {"Authorization": f"Bearer {text}", "Content-Type": "application/json"}
        self._numbers = itertools.count()
        self._lock = threading.Condition()

    def run_until(self, count: int, then: Any) -> None:
        threads = [threading.Thread(target=self._create) for _ in range(4)]
        for thread in threads:
            thread.start()
        with self._lock:
            assert self._lock.wait_for(lambda: len(self.acknowledged) >= count, 60)
        then()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()

    def _create(self) -> None:
        connection = http.client.HTTPConnection(self._place, timeout=30)
        try:
            while True:
                with self._lock:
                    number = next(self._numbers)
                body = json.dumps({"ChannelName": f"channel-{number}"})
                connection.request("POST", "/createSignalingChannel", body, self._headers)
                answer = json.loads(connection.getresponse().read())
                with self._lock:
                    self.acknowledged.append(answer["ChannelARN"])
                    self._lock.notify_all()
        except (OSError, http.client.HTTPException):
            return
        finally:
            connection.close()
