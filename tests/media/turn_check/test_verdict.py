import msgspec
import pytest

from media.turn.address import pack
from media.turn_check import verdict
from media.turn_check.uri import Way
from media.turn_check.verdict import Asked, LinkError, Trouble

UDP = Asked("example.org", "192.0.2.7", 3478, Way.UDP)
TCP, TLS, DTLS = (msgspec.structs.replace(UDP, way=way) for way in (Way.TCP, Way.TLS, Way.DTLS))
NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("trouble", "asked", "step", "cause", "fix"),
    [
        (Trouble.SILENT, UDP, "reach", "firewall drops UDP port 3478", "-p 3478:3478/udp"),
        (Trouble.SILENT, TCP, "reach", "firewall drops TCP port 3478", "-p 3478:3478/tcp"),
        (Trouble.SILENT, TCP, "stun", "no STUN server answers", "proxy leads to it"),
        (Trouble.SILENT, TLS, "tls", "does not answer the TLS handshake", "turn:example.org:3478?transport=tcp"),
        (Trouble.SILENT, DTLS, "tls", "answers a DTLS handshake", "turn:example.org:3478?transport=udp"),
        (Trouble.SILENT, UDP, "challenge", "STUN but not TURN", "TURN server"),
        (Trouble.REFUSED, TLS, "reach", "Nothing listens on TCP port 3478", "Start the server"),
        (Trouble.UNREACHABLE, UDP, "reach", "no route", "Check the address"),
        (Trouble.TLS, TLS, "tls", "does not speak TLS", "turn:example.org:3478?transport=tcp"),
        (Trouble.CLOSED, TLS, "tls", "it has no certificate", "turn:example.org:3478?transport=tcp"),
        (Trouble.CLOSED, TCP, "stun", "Something else", "turns:example.org:3478"),
        (Trouble.NOT_STUN, TLS, "stun", "Something else", "Check the port."),
    ],
)
def test_a_connection_fails_for_the_usual_cause(
    trouble: Trouble, asked: Asked, step: str, cause: str, fix: str
) -> None:
    advice = verdict.unreached(LinkError(trouble), asked, step)
    assert cause in advice.cause
    assert fix in advice.fix


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        (10, "has expired"),
        (9, "not valid yet"),
        (62, "not for example.org"),
        (64, "not for example.org"),
        (19, "trusts"),
    ],
)
def test_a_certificate_is_refused_for_a_reason(code: int, cause: str) -> None:
    error = LinkError(Trouble.CERTIFICATE, "bad", code)
    assert cause in verdict.unreached(error, TLS, "tls").cause
    assert str(error) == "bad"


@pytest.mark.parametrize(
    ("username", "cause"),
    [
        (f"{NOW - 30:.0f}:x", "expired 30 s ago"),
        (f"{NOW - 3000:.0f}:x", "expired 50 min ago"),
        (f"{NOW - 30000:.0f}", "expired 8 h ago"),
        ("1600000000:x", "expired 2315 days ago"),
        (f"{NOW + 60:.0f}:x", "clock is ahead (the credential lasts 60 s)"),
        ("somebody", "wrong in the realm example.org"),
    ],
)
def test_a_401_looks_at_the_end_of_the_credential(username: str, cause: str) -> None:
    assert cause in verdict.refused(401, username, NOW, "example.org").cause


def test_each_refusal_has_a_cause_and_a_fix() -> None:
    for code in (300, 400, 403, 437, 438, 440, 441, 442, 486, 500, 508, 699):
        advice = verdict.refused(code, "x", NOW, "")
        assert advice.cause
        assert advice.fix
    assert "--turn-allocations-per-channel" in verdict.refused(486, "x", NOW, "").fix
    assert "--turn-min-port" in verdict.refused(508, "x", NOW, "").fix


@pytest.mark.parametrize(
    ("relayed", "asked", "cause"),
    [
        ("127.0.0.1", "192.168.1.7", "only programs on its own machine"),
        ("0.0.0.0", "8.8.8.8", "this-network"),
        ("172.17.0.2", "8.8.8.8", "behind NAT, or in a container"),
        ("fd00::2", "2600::1", "unique-local"),
        ("127.0.0.1", "127.0.0.1", None),
        ("192.168.1.7", "10.0.0.1", None),
        ("8.8.8.8", "8.8.4.4", None),
        ("8.8.8.8", "10.0.0.1", None),
    ],
)
def test_a_relayed_address_that_nobody_reaches_is_told(relayed: str, asked: str, cause: str | None) -> None:
    advice = verdict.misplaced(pack(relayed), pack(asked))
    assert (advice is None) is (cause is None)
    if advice is not None:
        assert cause in advice.cause
        assert "--turn-advertised-address" in advice.fix


def test_another_address_than_the_asked_one_is_worth_a_note() -> None:
    assert "8.8.4.4" in verdict.other_address(pack("8.8.8.8"), pack("8.8.4.4"))
    for same in ("8.8.8.8", "2600::1", "10.0.0.1", "127.0.0.1"):
        assert verdict.other_address(pack("8.8.8.8"), pack(same)) == ""


def test_a_server_that_does_not_see_its_clients_is_told() -> None:
    assert "172.17.0.1 (private)" in verdict.hidden_source(pack("172.17.0.1"), pack("8.8.8.8"))
    assert verdict.hidden_source(pack("8.8.4.4"), pack("8.8.8.8")) == ""
    assert verdict.hidden_source(pack("10.0.0.2"), pack("10.0.0.1")) == ""


def test_closed_ports_are_no_failure_from_inside() -> None:
    assert "49160" in verdict.closed_ports(49160, is_from_inside=False).cause
    assert "another network" in verdict.closed_ports(49160, is_from_inside=True).fix
    assert verdict.is_from_inside(pack("8.8.8.8"), pack("10.0.0.1"))


@pytest.mark.parametrize(
    ("host", "is_named"),
    [
        ("a.example.org", True),
        ("A.Example.ORG", True),
        ("b.wild.example", True),
        ("c.b.wild.example", False),
        ("wild.example", False),
        ("192.0.2.7", True),
        ("192.0.2.8", False),
        ("org", False),
    ],
)
def test_a_certificate_is_for_the_names_it_has(host: str, is_named: bool) -> None:
    assert verdict.is_named(("a.example.org", "*.wild.example", "192.0.2.7", "*.0.2.8"), host) is is_named


def test_the_refusal_of_a_relay_as_a_peer_names_it() -> None:
    assert "10.0.0.1" in verdict.peer_refused("10.0.0.1").cause
    assert verdict.shown(("::1", 1, 0, 0)) == "[::1]:1"
