"""Five network namespaces: two hosts, a NAT before each, and the public network between. The host's own is untouched.

hosta 10.0.1.2 -- 10.0.1.1 nata 203.0.113.21 --+
                                               +-- br0 in pub: 203.0.113.1 and .11
hostb 10.0.2.2 -- 10.0.2.1 natb 203.0.113.22 --+

IPv6 is routed and filtered, not translated: hosts 2001:db8:1::2 and 2001:db8:2::2, pub 2001:db8:113::1.
"""

import contextlib
import ctypes
import os
import secrets
import socket
import struct
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.netns.nat import Nat, rules
from tests.programs import require

HOST_A, NAT_A, PUB, NAT_B, HOST_B = PARTS = ("hosta", "nata", "pub", "natb", "hostb")
PUBLIC, PUBLIC_BESIDES, PUBLIC_V6 = "203.0.113.1", "203.0.113.11", "2001:db8:113::1"
WAN = {NAT_A: "203.0.113.21", NAT_B: "203.0.113.22"}
HOSTS = {HOST_A: "10.0.1.2", HOST_B: "10.0.2.2"}
HOSTS_V6 = {HOST_A: "2001:db8:1::2", HOST_B: "2001:db8:2::2"}
_BEHIND = {NAT_A: HOST_A, NAT_B: HOST_B}

_CLONE_NEWNET = 0x40000000
_NETLINK_NETFILTER, _DELETE_CONNTRACK, _REQUEST_AND_ACKNOWLEDGE = 12, (1 << 8) | 2, 0x1 | 0x4
_CAP_NET_ADMIN, _CAP_SYS_ADMIN = 12, 21
_SO_RCVBUFFORCE = 33
_libc = ctypes.CDLL(None, use_errno=True)

_PUB = """
link set lo up
link add br0 type bridge mcast_snooping 0
link set br0 up
link set wana master br0 up
link set wanb master br0 up
addr add 203.0.113.1/24 brd + dev br0
addr add 203.0.113.11/24 dev br0
addr add 2001:db8:113::1/64 dev br0 nodad
route add 2001:db8:1::/64 via 2001:db8:113::21
route add 2001:db8:2::/64 via 2001:db8:113::22
"""
# The next hop is nobody: what has no other way is lost in silence, as on the Internet, where without a route the
# sender would be told at once.
_DEFAULT = """
neigh add 203.0.113.254 lladdr 02:00:00:00:00:01 dev {device}
route add default via 203.0.113.254 dev {device}
neigh add 2001:db8:113::fe lladdr 02:00:00:00:00:01 dev {device}
route add default via 2001:db8:113::fe dev {device}
"""
_NAT = """
link add wan type veth peer name wan{letter} netns {pub}
link add lan type veth peer name eth0 netns {host}
link set lo up
link set wan up
link set lan up
addr add 203.0.113.2{number}/24 brd + dev wan
addr add 10.0.{number}.1/24 dev lan
addr add 2001:db8:113::2{number}/64 dev wan nodad
addr add 2001:db8:{number}::1/64 dev lan nodad
"""
_HOST = """
link set lo up
link set eth0 up
addr add 10.0.{number}.2/24 dev eth0
addr add 2001:db8:{number}::2/64 dev eth0 nodad
route add default via 10.0.{number}.1
route add default via 2001:db8:{number}::1
"""


class Lab:
    """The namespaces of one run, with names of their own; both NATs are port-restricted until told otherwise."""

    def __init__(self, *, has_default_route: bool = True) -> None:
        self.prefix = f"heliograph-{secrets.token_hex(4)}-"
        self._has_default_route = has_default_route

    def name(self, part: str) -> str:
        """Return the name of a namespace."""
        return self.prefix + part

    def within(self, part: str) -> tuple[str, ...]:
        """Return the words before a command that make it run in a namespace, as the same process."""
        return ("ip", "netns", "exec", self.name(part))

    def build(self) -> None:
        """Make the namespaces, their links, addresses and routes."""
        _call(("ip", "-batch", "-"), "".join(f"netns add {self.name(part)}\n" for part in PARTS))
        for number, (nat, host) in enumerate(_BEHIND.items(), 1):
            words = {"number": number, "letter": nat[-1], "pub": self.name(PUB), "host": self.name(host)}
            self.configure(nat, _NAT.format(**words) + _DEFAULT.format(device="wan"))
            self.configure(host, _HOST.format(**words))
            with self.entered(nat):
                for family in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
                    Path(f"/proc/sys/net/{family}").write_text("1")
            self.set_nat(nat, Nat.PORT_RESTRICTED)
        self.configure(PUB, _PUB + (_DEFAULT.format(device="br0") if self._has_default_route else ""))

    def remove(self) -> None:
        """Remove what was made of the namespaces; what is in them goes with them."""
        made = [name for name in map(self.name, PARTS) if (Path("/run/netns") / name).exists()]
        _call(("ip", "-batch", "-"), "".join(f"netns del {name}\n" for name in made))

    def configure(self, part: str, lines: str) -> None:
        """Run lines of `ip` in a namespace."""
        _call(("ip", "-n", self.name(part), "-batch", "-"), lines)

    def set_nat(self, part: str, kind: Nat) -> None:
        """Make a NAT of this kind, which knows of no connection."""
        self.filter(part, rules(kind, HOSTS[_BEHIND[part]]))
        self.forget_connections(part)

    def filter(self, part: str, ruleset: str) -> None:
        """Load rules of nftables in a namespace."""
        _call((*self.within(part), "nft", "-f", "-"), ruleset)

    def forget_connections(self, part: str) -> None:
        """Forget all mappings of a NAT, as when a router restarts (ctnetlink: IPCTNL_MSG_CT_DELETE of all)."""
        with self.entered(part), socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER) as handle:
            handle.settimeout(5)
            handle.send(struct.pack("=IHHIIBBH", 20, _DELETE_CONNTRACK, _REQUEST_AND_ACKNOWLEDGE, 0, 0, 0, 0, 0))
            (error,) = struct.unpack_from("=i", handle.recv(4096), 16)
        assert error == 0, os.strerror(-error)

    @contextlib.contextmanager
    def udp(self, part: str, host: str, port: int = 0) -> Iterator[socket.socket]:
        """Open a UDP socket in a namespace; whoever waits for it longer than 5 s gets TimeoutError."""
        with self.entered(part):
            handle = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        with handle:
            handle.settimeout(5)
            handle.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 4 << 20)  # nothing is lost that is read late
            handle.bind((host, port))
            yield handle

    @contextlib.contextmanager
    def entered(self, part: str) -> Iterator[None]:
        """Put this thread into a namespace while the block, which never awaits, runs; sockets made in it stay there."""
        with Path("/proc/thread-self/ns/net").open() as own, (Path("/run/netns") / self.name(part)).open() as other:
            _enter(other.fileno())
            try:
                yield
            finally:
                _enter(own.fileno())


@contextlib.contextmanager
def laboratory(*, has_default_route: bool = True) -> Iterator[Lab]:
    """Build a lab and remove it when the block ends; skips where it cannot be."""
    for program in ("ip", "nft"):
        require(program)
    if not may_make_namespaces():
        pytest.skip("network namespaces need root (CAP_SYS_ADMIN and CAP_NET_ADMIN)")
    lab = Lab(has_default_route=has_default_route)
    try:
        lab.build()
        yield lab
    finally:
        lab.remove()


def may_make_namespaces() -> bool:
    """Tell whether this process has the rights of root that the lab needs."""
    status = Path("/proc/self/status").read_text()
    effective = int(status.partition("CapEff:")[2].split()[0], 16)
    return all(effective >> number & 1 for number in (_CAP_NET_ADMIN, _CAP_SYS_ADMIN))


def _enter(descriptor: int) -> None:
    if _libc.setns(descriptor, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _call(command: Sequence[str], lines: str) -> None:
    done = subprocess.run(command, input=lines, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}\n{lines}"
