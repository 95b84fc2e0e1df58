"""The limit of open files."""

import resource
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest

from app import cli_master, cli_serve
from app.descriptors import ENOUGH, allow_many
from app.exits import CommandError
from app.settings import Loaded, Settings, SettingsError


def test_a_master_has_as_many_as_it_may() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        with pytest.raises(CommandError, match="--channel"):
            cli_master.run(Namespace(inherited_fd=None, channel=""), Loaded(Settings(), {}))
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 256
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_service_has_as_many_as_it_may_before_it_does_anything_else(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    open_to_others = tmp_path / "data"
    open_to_others.mkdir(mode=0o755)
    loaded = Loaded(Settings(data_dir=str(open_to_others)), {})
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        with pytest.raises(SettingsError, match="others may enter"):
            cli_serve.run(Namespace(inherited_fd=None, emulator=False, json=False), loaded)
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 256
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_low_hard_limit_is_told_with_what_to_do() -> None:
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (128, {hard}))\n"
        "from app.descriptors import allow_many; allow_many(print)"
    )
    told = [
        subprocess.run(
            [sys.executable, "-c", code.format(hard=hard)], capture_output=True, text=True, check=True
        ).stdout
        for hard in (4096, 16_384)
    ]
    assert told[0].startswith("at most 4096 connections and files")
    assert "LimitNOFILE=" in told[0]
    assert told[1] == ""


def test_limit_is_raised_as_far_as_it_may_be_and_never_lowered() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = ENOUGH if hard == resource.RLIM_INFINITY else min(hard, ENOUGH)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, most), hard))
        allow_many()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (most, hard)
        allow_many()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (most, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
