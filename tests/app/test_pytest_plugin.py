import os
import re
import signal
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path
from typing import Any

import pytest

from app import pytest_plugin
from app.pytest_plugin import KvsLocal, KvsLocalError, running
from tests.running import ends_within

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "app" / "pytest_plugin.py"
GUIDE = ROOT / "infra" / "guides" / "emulator.md"
slow = pytest.mark.slow
READY = {
    "http": "http://127.0.0.1:8080", "https": None, "turn": "turn:127.0.0.1:3478?transport=udp",
    "access_key_id": "AKIA", "secret_access_key": "secret", "token": "token", "ca_file": None, "region": "eu-west-1",
    "account_id": "0" * 12,
}  # fmt: skip


def test_the_distribution_brings_it_under_a_name_of_its_own() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["entry-points"]["pytest11"] == {"heliograph": "heliograph_pytest"}
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["force-include"] == {"app/pytest_plugin.py": "heliograph_pytest.py"}


def test_it_imports_nothing_of_ours() -> None:
    assert not re.search(r"^\s*(from|import) (app|channels|media)\b", SOURCE.read_text(), re.MULTILINE)


def test_programs_get_what_aws_clients_read() -> None:
    plain = KvsLocal(READY).environment()
    assert plain["AWS_ENDPOINT_URL_KINESIS_VIDEO"] == "http://127.0.0.1:8080"
    assert (plain["AWS_ACCESS_KEY_ID"], plain["AWS_REGION"], plain["AWS_SESSION_TOKEN"]) == ("AKIA", "eu-west-1", "")
    assert "AWS_CA_BUNDLE" not in plain
    assert KvsLocal(READY | {"ca_file": "/tmp/ca.pem"}).environment()["AWS_CA_BUNDLE"] == "/tmp/ca.pem"
    assert "secret" not in repr(KvsLocal(READY))


def test_one_that_is_gone_is_told_by_its_address() -> None:
    with pytest.raises(KvsLocalError, match=r"the emulator at http://127\.0\.0\.1:1 does not answer"):
        KvsLocal(READY | {"http": "http://127.0.0.1:1"}).reset()


def test_the_emulator_gets_no_settings_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELIOGRAPH_HOST", "0.0.0.0")
    monkeypatch.setenv("HOME", "/home/somebody")
    environment = pytest_plugin._environment()
    assert "HELIOGRAPH_HOST" not in environment
    assert environment["HOME"] == "/home/somebody"


class Installed:
    """A distribution whose files lie in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def locate_file(self, path: str) -> Path:
        return self._folder / path


def test_a_foreign_package_app_does_not_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/a/project")
    monkeypatch.setattr(pytest_plugin.importlib.metadata, "distribution", lambda _: Installed(tmp_path))
    assert pytest_plugin._environment()["PYTHONPATH"] == "/a/project", "a checkout is found by it, perhaps"
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "__main__.py").touch()
    assert pytest_plugin._environment()["PYTHONPATH"] == str(tmp_path)
    monkeypatch.setattr(pytest_plugin.site, "getsitepackages", lambda: [str(tmp_path)])
    assert "PYTHONPATH" not in pytest_plugin._environment()


@slow
def test_it_runs_until_the_block_ends_and_does_what_it_is_told() -> None:
    with running(["--region", "eu-west-1"]) as emulator:
        assert emulator.region == "eu-west-1"
        assert emulator.advance(60) == 60.0
        emulator.reset()
        assert emulator.advance(0.5) == 0.5
        emulator.fail("ListSignalingChannels", "ServiceUnavailableException", times=2)
        with pytest.raises(KvsLocalError, match=r"faults: operation must be one of .*\[InvalidArgumentException\]"):
            emulator.fail("Nothing", "ServiceUnavailableException")
        arn = "arn:aws:kinesisvideo:eu-west-1:000000000000:channel/nowhere/1"
        with pytest.raises(KvsLocalError, match="ResourceNotFoundException"):
            emulator.cut(arn)
    with pytest.raises(KvsLocalError, match="does not answer"):
        emulator.reset()


@slow
def test_one_that_does_not_start_says_why() -> None:
    with (
        pytest.raises(KvsLocalError, match=r"HOST: 0\.0\.0\.0 is not this machine alone"),
        running(["--host", "0.0.0.0"]),
    ):
        pass


@slow
def test_it_ends_when_its_test_run_is_killed() -> None:
    program = "from app.pytest_plugin import running\nwith running() as e:\n  print('ready', flush=True); input()\n"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    ) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == b"ready\n"
        children = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
        run.send_signal(signal.SIGKILL)
    assert len(children) == 1
    assert ends_within(int(children[0]), 30)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with a package `app` of its own, in an environment where the plugin is installed."""
    site = tmp_path / "site"
    info = site / "heliograph_plugin-1.dist-info"
    info.mkdir(parents=True)
    (site / "heliograph_pytest.py").write_text(SOURCE.read_text())
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: heliograph-plugin\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[pytest11]\nheliograph = heliograph_pytest\n")
    project = tmp_path / "project"
    (project / "app").mkdir(parents=True)
    (project / "app" / "__init__.py").write_text("NAME = 'theirs'\n")
    (project / "conftest.py").write_text("import app\n\nassert app.NAME == 'theirs'\n")
    return project


def pytest_in(project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run pytest with this plugin and none of the others that are installed here."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    path = os.pathsep.join((str(project.parent / "site"), str(ROOT)))
    environment = kept | {"PYTHONPATH": path, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "heliograph", *words],
        cwd=project, env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@slow
def test_each_test_finds_it_reset(project: Path) -> None:
    (project / "test_it.py").write_text(
        textwrap.dedent("""
        import pytest

        @pytest.mark.parametrize("number", [1, 2])
        def test_the_clock(kvs_local, number):
            assert kvs_local.region == "eu-west-1"
            assert kvs_local.advance(60) == 60
    """)
    )
    answer = pytest_in(project, "-o", "kvs_local_args=--region eu-west-1")
    assert "2 passed" in answer.stdout, answer.stdout + answer.stderr


@slow
def test_each_worker_has_its_own(project: Path) -> None:
    (project / "test_it.py").write_text(
        textwrap.dedent("""
        import os, pathlib, pytest

        @pytest.mark.parametrize("number", [1, 2])
        def test_where(kvs_local, number):
            pathlib.Path(os.environ["PYTEST_XDIST_WORKER"]).write_text(kvs_local.http)
    """)
    )
    answer = pytest_in(project, "-p", "xdist", "-n", "2")
    assert "2 passed" in answer.stdout, answer.stdout + answer.stderr
    places = {(project / worker).read_text() for worker in ("gw0", "gw1")}
    assert len(places) == 2


@slow
def test_a_run_without_it_starts_nothing_and_loads_nothing_more(project: Path) -> None:
    (project / "test_it.py").write_text(
        textwrap.dedent("""
        import sys

        def test_nothing():
            assert "heliograph_pytest" in sys.modules
            assert not {"channels", "boto3", "msgspec"} & set(sys.modules)
    """)
    )
    answer = pytest_in(project, "-o", "kvs_local_args=--no-such-flag")
    assert "1 passed" in answer.stdout, answer.stdout + answer.stderr


@slow
@pytest.mark.interop
def test_the_example_of_the_guide_works(project: Path) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    (project / "test_example.py").write_text(example)
    answer = pytest_in(project, "-W", "ignore")
    assert "1 passed" in answer.stdout, answer.stdout + answer.stderr


def test_a_client_is_made_by_boto3_with_the_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    boto3: Any = pytest.importorskip("boto3")
    client = KvsLocal(READY).client("kinesis-video-signaling")
    assert client.meta.endpoint_url == "http://127.0.0.1:8080"
    assert client.meta.region_name == "eu-west-1"
    assert boto3 is not None
