"""What the RFCs ask for, request by request: method x attribute x state -> code and attributes of the answer."""

from collections.abc import Callable

from media.turn import stun
from tests.media.turn.request_row import Peer, Row, Signing, State, Value

NONE, OWN, DUAL, BOUND, OTHERS = State.NONE, State.OWN, State.DUAL, State.BOUND, State.OTHERS

UDP = (stun.REQUESTED_TRANSPORT, b"\x11\0\0\0")
PEER = (stun.XOR_PEER_ADDRESS, Peer("peer"))
OTHER_PEER = (stun.XOR_PEER_ADDRESS, Peer("other"))
PEER_V6 = (stun.XOR_PEER_ADDRESS, Peer("IPv6"))
FORBIDDEN = (stun.XOR_PEER_ADDRESS, Peer("forbidden"))
PORT_ZERO = (stun.XOR_PEER_ADDRESS, Peer("peer", 0))
SHORT_PEER = (stun.XOR_PEER_ADDRESS, b"\0\1\x23\x45")
LONG_PEER = (stun.XOR_PEER_ADDRESS, b"\0\1" + bytes(18))
ODD_PEER = (stun.XOR_PEER_ADDRESS, b"\0\3" + bytes(6))
UNKNOWN, OPTIONAL = (0x7ABC, b""), (0x8ABC, b"xyz")
MOBILITY = (stun.MOBILITY_TICKET, b"")


def lifetime(seconds: int) -> tuple[int, bytes]:
    return stun.LIFETIME, seconds.to_bytes(4)


def number(channel: int, rest: bytes = bytes(2)) -> tuple[int, bytes]:
    return stun.CHANNEL_NUMBER, channel.to_bytes(2) + rest


def family(value: int, attribute: int = stun.REQUESTED_ADDRESS_FAMILY) -> tuple[int, bytes]:
    return attribute, bytes((value, 0, 0, 0))


def both(value: int = 2) -> tuple[int, bytes]:
    return family(value, stun.ADDITIONAL_ADDRESS_FAMILY)


def even(value: int) -> tuple[int, bytes]:
    return stun.EVEN_PORT, bytes((value,))


def of_method(method: int) -> Callable[..., Row]:
    """Return a maker of rows: name, section, code, attributes, and the fields that are unusual."""

    def row(name: str, section: str, code: int | None, *attributes: tuple[int, Value], **fields: object) -> Row:
        verb = {stun.BINDING: "Binding", stun.ALLOCATE: "Allocate", stun.REFRESH: "Refresh", stun.SEND: "Send"}.get(
            method
        )
        verb = verb or {stun.CREATE_PERMISSION: "CreatePermission", stun.CHANNEL_BIND: "ChannelBind"}.get(
            method, "method"
        )
        return Row(f"{verb}: {name}", section, code, method, attributes, **fields)  # type: ignore[arg-type]

    return row


binding, allocate, refresh = of_method(stun.BINDING), of_method(stun.ALLOCATE), of_method(stun.REFRESH)
permission, bind, send = of_method(stun.CREATE_PERMISSION), of_method(stun.CHANNEL_BIND), of_method(stun.SEND)
data, unassigned = of_method(stun.DATA_METHOD), of_method(0x0FE)

_UNSIGNED = {"signing": Signing.NONE}
_BAD_FINGERPRINT = {"has_fingerprint": True, "mangle": lambda datagram: datagram[:-1] + bytes((datagram[-1] ^ 1,))}

BINDING_ROWS = [
    binding("plain", "8489, 6.3.1", 0, **_UNSIGNED),
    binding("with FINGERPRINT", "8489, 14.7", 0, **_UNSIGNED, has_fingerprint=True),
    binding("optional attribute unknown", "8489, 14", 0, OPTIONAL, **_UNSIGNED),
    binding("required attribute unknown", "8489, 6.3.1", 420, UNKNOWN, **_UNSIGNED, values=((10, b"\x7a\xbc"),)),
    binding(
        "two unknown",
        "8489, 14.13",
        420,
        UNKNOWN,
        (0x7ABD, b"x"),
        UNKNOWN,
        **_UNSIGNED,
        values=((10, b"\x7a\xbc\x7a\xbd"),),
    ),
    binding("unknown, with FINGERPRINT", "8489, 14.7", 420, UNKNOWN, **_UNSIGNED, has_fingerprint=True),
    binding("CHANGE-REQUEST", "5780, 7.2 is not offered", 420, (stun.CHANGE_REQUEST, bytes(4)), **_UNSIGNED),
    binding("PADDING", "5780, 7.6 is not offered", 420, (stun.PADDING, bytes(64)), **_UNSIGNED),
    binding("RESPONSE-PORT", "5780, 7.5 is not offered", 420, (stun.RESPONSE_PORT, bytes(4)), **_UNSIGNED),
    binding("known attribute out of place", "8489, 6.3", 0, lifetime(600), **_UNSIGNED),
    binding("unknown behind the integrity", "8489, 14.5", 0, after=(UNKNOWN,)),
    binding("signed by nobody known", "8489, 9", 0, signing=Signing.UNKNOWN_USER),
    binding("the server drains", "8489, 6.3.1", 0, **_UNSIGNED, state=State.DRAINING),
    binding("indication", "8489, 6.3.2", None, **_UNSIGNED, kind=stun.INDICATION),
    binding("success response", "8489, 6.3.3", None, **_UNSIGNED, kind=stun.SUCCESS),
    binding("error response", "8489, 6.3.4", None, **_UNSIGNED, kind=stun.ERROR),
    binding("wrong FINGERPRINT", "8489, 6.3", None, **_UNSIGNED, **_BAD_FINGERPRINT),
    binding("wrong cookie", "8489, 6.3", None, **_UNSIGNED, mangle=lambda datagram: datagram[:7] + b"C" + datagram[8:]),
    binding("first bits not zero", "8489, 6.3", None, **_UNSIGNED, mangle=lambda datagram: b"\x80" + datagram[1:]),
    binding("longer than it says", "8489, 6.3", None, **_UNSIGNED, mangle=lambda datagram: datagram + bytes(4)),
    binding("shorter than it says", "8489, 6.3", None, OPTIONAL, **_UNSIGNED, mangle=lambda datagram: datagram[:-4]),
    binding(
        "length no multiple of 4", "8489, 5", None, **_UNSIGNED, mangle=lambda raw: raw[:3] + b"\2" + raw[4:] + b"ab"
    ),
    binding("header cut", "8489, 6.3", None, **_UNSIGNED, mangle=lambda datagram: datagram[:19]),
    binding(
        "attribute beyond the end",
        "8489, 14",
        None,
        OPTIONAL,
        **_UNSIGNED,
        mangle=lambda raw: raw[:23] + b"\x08" + raw[24:],
    ),
    unassigned("method unassigned", "8489, 6.3", None),
    data("Data as a request", "8489, 6.3", None, PEER, state=OWN),
    send("as a request", "8489, 6.3", None, PEER, (stun.DATA, b"x"), state=OWN),
]

SIGNING_ROWS = [
    allocate("not signed", "8489, 9.2.4", 401, UDP, **_UNSIGNED),
    allocate("not signed, no transport", "8656, 7.2 (1)", 401, **_UNSIGNED, lacks=(), has_fingerprint=True),
    allocate("not signed, unknown attribute", "8489, 9.2.4 before 6.3.1", 401, UDP, UNKNOWN, **_UNSIGNED),
    allocate("RFC 5389", "8489, 9.2.4", 0, UDP),
    allocate("RFC 5389, FINGERPRINT", "8489, 14.7", 0, UDP, has_fingerprint=True),
    allocate("RFC 8489", "8489, 9.2.4", 0, UDP, signing=Signing.SHA256),
    allocate("RFC 8489, MD5 chosen", "8489, 9.2.4", 0, UDP, signing=Signing.SHA256_MD5),
    allocate("SHA-256 decides", "8489, 9.2.4", 0, UDP, signing=Signing.BOTH),
    allocate("SHA-256 decides against", "8489, 9.2.4", 401, UDP, signing=Signing.BOTH_WRONG),
    allocate("SHA-256 cut short", "8489, 14.6", 400, UDP, signing=Signing.TRUNCATED),
    allocate("wrong password", "8489, 9.2.4", 401, UDP, signing=Signing.WRONG),
    allocate("wrong password, SHA-256", "8489, 9.2.4", 401, UDP, signing=Signing.WRONG_SHA256),
    allocate("unknown user", "8489, 9.2.4", 401, UDP, signing=Signing.UNKNOWN_USER),
    allocate("USERHASH not offered", "8489, 9.2.4", 401, UDP, signing=Signing.USERHASH),
    allocate("no USERNAME", "8489, 9.2.4", 400, UDP, signing=Signing.NO_USERNAME),
    allocate("no REALM", "8489, 9.2.4", 400, UDP, signing=Signing.NO_REALM),
    allocate("no NONCE", "8489, 9.2.4", 400, UDP, signing=Signing.NO_NONCE),
    allocate("empty USERNAME", "8489, 14.3", 400, UDP, signing=Signing.EMPTY_NAME),
    allocate("USERNAME no UTF-8", "8489, 14.3", 400, UDP, signing=Signing.BAD_NAME),
    allocate("stale nonce", "8489, 9.2.4", 438, UDP, signing=Signing.STALE),
    allocate("nonce of another client", "8489, 9.2.4", 438, UDP, signing=Signing.FOREIGN),
    allocate("cookie changed", "8489, 9.2.1", 438, UDP, signing=Signing.CUT_COOKIE),
    allocate("offer not repeated", "8489, 9.2.4", 400, UDP, signing=Signing.NO_OFFER),
    allocate("no choice", "8489, 9.2.4", 400, UDP, signing=Signing.NO_CHOICE),
    allocate("another offer", "8489, 9.2.4", 400, UDP, signing=Signing.OTHER_OFFER),
    allocate("choice not offered", "8489, 9.2.4", 400, UDP, signing=Signing.OTHER_CHOICE),
    allocate("credential expired", "8489, 9.2.4", 401, UDP, state=State.EXPIRED),
    refresh("credential expired since", "spec/turn.md, 3", 0, state=State.EXPIRED_OWN, is_core_only=True),
    permission("credential expired since", "spec/turn.md, 3", 0, PEER, state=State.EXPIRED_OWN, is_core_only=True),
    allocate("transport behind the integrity", "8489, 14.5", 400, after=(UDP,)),
]

ALLOCATE_ROWS = [
    allocate("plain", "8656, 7.2", 0, UDP, lacks=(stun.RESERVATION_TOKEN,), values=(lifetime(600),)),
    allocate("no transport", "8656, 7.2 (3)", 400),
    allocate("transport short", "8656, 7.2 (3)", 400, (stun.REQUESTED_TRANSPORT, b"\x11\0\0")),
    allocate("transport long", "8656, 7.2 (3)", 400, (stun.REQUESTED_TRANSPORT, b"\x11\0\0\0\0")),
    allocate("transport TCP", "8656, 7.2 (3)", 442, (stun.REQUESTED_TRANSPORT, b"\x06\0\0\0")),
    allocate("transport SCTP", "8656, 7.2 (3)", 442, (stun.REQUESTED_TRANSPORT, b"\x84\0\0\0")),
    allocate("transport 0", "8656, 7.2 (3)", 442, (stun.REQUESTED_TRANSPORT, bytes(4))),
    allocate("transport with reserved bits", "8656, 18.8", 0, (stun.REQUESTED_TRANSPORT, b"\x11\1\2\3")),
    allocate("transport UDP, then TCP", "8489, 14", 0, UDP, (stun.REQUESTED_TRANSPORT, b"\x06\0\0\0")),
    allocate("transport TCP, then UDP", "8489, 14", 442, (stun.REQUESTED_TRANSPORT, b"\x06\0\0\0"), UDP),
    allocate("required attribute unknown", "8489, 6.3.1", 420, UDP, UNKNOWN, values=((10, b"\x7a\xbc"),)),
    allocate("optional attribute unknown", "8489, 14", 0, UDP, OPTIONAL),
    allocate("known attribute out of place", "8489, 6.3", 0, UDP, PEER),
    allocate("mobility not offered", "8016, 3.1", 0, UDP, MOBILITY, lacks=(stun.MOBILITY_TICKET,)),
    allocate("DONT-FRAGMENT", "8656, 7.2 (4)", 0, UDP, (stun.DONT_FRAGMENT, b"")),
    allocate("DONT-FRAGMENT long", "8656, 18.9", 400, UDP, (stun.DONT_FRAGMENT, bytes(4))),
    allocate("LIFETIME 0", "8656, 7.2", 0, UDP, lifetime(0), values=(lifetime(600),)),
    allocate("LIFETIME 1", "8656, 7.2", 0, UDP, lifetime(1), values=(lifetime(600),)),
    allocate("LIFETIME 1800", "8656, 7.2", 0, UDP, lifetime(1800), values=(lifetime(1800),)),
    allocate("LIFETIME of 136 years", "8656, 7.2", 0, UDP, lifetime(2**32 - 1), values=(lifetime(3600),)),
    allocate("LIFETIME twice", "8489, 14", 0, UDP, lifetime(1200), lifetime(1800), values=(lifetime(1200),)),
    allocate("LIFETIME short", "8656, 18.2", 400, UDP, (stun.LIFETIME, bytes(3))),
    allocate("LIFETIME long", "8656, 18.2", 400, UDP, (stun.LIFETIME, bytes(8))),
    allocate("EVEN-PORT", "8656, 7.2 (8)", 0, UDP, even(0), lacks=(stun.RESERVATION_TOKEN,)),
    allocate("EVEN-PORT with the next", "8656, 7.2", 0, UDP, even(0x80), needs=(stun.RESERVATION_TOKEN,)),
    allocate("EVEN-PORT empty", "8656, 18.7", 400, UDP, (stun.EVEN_PORT, b"")),
    allocate("EVEN-PORT long", "8656, 18.7", 400, UDP, (stun.EVEN_PORT, b"\x80\0")),
    allocate("token unknown", "8656, 7.2 (5)", 508, UDP, (stun.RESERVATION_TOKEN, bytes(8))),
    allocate("token short", "8656, 18.10", 400, UDP, (stun.RESERVATION_TOKEN, bytes(7))),
    allocate("token long", "8656, 18.10", 400, UDP, (stun.RESERVATION_TOKEN, bytes(9))),
    allocate("token and EVEN-PORT", "8656, 7.2 (5)", 400, UDP, (stun.RESERVATION_TOKEN, bytes(8)), even(0)),
    allocate("token and family", "8656, 7.2 (5)", 400, UDP, (stun.RESERVATION_TOKEN, bytes(8)), family(1)),
    allocate("token and both families", "8656, 7.2 (5)", 400, UDP, (stun.RESERVATION_TOKEN, bytes(8)), both()),
    allocate("IPv4", "8656, 7.2 (7)", 0, UDP, family(1)),
    allocate("IPv6", "8656, 7.2 (7)", 0, UDP, family(2)),
    allocate("family 3", "8656, 7.2 (7)", 440, UDP, family(3)),
    allocate("family short", "8656, 18.6", 400, UDP, (stun.REQUESTED_ADDRESS_FAMILY, b"\1")),
    allocate("family long", "8656, 18.6", 400, UDP, (stun.REQUESTED_ADDRESS_FAMILY, b"\1" + bytes(7))),
    allocate("family IPv4, then 3", "8489, 14", 0, UDP, family(1), family(3)),
    allocate("both families", "8656, 7.2 (9)", 0, UDP, both(), lacks=(stun.ADDRESS_ERROR_CODE,)),
    allocate("both families by IPv4", "8656, 7.2 (9)", 400, UDP, both(1)),
    allocate("both families, short", "8656, 18.11", 400, UDP, (stun.ADDITIONAL_ADDRESS_FAMILY, b"\2")),
    allocate("both families and one", "8656, 7.2 (6)", 400, UDP, both(), family(2)),
    allocate("both families and a pair", "8656, 7.2 (8)", 400, UDP, both(), even(0x80)),
    allocate("both families, even", "8656, 7.2 (8)", 0, UDP, both(), even(0)),
    allocate("5-tuple in use", "8656, 7.2 (2)", 437, UDP, state=OWN),
    allocate("5-tuple in use, no transport", "8656, 7.2 (2) before (3)", 437, state=OWN),
    allocate("5-tuple in use by another", "8656, 7.2 (2)", 437, UDP, state=OTHERS),
    allocate("5-tuple in use, unknown attribute", "8489, 6.3.1 before 8656, 7.2", 420, UDP, UNKNOWN, state=OWN),
    allocate("5-tuple in use, not signed", "8656, 7.2 (1) before (2)", 401, UDP, state=OWN, signing=Signing.NONE),
    allocate("5-tuple in use, wrong password", "8656, 7.2 (1)", 401, UDP, state=OWN, signing=Signing.WRONG),
    allocate("5-tuple in use, RFC 8489", "8489, 9.2.4", 437, UDP, state=OWN, signing=Signing.SHA256),
    allocate("repeated", "8489, 6.3.1", 0, UDP, is_repeated=True),
    allocate("the server drains", "spec/turn.md, 6", 508, UDP, state=State.DRAINING),
    allocate(
        "the server names another",
        "8489, 10",
        300,
        UDP,
        state=State.REDIRECTING,
        needs=(stun.ALTERNATE_SERVER,),
    ),
    allocate("quota reached", "8656, 7.2 (10)", 486, UDP, state=State.QUOTA),
    allocate("no port free", "8656, 7.2 (8)", 508, UDP, state=State.FULL),
]

REFRESH_ROWS = [
    refresh("plain", "8656, 8.2", 0, state=OWN, values=(lifetime(600),)),
    refresh("LIFETIME 0", "8656, 8.2", 0, lifetime(0), state=OWN, values=(lifetime(0),)),
    refresh("LIFETIME 1", "8656, 8.2", 0, lifetime(1), state=OWN, values=(lifetime(600),)),
    refresh("LIFETIME 1800", "8656, 8.2", 0, lifetime(1800), state=OWN, values=(lifetime(1800),)),
    refresh("LIFETIME of 136 years", "8656, 8.2", 0, lifetime(2**32 - 1), state=OWN, values=(lifetime(3600),)),
    refresh("LIFETIME short", "8656, 18.2", 400, (stun.LIFETIME, b"\0"), state=OWN),
    refresh("LIFETIME long", "8656, 18.2", 400, (stun.LIFETIME, bytes(8)), state=OWN),
    refresh("its family", "8656, 8.2", 0, family(1), state=OWN),
    refresh("another family", "8656, 8.2", 443, family(2), state=OWN),
    refresh("family 3", "8656, 8.2", 443, family(3), state=OWN),
    refresh("family short", "8656, 18.6", 400, (stun.REQUESTED_ADDRESS_FAMILY, b"\1"), state=OWN),
    refresh("one family of two", "8656, 8.1", 0, family(2), lifetime(0), state=DUAL, values=(lifetime(0),)),
    refresh("both families", "8656, 8.1", 0, state=DUAL, values=(lifetime(600),)),
    refresh("mobility not offered", "8016, 3.2", 0, MOBILITY, state=OWN, lacks=(stun.MOBILITY_TICKET,)),
    refresh("RFC 8489", "8489, 9.2.4", 0, state=OWN, signing=Signing.SHA256),
    refresh("no allocation", "8656, 5", 437),
    refresh("no allocation, LIFETIME 0", "8656, 8.3", 437, lifetime(0)),
    refresh("no allocation, not signed", "8489, 9.2.4", 401, (stun.LIFETIME, bytes(4)), signing=Signing.NONE),
    refresh("of another", "8656, 5", 441, state=OTHERS),
    refresh("not signed", "8489, 9.2.4", 401, lifetime(0), state=OWN, signing=Signing.NONE),
    refresh("wrong password", "8489, 9.2.4", 401, lifetime(0), state=OWN, signing=Signing.WRONG),
    refresh("stale nonce", "8489, 9.2.4", 438, state=OWN, signing=Signing.STALE),
    refresh("required attribute unknown", "8489, 6.3.1", 420, UNKNOWN, state=OWN, values=((10, b"\x7a\xbc"),)),
    refresh("the server drains", "spec/turn.md, 6", 0, state=State.DRAINING_OWN),
]

PERMISSION_ROWS = [
    permission("plain", "8656, 10.2", 0, PEER, state=OWN),
    permission("two peers", "8656, 10.2", 0, PEER, OTHER_PEER, state=OWN),
    permission("the same peer twice", "8656, 10.2", 0, PEER, PEER, state=OWN),
    permission("port 0", "8656, 10.2", 0, PORT_ZERO, state=OWN),
    permission("again", "8656, 9", 0, PEER, state=BOUND),
    permission("of both families", "8656, 10.2", 0, PEER, PEER_V6, state=DUAL),
    permission("no peer", "8656, 10.2", 400, state=OWN),
    permission("peer short", "8656, 10.2", 400, SHORT_PEER, state=OWN),
    permission("peer long", "8656, 10.2", 400, LONG_PEER, state=OWN),
    permission("peer of family 3", "8656, 10.2", 400, ODD_PEER, state=OWN),
    permission("a peer and a short one", "8656, 10.2", 400, PEER, SHORT_PEER, state=OWN),
    permission("peer of another family", "8656, 10.2", 443, PEER_V6, state=OWN),
    permission("a peer and one of another family", "8656, 10.2", 443, PEER, PEER_V6, state=OWN),
    permission("forbidden peer", "8656, 10.2", 403, FORBIDDEN, state=OWN),
    permission("a peer and a forbidden one", "8656, 10.2", 403, PEER, FORBIDDEN, state=OWN),
    permission("RFC 8489", "8489, 9.2.4", 0, PEER, state=OWN, signing=Signing.SHA256),
    permission("no allocation", "8656, 5", 437, PEER),
    permission("of another", "8656, 5", 441, PEER, state=OTHERS),
    permission("not signed", "8489, 9.2.4", 401, PEER, state=OWN, signing=Signing.NONE),
    permission("wrong password", "8489, 9.2.4", 401, PEER, state=OWN, signing=Signing.WRONG),
    permission("stale nonce", "8489, 9.2.4", 438, PEER, state=OWN, signing=Signing.STALE),
    permission("required attribute unknown", "8489, 6.3.1", 420, PEER, UNKNOWN, state=OWN),
    permission("the server drains", "spec/turn.md, 6", 0, PEER, state=State.DRAINING_OWN),
]

BIND_ROWS = [
    bind("plain", "8656, 12.2", 0, number(0x4000), PEER, state=OWN),
    bind("last number", "8656, 12.2", 0, number(0x4FFF), PEER, state=OWN),
    bind("number with reserved bits", "8656, 18.1", 0, number(0x4000, b"\1\2"), PEER, state=OWN),
    bind("IPv6 peer", "8656, 12.2", 0, number(0x4000), PEER_V6, state=DUAL),
    bind("again", "8656, 12.2", 0, number(0x4000), PEER, state=BOUND),
    bind("another number to another peer", "8656, 12.2", 0, number(0x4001), OTHER_PEER, state=BOUND),
    bind("its number to another peer", "8656, 12.2", 400, number(0x4000), OTHER_PEER, state=BOUND),
    bind("another number to its peer", "8656, 12.2", 400, number(0x4001), PEER, state=BOUND),
    bind("number below", "8656, 12.2", 400, number(0x3FFF), PEER, state=OWN),
    bind("number above", "8656, 12.2", 400, number(0x5000), PEER, state=OWN),
    bind("last number of RFC 5766", "8656, 12.2", 400, number(0x7FFE), PEER, state=OWN),
    bind("number 0", "8656, 12.2", 400, number(0), PEER, state=OWN),
    bind("number 0xFFFF", "8656, 12.2", 400, number(0xFFFF), PEER, state=OWN),
    bind("no number", "8656, 12.2", 400, PEER, state=OWN),
    bind("no peer", "8656, 12.2", 400, number(0x4000), state=OWN),
    bind("nothing", "8656, 12.2", 400, state=OWN),
    bind("number short", "8656, 18.1", 400, (stun.CHANNEL_NUMBER, b"\x40\0"), PEER, state=OWN),
    bind("number long", "8656, 18.1", 400, number(0x4000, bytes(6)), PEER, state=OWN),
    bind("number twice", "8489, 14", 0, number(0x4000), number(0x5000), PEER, state=OWN),
    bind("peer twice", "8489, 14", 0, number(0x4000), PEER, FORBIDDEN, state=OWN),
    bind("peer short", "8656, 18.3", 400, number(0x4000), SHORT_PEER, state=OWN),
    bind("peer long", "8656, 18.3", 400, number(0x4000), LONG_PEER, state=OWN),
    bind("peer of family 3", "8656, 18.3", 400, number(0x4000), ODD_PEER, state=OWN),
    bind("peer of another family", "8656, 12.2", 443, number(0x4000), PEER_V6, state=OWN),
    bind("forbidden peer", "8656, 12.2", 403, number(0x4000), FORBIDDEN, state=OWN),
    bind("port 0", "8656, 12.2", 403, number(0x4000), PORT_ZERO, state=OWN),
    bind("RFC 8489", "8489, 9.2.4", 0, number(0x4000), PEER, state=OWN, signing=Signing.SHA256),
    bind("no allocation", "8656, 5", 437, number(0x4000), PEER),
    bind("of another", "8656, 5", 441, number(0x4000), PEER, state=OTHERS),
    bind("not signed", "8489, 9.2.4", 401, number(0x4000), PEER, state=OWN, signing=Signing.NONE),
    bind("stale nonce", "8489, 9.2.4", 438, number(0x4000), PEER, state=OWN, signing=Signing.STALE),
    bind("required attribute unknown", "8489, 6.3.1", 420, number(0x4000), PEER, UNKNOWN, state=OWN),
    bind("the server drains", "spec/turn.md, 6", 0, number(0x4000), PEER, state=State.DRAINING_OWN),
]

_INDICATION = {"kind": stun.INDICATION, "signing": Signing.NONE}
_DATA = (stun.DATA, b"hello")

SEND_ROWS = [
    send("no allocation", "8656, 11.2", None, PEER, _DATA, **_INDICATION),
    send("no permission", "8656, 11.2", None, PEER, _DATA, **_INDICATION, state=OWN),
    send("permitted", "8656, 11.2", None, PEER, _DATA, **_INDICATION, state=BOUND),
    send("no peer", "8656, 11.2", None, _DATA, **_INDICATION, state=BOUND),
    send("no data", "8656, 11.2", None, PEER, **_INDICATION, state=BOUND),
    send("peer short", "8656, 11.2", None, SHORT_PEER, _DATA, **_INDICATION, state=BOUND),
    send("unknown attribute", "8489, 6.3.2", None, PEER, _DATA, UNKNOWN, **_INDICATION, state=BOUND),
    data("from a client", "8656, 11.3", None, PEER, _DATA, **_INDICATION, state=BOUND),
]

ROWS = [
    *BINDING_ROWS,
    *SIGNING_ROWS,
    *ALLOCATE_ROWS,
    *REFRESH_ROWS,
    *PERMISSION_ROWS,
    *BIND_ROWS,
    *SEND_ROWS,
]
