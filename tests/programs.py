"""Programs that tests need from the machine: missing ones skip by name, or fail where CI is meant to have them."""

import os
import shutil

import pytest

PACKAGE_OF = {
    "chromium": "chromium",
    "redis-server": "redis-server",
    "redis-sentinel": "redis-sentinel",
    "redis-cli": "redis-tools",
    "turnserver": "coturn",
    "turnutils_uclient": "coturn",
    "turnutils_stunclient": "coturn",
    "turnutils_peer": "coturn",
    "cc": "gcc",
    "node": "nodejs",
    "npm": "npm",
    "jq": "jq",
    "certutil": "libnss3-tools",
    "nft": "nftables",
    "ip": "iproute2",
    "tc": "iproute2",
}


def require(program: str) -> str:
    """Return the path of `program`; skip the test by its name, or fail it when the variable CI is `true`."""
    path = shutil.which(program)
    if path is not None:
        return path
    reason = (
        f"{program} is missing (Debian package {PACKAGE_OF.get(program, program)}): `make test` as root installs it"
    )
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
