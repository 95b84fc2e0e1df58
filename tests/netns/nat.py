"""Kinds of NAT as nftables rules. The outer interface is called `wan`."""

import enum


class Nat(enum.Enum):
    """How a router treats UDP; the value is its name in tables."""

    PORT_RESTRICTED = "port-restricted"
    SYMMETRIC = "symmetric"
    FULL_CONE = "full cone"
    UDP_BLOCKED = "UDP blocked"


# A packet that nobody asked for must not reach the router itself: it would make a conntrack entry there, which takes
# the port and breaks the hole punching that works on real routers.
_INPUT = 'iifname "wan" ct state new drop'


def rules(kind: Nat, host: str) -> str:
    """Return the whole ruleset of a router in front of `host`; IPv6 is filtered the same way and not translated."""
    forward = "" if kind is Nat.FULL_CONE else _INPUT
    if kind is Nat.UDP_BLOCKED:
        forward += "; meta l4proto udp drop"
    masquerade = "masquerade random,fully-random" if kind is Nat.SYMMETRIC else "masquerade"
    prerouting = f'iifname "wan" meta l4proto udp dnat to {host}' if kind is Nat.FULL_CONE else ""
    return f"""
flush ruleset
table inet filter {{
  chain input {{ type filter hook input priority 0; {_INPUT}; }}
  chain forward {{ type filter hook forward priority 0; {forward}; }}
}}
table ip nat {{
  chain prerouting {{ type nat hook prerouting priority -100; {prerouting}; }}
  chain postrouting {{ type nat hook postrouting priority 100; oifname "wan" {masquerade}; }}
}}
"""
