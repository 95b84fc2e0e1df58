"""Our relay in the lab's public network: the real process, with what clients need to know of it."""

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from channels import ice
from channels.names import ChannelArn
from tests.certificates import made
from tests.netns.lab import PUB, PUBLIC, PUBLIC_V6, Lab
from tests.running import started

PORT, REALM = 3478, "heliograph"
# The lab consists of addresses that are refused as peers elsewhere.
LAB_CIDRS = "203.0.113.0/24,10.0.0.0/8,2001:db8::/32"
ARN = ChannelArn.parse("arn:aws:kinesisvideo:us-west-2:000000000000:channel/lab/1700000000000")


def relay_ports(port: int) -> range:
    """Relay ports of the server on a port of pub: its own, so that no other one has half of a pair that it reserves."""
    first = 49160 + 400 * (port - PORT)
    return range(first, first + 400)


class Served(msgspec.Struct):
    """A relay that serves, its process and its secret."""

    pid: int
    secret: bytes
    log: Path
    ca_file: Path

    def credential(self) -> tuple[str, str]:
        """Mint user name and password, good for 5 min."""
        return ice.mint(self.secret, ARN, None, time.time())

    def assert_quiet(self) -> None:
        """Nothing went wrong inside."""
        text = self.log.read_text()
        assert "Traceback" not in text, text
        assert '"error"' not in text, text


@contextlib.contextmanager
def serving(lab: Lab, home: Path, *words: str, cidrs: str = LAB_CIDRS, port: int = PORT) -> Iterator[Served]:
    """Run `heliograph turn` on every address of pub until the block ends."""
    home.mkdir(parents=True, exist_ok=True)
    allowed = ("--allow-peer-cidrs", cidrs) if cidrs else ()
    files = made(home / "certificates", (PUBLIC, PUBLIC_V6))
    certificate = ("--turn-tls-certificate", str(files.pair.certificate), "--turn-tls-key", str(files.pair.key))
    log = home / "turn.log"
    command = ("turn", "--data-dir", str(home / "data"), "--host", "::", *allowed, *certificate, *words)
    relays = relay_ports(port)
    ports = ("--turn-port", str(port), "--turn-min-port", str(relays[0]), "--turn-max-port", str(relays[-1]))
    with (
        log.open("wb") as errors,
        started(*command, ports=ports, home=home, stderr=errors, within=lab.within(PUB)) as relay,
    ):
        served = Served(relay.process.pid, (home / "data" / "turn.secret").read_bytes().strip(), log, files.ca)
        yield served
        with contextlib.suppress(subprocess.TimeoutExpired):
            relay.stop()
    served.assert_quiet()
