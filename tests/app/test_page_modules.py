"""The pure modules of the pages, by node's own test runner: `tests/app/static/*.test.js`."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.programs import require

ROOT = Path(__file__).parent.parent.parent
MODULES = ROOT / "app" / "static"
TESTS = Path(__file__).parent / "static"


@pytest.mark.interop
def test_pure_page_modules_pass_their_own_tests(tmp_path: Path) -> None:
    node = require("node")
    # A copy under a package of type module: browsers take .js files as modules, node needs to be told.
    shutil.copytree(MODULES, tmp_path / "app" / "static")
    shutil.copytree(TESTS, tmp_path / "tests" / "app" / "static")
    (tmp_path / "package.json").write_text('{"type": "module"}')
    files = sorted(str(path) for path in (tmp_path / "tests" / "app" / "static").glob("*.test.js"))
    assert len(files) >= 6
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "TZ": "UTC"}
    done = subprocess.run(
        [node, "--test", "--test-reporter=tap", *files],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
