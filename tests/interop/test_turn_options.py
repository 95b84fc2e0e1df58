"""Every option of coturn's client tools, over UDP, TCP, TLS and DTLS, and a table of what was lost."""

import re
import subprocess
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import msgspec
import pytest

from tests import certificates
from tests.interop.conftest import NoteTool
from tests.interop.turn import Served, echo_peers, relay_in_a_thread, uclient
from tests.ports import free_port
from tests.programs import require

pytestmark = [pytest.mark.interop, pytest.mark.alone, pytest.mark.timeout(240)]

LOST = re.compile(r"Total lost packets (\d+) ")
WRONG = "-W wrong"
RIGHT_SECRET = "north"
TRANSPORTS = {"udp": "", "tcp": "-t", "tls": "-t -S", "dtls": "-S"}

CASES = {
    "": "channels, EVEN-PORT pair",
    "-s": "Send and Data",
    "-y": "client to client",
    "-y -s": "client to client, Send and Data",
    "-c": "no RTCP",
    "-c -g": "DONT-FRAGMENT",
    "-D": "padding",
    "-G": "extra permissions and binds",
    "-O": "quick connect and exit",
    "-B": "random disconnect",
    "-X": "IPv4 relay asked for",
    "-x -e ::1": "IPv6 relay",
    "-x -e ::1 -L ::1": "IPv6 relay, to the IPv6 listener",
    "-e 127.0.0.1 -L ::1": "IPv4 relay, to the IPv6 listener",
    "-Z": "dual allocation",
}
ON_BOTH_PORTS = ("", "-s")
WITHOUT_TOTAL = ("-O",)
"""It exits before it counts."""

STRETCH = {
    "-T": "TCP relay, RFC 6062",
    "-T -S": "TCP relay, RFC 6062, TLS",
    "-M": "mobility, RFC 8016",
    "-M -s": "mobility, Send and Data",
    "-M -y": "mobility, client to client",
    "-M -Z": "mobility, dual allocation",
}
"""With -M and TLS or DTLS the tool frees its session twice by lot: UDP only. Of -P it loses half, with coturn too."""

AT_ONCE = 4
Run = tuple[str, int, str]
"""Options, number of the port, secret."""


class Place(msgspec.Struct, frozen=True):
    """A relay that speaks everything on two ports."""

    served: Served
    ports: tuple[int, int]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    files = certificates.made(tmp_path_factory.mktemp("turn"))
    second = free_port()
    changes = {
        "more_ports": ((second, "both"),),
        "allocations_per_channel": 400,
        "has_mobility": True,
        "has_tcp_relays": True,
    }
    with relay_in_a_thread(files, **changes) as served:
        yield Place(served, (served.port, second))


@pytest.fixture(scope="module")
def echo_port() -> Iterator[int]:
    with echo_peers(3788) as port:
        yield port


def rows() -> Iterator[tuple[str, str, int]]:
    for transport in TRANSPORTS:
        for options in CASES:
            for port in (0, 1) if options in ON_BOTH_PORTS else (0,):
                yield transport, options, port


class Runs:
    """Runs the tool, several at once since it mostly waits: what the chosen tests will ask for is begun early."""

    def __init__(self, place: Place, echo_port: int, pool: ThreadPoolExecutor, wanted: Iterable[Run]) -> None:
        self._place = place
        self._echo_port = echo_port
        self._pool = pool
        self._begun = {run: self._begin(run) for run in wanted}

    def result(self, *run: *Run) -> tuple[int, int | None, str]:
        """Exit code, packets lost, and all that the tool said; of three runs the first that went well, else the last.

        Where a process stands still for a moment its sockets overflow, and the tool that breaks off at random (-B) may
        do so before it is set up; what the relay loses or refuses is lost or refused each time.
        """
        begun = self._begun.get(run) or self._begin(run)
        for _ in range(2 if run[2] == RIGHT_SECRET else 0):
            if begun.result().returncode == 0 and not _lost(begun.result()):
                break
            begun = self._begin(run)
        done = begun.result()
        return done.returncode, _lost(done), (done.stdout + done.stderr)[-2000:]

    def _begin(self, run: Run) -> "Future[subprocess.CompletedProcess[str]]":
        options, port, secret = run
        return self._pool.submit(uclient, self._place.ports[port], self._echo_port, options, secret)


def _lost(done: "subprocess.CompletedProcess[str]") -> int | None:
    found = LOST.search(done.stdout + done.stderr)
    return None if found is None else int(found[1])


def run_of(transport: str, options: str, port: int = 0) -> Run:
    secret = "wrong" if options == WRONG else RIGHT_SECRET
    return f"{TRANSPORTS[transport]} {options.removeprefix(WRONG)}".strip(), port, secret


@pytest.fixture(scope="module")
def runs(request: pytest.FixtureRequest, place: Place, echo_port: int) -> Iterator[Runs]:
    chosen = [item.callspec.params for item in request.session.items if item.module is request.module]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield Runs(place, echo_port, pool, [run_of(**params) for params in chosen if "transport" in params])


@pytest.mark.parametrize(("transport", "options", "port"), list(rows()))
def test_turnutils_uclient_loses_nothing(
    place: Place, runs: Runs, note_tool: NoteTool, transport: str, options: str, port: int
) -> None:
    words, *rest = run_of(transport, options, port)
    code, lost, told = runs.result(words, *rest)
    case = f"{transport.upper()}: {CASES[options]}" + (", second port" if port else "")
    note_tool(f"`{words}`" if words else "(nothing)", case, lost, code)
    assert (code, lost) == (0, None if options in WITHOUT_TOTAL else 0), told
    assert transport == "udp" or place.served.relay.stats.connections_total[transport] > 0


@pytest.mark.parametrize(("transport", "options"), [(transport, WRONG) for transport in TRANSPORTS])
def test_turnutils_uclient_with_a_wrong_secret_is_refused(
    runs: Runs, note_tool: NoteTool, transport: str, options: str
) -> None:
    code, lost, told = runs.result(*run_of(transport, options))
    note_tool(f"`{f'{TRANSPORTS[transport]} {WRONG}'.strip()}`", f"{transport.upper()}: wrong secret", lost, code)
    assert code == 255, told


@pytest.mark.parametrize(("transport", "options"), [("udp", options) for options in STRETCH])
def test_turnutils_uclient_gets_what_must_be_switched_on(
    runs: Runs, note_tool: NoteTool, transport: str, options: str
) -> None:
    code, lost, told = runs.result(*run_of(transport, options))
    note_tool(f"`{options}`", STRETCH[options], lost, code)
    assert (code, lost) == (0, 0), told


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_turnutils_stunclient_sees_its_address(place: Place, note_tool: NoteTool, host: str) -> None:
    command = [require("turnutils_stunclient"), "-p", str(place.served.port), host]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    note_tool("turnutils_stunclient", f"Binding to {host}", None, done.returncode)
    assert done.returncode == 0
    assert f"UDP reflexive addr: {host}" in (done.stdout + done.stderr).replace("[", "")
