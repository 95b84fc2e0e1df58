"""Our service in the lab's public network, masters, and Chromium behind a NAT: the real programs."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from tests.chromium import launched
from tests.netns.lab import PUB, PUBLIC, Lab
from tests.netns.serving import LAB_CIDRS, PORT
from tests.programs import require
from tests.running import COMMAND, environment, heliograph, started

ENDPOINT = f"http://{PUBLIC}:8080"
CHANNEL = "lab"


@contextlib.contextmanager
def service(lab: Lab, home: Path) -> Iterator[dict[str, str]]:
    """Run the service with one channel; gives the variables of those who use it."""
    data = ("--data-dir", str(home / "data"))
    words = ("--host", "0.0.0.0", "--turn-advertised-address", PUBLIC, "--allow-peer-cidrs", LAB_CIDRS)
    ports = ("--http-port", "8080", "--turn-port", str(PORT), "--ops-port", "0")
    log = home / "serve.log"
    with (
        log.open("wb") as errors,
        started("serve", *data, *words, ports=ports, home=home, stderr=errors, within=lab.within(PUB)),
    ):
        token = heliograph("token", "--role", "admin", *data, home=home).stdout.strip()
        variables = {"HELIOGRAPH_ENDPOINT": ENDPOINT, "HELIOGRAPH_TOKEN": token}
        made = heliograph("channel", "create", CHANNEL, variables=variables, home=home, within=lab.within(PUB))
        assert made.returncode == 0, made.stderr
        yield variables
    assert "Traceback" not in log.read_text()


@contextlib.contextmanager
def sending(lab: Lab, part: str, access: dict[str, str]) -> Iterator[None]:
    """Run a master in a namespace."""
    command = [*lab.within(part), *COMMAND, "master", "--channel", CHANNEL, "--persist"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment() | access) as master:
        try:
            assert master.stderr is not None
            assert any("sends test" in line for line in master.stderr), "the master ended"
            yield
        finally:
            master.terminate()
            master.communicate(timeout=60)


@contextlib.contextmanager
def browsing(lab: Lab, home: Path, *parts: str) -> Iterator[list[Browser]]:
    """Run Chromium in namespaces; pipes hold it, so that it needs no network to be driven."""
    with contextlib.ExitStack() as stack:
        playwright = stack.enter_context(sync_playwright())
        browsers = []
        for part in parts:
            program = home / f"chromium-in-{part}"
            program.write_text(f'#!/bin/sh\nexec {" ".join(lab.within(part))} {require("chromium")} "$@"\n')
            program.chmod(0o755)
            flags = (f"--unsafely-treat-insecure-origin-as-secure={ENDPOINT}",)
            browsers.append(stack.enter_context(launched(playwright, home / part, str(program), flags)))
        yield browsers
