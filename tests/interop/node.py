"""Stock JavaScript packages for the tests of this folder: installed as the lock file says, run under node, bundled."""

import fcntl
import hashlib
import json
import os
import subprocess
from pathlib import Path
from typing import Any

from tests.programs import require
from tests.running import environment

FOLDER = Path(__file__).parent
PACKAGES = FOLDER / "node_modules"
SIGNALING, CONTROL = "amazon-kinesis-video-streams-webrtc", "@aws-sdk/client-kinesis-video"
SIGNALING_SCRIPT = PACKAGES / SIGNALING / "dist" / "kvs-webrtc.min.js"
RUN_LIMIT_S = 60


def install_packages() -> None:
    """Bring node_modules to what the lock file says; one process at a time."""
    require("node")
    install(require("npm"))


def install(npm: str) -> None:
    """The same by the program `npm`, for those that are not run by pytest."""
    lock, stamp = FOLDER / "package-lock.json", PACKAGES / ".package-lock.json"
    with lock.open() as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        if stamp.exists() and stamp.stat().st_mtime >= lock.stat().st_mtime:
            return
        done = subprocess.run([npm, "ci"], cwd=FOLDER, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def version(package: str) -> str:
    """The installed version of a package."""
    manifest: dict[str, str] = json.loads((PACKAGES / package / "package.json").read_text())
    return manifest["version"]


def run(script: str, *words: str, given: Any, home: Path, ca_file: str | None = None) -> Any:
    """Run a script of this folder on `given` as JSON; return what it says as JSON. Node trusts `ca_file`, too."""
    trust = {"NODE_EXTRA_CA_CERTS": ca_file} if ca_file else {}
    done = subprocess.run(
        [require("node"), script, *words],
        cwd=FOLDER,
        input=json.dumps(given),
        env={**environment(home), **trust},
        capture_output=True,
        text=True,
        timeout=RUN_LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def bundle(entry: str) -> str:
    """One script for a page out of a module of this folder and the packages it imports; made once per content."""
    source = (FOLDER / entry).read_bytes() + (FOLDER / "package-lock.json").read_bytes()
    made = PACKAGES / ".bundles" / f"{hashlib.sha256(source).hexdigest()}.js"
    if not made.exists():
        # The WebAssembly build of esbuild: one package for every machine, without a program to download.
        esbuild = PACKAGES / "esbuild-wasm" / "bin" / "esbuild"
        unfinished = made.with_suffix(f".{os.getpid()}")
        words = ["--bundle", "--format=iife", "--platform=browser", "--log-level=warning", f"--outfile={unfinished}"]
        done = subprocess.run(
            [require("node"), esbuild, entry, *words],
            cwd=FOLDER,
            capture_output=True,
            text=True,
            timeout=RUN_LIMIT_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        unfinished.rename(made)
    return made.read_text()
