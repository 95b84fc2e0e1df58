"""Real Redis servers for tests: on ports and in folders of their own, killed, frozen and emptied on command."""

import contextlib
import ctypes
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, Self

import hiredis

from tests.ports import free_port
from tests.programs import require

READY_LIMIT_S: Final = 60.0
FAILOVER_LIMIT_S: Final = 150.0  # sentinels that do not agree try again after ten seconds
_PR_SET_PDEATHSIG: Final = 1
_LIBC: Final = ctypes.CDLL(None)
Reply = bytes | int | list["Reply"] | None


class RedisServer:
    """One `redis-server`, as a context manager. What is not `appendonly` is lost when it is killed.

    With `tls`, the files of certificate and key, its port speaks TLS alone.
    """

    def __init__(
        self,
        folder: Path,
        *,
        appendonly: bool = False,
        maxmemory_policy: str = "noeviction",
        password: str = "",
        tls: tuple[Path, Path] | None = None,
        options: Sequence[str] = (),
    ) -> None:
        self.host = "127.0.0.1"
        self.port = 0
        self.folder = folder
        self.password = password
        self.socket_path = folder / "socket"
        self._program = require("redis-server")
        self._options = [
            *("--bind", self.host, "--dir", str(folder), "--logfile", str(folder / "log"), "--save", ""),
            *("--appendonly", "yes" if appendonly else "no", "--maxmemory-policy", maxmemory_policy),
            *("--unixsocket", str(self.socket_path), "--enable-debug-command", "local"),
            *(("--requirepass", password, "--masterauth", password) if password else ()),
            *(("--tls-cert-file", str(tls[0]), "--tls-key-file", str(tls[1])) if tls else ()),
            *("--tls-auth-clients", "no"),
            *options,
        ]
        self._port_word = "--tls-port" if tls else "--port"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        for _ in range(20):
            self.port = free_port()  # ours until this process ends, so that it is free for a restart
            with contextlib.suppress(ChildProcessError):  # somebody else's port
                return self.start()
        raise ChildProcessError(f"redis-server does not start: {(self.folder / 'log').read_text()[-2000:]}")

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def url(self) -> str:
        """The address as `HELIOGRAPH_REDIS_URL` takes it."""
        scheme = "redis" if self._port_word == "--port" else "rediss"
        return f"{scheme}://{f':{self.password}@' if self.password else ''}{self.host}:{self.port}"

    @property
    def pid(self) -> int:
        """The process, while it runs."""
        assert self._process is not None, "redis-server is not running"
        return self._process.pid

    def start(self) -> Self:
        """Run the server on its port and wait until it answers. Raises: ChildProcessError (it ended)."""
        command = [self._program, *self._words(), "--port", "0", self._port_word, str(self.port)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, preexec_fn=_die_with_parent
        )
        give_up_at = time.monotonic() + READY_LIMIT_S
        while not self._answers():
            if self._process.poll() is not None:
                self._process = None
                raise ChildProcessError("redis-server ended at its start")
            if time.monotonic() > give_up_at:
                self.kill()
                raise TimeoutError(f"redis-server did not answer within {READY_LIMIT_S} s")
            time.sleep(0.005)
        return self

    def kill(self) -> None:
        """SIGKILL: nothing is flushed, connections end by the kernel. Twice is harmless."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def stop(self) -> None:
        """SIGSTOP: connections stay open and nothing answers, until `cont`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def cont(self) -> None:
        """SIGCONT: go on, with all that was sent meanwhile."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def restart(self, *, empty: bool = False) -> None:
        """Kill it, drop its files if `empty`, and start it on the same port."""
        self.kill()
        if empty:
            for path in self.folder.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        self.start()

    def command(self, *words: str | bytes | int, limit_s: float = 30.0) -> Reply:
        """Do one command on a connection of its own. Raises: hiredis.ReplyError, OSError, TimeoutError."""
        reader = hiredis.Reader(replyError=hiredis.ReplyError)
        commands = [("AUTH", self.password)] if self.password else []
        with socket.socket(socket.AF_UNIX) as connection:  # ours for sure, whoever has the port
            connection.settimeout(limit_s)
            connection.connect(str(self.socket_path))
            connection.sendall(b"".join(hiredis.pack_command(each) for each in (*commands, words)))
            reply: Reply = None
            for _ in range(len(commands) + 1):
                reply = _read(connection, reader)
        return reply

    def clients(self) -> dict[str, int]:
        """The ids of the named connections by name, as CLIENT KILL ID takes them."""
        listed = self.command("CLIENT", "LIST")
        assert isinstance(listed, bytes)
        fields = [dict(word.split("=", 1) for word in line.split(" ")) for line in listed.decode().splitlines()]
        return {client["name"]: int(client["id"]) for client in fields if client["name"]}

    def _words(self) -> list[str]:
        return self._options

    def _answers(self) -> bool:
        try:
            return self.command("PING") == b"PONG"
        except (OSError, hiredis.ReplyError):
            return False


class Sentinel(RedisServer):
    """A server that watches a primary called `main` and makes its replica the primary when it is gone."""

    def __init__(self, folder: Path, primary: RedisServer, quorum: int = 2) -> None:
        super().__init__(folder)
        self._primary = primary
        self._quorum = quorum

    def _words(self) -> list[str]:
        address = f"{self._primary.host} {self._primary.port}"
        lines = [
            f"bind {self.host}",
            f"dir {self.folder}",
            f"logfile {self.folder / 'log'}",
            f"unixsocket {self.socket_path}",
            f"sentinel monitor main {address} {self._quorum}",
            "sentinel down-after-milliseconds main 1000",
            "sentinel failover-timeout main 5000",
            *([f"sentinel auth-pass main {self._primary.password}"] if self._primary.password else []),
        ]
        path = self.folder / "sentinel.conf"
        path.write_text("\n".join(lines))
        return [str(path), "--sentinel"]


class SentinelGroup:
    """A primary, a replica and three sentinels that know each other."""

    def __init__(self, primary: RedisServer, replica: RedisServer, sentinels: Sequence[Sentinel]) -> None:
        self.primary = primary
        self.replica = replica
        self.sentinels = sentinels

    @property
    def url(self) -> str:
        """The address as `HELIOGRAPH_REDIS_URL` takes it."""
        hosts = ",".join(f"{sentinel.host}:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://{hosts}/main"

    def primary_port(self) -> int:
        """Where the sentinels say the primary is."""
        reply = self.sentinels[0].command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main")
        assert isinstance(reply, list)
        assert isinstance(reply[1], bytes)
        return int(reply[1])

    def wait_for_primary(self, server: RedisServer, limit_s: float = FAILOVER_LIMIT_S) -> None:
        """Return when the sentinels say that `server` is the primary. Raises: TimeoutError."""
        _wait(lambda: self.primary_port() == server.port, limit_s)


@contextlib.contextmanager
def sentinel_group(folder: Path) -> Iterator[SentinelGroup]:
    """Run 1 + 1 servers and three sentinels that are ready to fail over."""
    with contextlib.ExitStack() as stack:
        primary = stack.enter_context(RedisServer(folder / "primary"))
        of_primary = ("--replicaof", f"{primary.host} {primary.port}", "--repl-diskless-sync-delay", "0")
        replica = stack.enter_context(RedisServer(folder / "replica", options=of_primary))
        sentinels = [stack.enter_context(Sentinel(folder / f"sentinel-{n}", primary)) for n in range(3)]
        for sentinel in sentinels:
            # One that stood still for 2 s does nothing for 30 s otherwise, and takes no replica that was alone for as
            # long: where a machine stalls in the moment of the fault, nobody would be the primary ever again.
            sentinel.command("SENTINEL", "DEBUG", "tilt-period", 1000)
        group = SentinelGroup(primary, replica, sentinels)
        _wait(lambda: all(_is_complete(sentinel) for sentinel in sentinels))
        yield group


class Cluster:
    """Three primaries that share the slots, and a replica of the one that has the slot of `topics`."""

    def __init__(self, primaries: Sequence[RedisServer], replica: RedisServer, owner: RedisServer) -> None:
        self.primaries = primaries
        self.replica = replica
        self.owner = owner

    @property
    def url(self) -> str:
        """The address as `HELIOGRAPH_REDIS_URL` takes it."""
        return "redis+cluster://" + ",".join(f"{server.host}:{server.port}" for server in self.primaries)


@contextlib.contextmanager
def redis_cluster(folder: Path, topics: str) -> Iterator[Cluster]:
    """Run a cluster whose primaries know each other and which is ready to fail over."""
    words = (
        *("--cluster-enabled", "yes", "--cluster-node-timeout", "1500", "--repl-diskless-sync-delay", "0"),
        *("--cluster-replica-validity-factor", "0"),  # else a cluster this young does not fail over
    )
    bounds = (0, 5461, 10_922, 16_384)
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(RedisServer(folder / str(n), options=words)) for n in range(4)]
        primaries, replica = servers[:3], servers[3]
        slot = primaries[0].command("CLUSTER", "KEYSLOT", topics)
        assert isinstance(slot, int)
        for number, server in enumerate(primaries):
            server.command("CLUSTER", "ADDSLOTSRANGE", bounds[number], bounds[number + 1] - 1)
            server.command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for server in servers[1:]:
            server.command("CLUSTER", "MEET", primaries[0].host, primaries[0].port)
        owner = next(server for server, end in zip(primaries, bounds[1:], strict=True) if slot < end)
        _wait(lambda: all(_knows(server, b"cluster_known_nodes:4") for server in servers))
        owner_id = owner.command("CLUSTER", "MYID")
        assert isinstance(owner_id, bytes)
        replica.command("CLUSTER", "REPLICATE", owner_id)
        _wait(lambda: all(_knows(server, b"cluster_state:ok") for server in servers))
        _wait(lambda: b"master_link_status:up" in str(replica.command("INFO", "replication")).encode())
        yield Cluster(primaries, replica, owner)


def _knows(server: RedisServer, words: bytes) -> bool:
    reply = server.command("CLUSTER", "INFO")
    return isinstance(reply, bytes) and words in reply


def _wait(is_so: Callable[[], bool], limit_s: float = 60.0) -> None:
    give_up_at = time.monotonic() + limit_s
    while not is_so():
        if time.monotonic() > give_up_at:
            raise TimeoutError("the servers do not agree")
        time.sleep(0.02)


def _is_complete(sentinel: Sentinel) -> bool:
    reply = sentinel.command("SENTINEL", "MASTER", "main")
    assert isinstance(reply, list)
    fields = dict(zip(reply[::2], reply[1::2], strict=True))
    return fields[b"num-other-sentinels"] == b"2" and fields[b"num-slaves"] == b"1"


def _read(connection: socket.socket, reader: hiredis.Reader) -> Reply:
    while (reply := reader.gets()) is False:
        data = connection.recv(65_536)
        if not data:
            raise ConnectionResetError("redis-server closed the connection")
        reader.feed(data)
    if isinstance(reply, hiredis.ReplyError):
        raise reply
    return reply


def _die_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
