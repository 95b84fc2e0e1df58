"""The table of requests over UDP: our relay must answer as the RFCs have it, coturn's answers are noted beside."""

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from media.turn import stun
from media.turn.address import pack
from tests.interop.turn import SECRET, Served, password, relay_in_a_thread
from tests.media.turn import request_driver
from tests.media.turn.request_driver import Exchange
from tests.media.turn.request_row import Row, State
from tests.media.turn.request_table import ROWS
from tests.ports import free_port
from tests.programs import require

pytestmark = [pytest.mark.interop, pytest.mark.timeout(240)]

WIRE_ROWS = [row for row in ROWS if not row.is_core_only]
SETTINGS: dict[State, dict[str, object]] = {
    State.DRAINING: {"drain_s": 30.0},
    State.DRAINING_OWN: {"drain_s": 30.0},
    State.REDIRECTING: {"drain_s": 30.0, "alternate_server": ("203.0.113.99", 3478)},
    State.QUOTA: {"allocations_per_channel": 1},
    State.FULL: {"min_port": 15400, "max_port": 15400},
}
"""States that take a relay of their own; none of them can be made of coturn by its clients."""

PORTS = {"min_port": 15000, "max_port": 15399}
"""Other tests' relays may run beside these, and a relay tries eight ports only."""

PROBE = stun.encode(stun.Message(stun.BINDING, stun.REQUEST, b"probe" + bytes(7), []))


class UdpPlace:
    """A server on loopback, as a place for clients with sockets of their own."""

    peers = {"peer": pack("127.0.0.1"), "other": pack("127.0.0.2"), "IPv6": pack("::1"), "forbidden": pack("224.0.0.1")}

    def __init__(self, port: int, sockets: contextlib.ExitStack) -> None:
        self.port = port
        self.sockets = sockets

    def client(self) -> Exchange:
        handle = self.sockets.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        handle.settimeout(10)
        handle.connect(("127.0.0.1", self.port))

        def exchange(datagram: bytes) -> bytes | None:
            handle.send(datagram)
            handle.send(PROBE)  # its answer comes behind: silence needs no waiting
            found = None
            while (answer := handle.recv(65536))[8:20] != PROBE[8:20]:
                found = answer
            return found

        return exchange

    def credential(self, name: str, *, is_expired: bool = False) -> tuple[str, str]:
        username = f"{int(time.time()) + (-60 if is_expired else 600)}:{name}"
        return username, password(username, "sha1")

    def enter(self, state: State) -> None:
        """Nothing to do: the place is for states that clients bring about."""


class CoturnPlace(UdpPlace):
    """coturn, which looks credentials up in a thread: a later Binding may be answered earlier."""

    def client(self) -> Exchange:
        handle = self.sockets.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        handle.connect(("127.0.0.1", self.port))

        def exchange(datagram: bytes) -> bytes | None:
            handle.settimeout(0.25)
            handle.send(datagram)
            is_probed = False
            while True:
                try:
                    answer = handle.recv(65536)
                except TimeoutError:
                    if is_probed:
                        return None
                    is_probed = True  # else a server that has not come to it yet would be taken for a silent one
                    handle.settimeout(10)
                    handle.send(PROBE)
                    continue
                if answer[8:20] != PROBE[8:20]:
                    return answer
                handle.settimeout(0.25)

        return exchange


class OurPlace(UdpPlace):
    """Our relay."""

    def __init__(self, served: Served, sockets: contextlib.ExitStack) -> None:
        super().__init__(served.port, sockets)
        self.served = served

    def enter(self, state: State) -> None:
        if state in (State.DRAINING, State.DRAINING_OWN, State.REDIRECTING):
            self.served.drain()
            probe = self.client()
            while not self.served.relay._server._is_draining:
                assert probe(PROBE) is None


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with relay_in_a_thread(has_legacy_channel_numbers=False, allocations_per_channel=400, **PORTS) as served:
        yield served


@pytest.fixture(scope="module")
def sockets() -> Iterator[contextlib.ExitStack]:
    """Clients of `served`, open to the end: a port that came again would come with the allocation of its last owner."""
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.mark.parametrize("row", WIRE_ROWS, ids=repr)
def test_relay_answers_as_the_rfc_has_it(row: Row, served: Served, sockets: contextlib.ExitStack) -> None:
    with contextlib.ExitStack() as stack:
        place = OurPlace(served, sockets)
        if row.state in SETTINGS:
            own = stack.enter_context(relay_in_a_thread(**{**PORTS, **SETTINGS[row.state]}))
            stack.callback(own.call, own.relay.revoke, b"interop")  # else a drain waits for the allocations
            place = OurPlace(own, stack)
        outcome = request_driver.run(row, place)
        assert not outcome.objections, f"{row.name} (RFC {row.section})"


@contextlib.contextmanager
def coturn(folder: Path) -> Iterator[int]:
    """Debian's coturn on loopback with the secret of these tests; gives its port."""
    program = require("turnserver")
    words = [
        *("-n", "-m", "0", "-L", "127.0.0.1", "-E", "127.0.0.1", "-E", "::1", "-r", "example.org"),
        *("--use-auth-secret", f"--static-auth-secret={SECRET.decode()}", "--no-cli", "--no-software-attribute"),
        *("--allow-loopback-peers", "--min-port", "16000", "--max-port", "16799", "--no-tls", "--no-dtls"),
        *("--no-stdout-log", "--simple-log"),
        *("-l", str(folder / "log"), "--pidfile", str(folder / "pid"), "-b", str(folder / "users")),
    ]
    with contextlib.ExitStack() as stack:
        for _ in range(4):  # somebody else may have the port by then
            port = free_port()
            process = stack.enter_context(
                subprocess.Popen(
                    [program, *words, "-p", str(port)],
                    cwd=folder,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
            )
            stack.callback(process.kill)
            if answers(port, process):
                break
            process.kill()
        else:
            pytest.fail(f"coturn does not answer: {(folder / 'log').read_text()[-2000:]}")
        yield port


def answers(port: int, process: subprocess.Popen[bytes]) -> bool:
    """Ask until the server answers; whether it does."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        handle.settimeout(0.2)
        for _ in range(150):
            if process.poll() is not None:
                break
            with contextlib.suppress(TimeoutError):
                handle.sendto(PROBE, ("127.0.0.1", port))  # not connected: a refusal is no error
                handle.recv(2048)
                return True
    return False


def answer_of(row: Row, port: int) -> str:
    """Return what coturn does otherwise in a row, empty for nothing."""
    with contextlib.ExitStack() as stack:
        try:
            return "; ".join(request_driver.run(row, CoturnPlace(port, stack)).objections)
        except (AssertionError, OSError, stun.StunError) as error:
            return f"no such state: {error}"


def test_where_coturn_answers_otherwise_is_told(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    rows = [row for row in WIRE_ROWS if row.state not in SETTINGS]
    with coturn(tmp_path) as port:
        answers = {row: answer_of(row, port) for row in rows}
    found = [(row.name, row.section, answer) for row, answer in answers.items() if answer]
    print(f"\ncoturn answers {len(rows) - len(found)} of {len(rows)} rows as this table has it; the others:")
    print("| request | RFC | coturn |\n|---|---|---|")
    for name, section, answer in found:
        print(f"| {name} | {section} | {answer} |")
    if getattr(request.config, "cache", None) is not None:  # switched off by -p no:cacheprovider
        request.config.cache.set("interop/turn_requests", found)  # .pytest_cache/v/interop/turn_requests
    assert len(rows) > 100
