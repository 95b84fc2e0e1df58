"""Requests, sessions, tokens and tickets after their time, or before it."""

import time
from typing import Any

from channels.auth import token
from channels.auth.session import SessionRequest
from tests import signer
from tests.app.hostile.harms import (
    EXPIRED,
    INVALID,
    UNRECOGNIZED,
    Harm,
    by_ticket,
    call,
    issued,
    of_session,
    open_,
    open_of_session,
    open_with_header,
)
from tests.app.hostile.rig import Rig
from tests.signaling_service import ACCOUNT
from tests.wire import Wire


def later(age_s: float, **more: Any) -> Harm:
    """The very request that was good `age_s` ago, sent again."""

    def harm(rig: Rig, wire: Wire) -> Wire:
        if wire.method == "POST":
            return rig.call(age_s=age_s, **more)
        return rig.open(age_s=age_s, **more)

    return harm


def header_later(age_s: float) -> Harm:
    return lambda rig, _: rig.open_with_header(age_s=age_s)


def old_session(rig: Rig, wire: Wire) -> Wire:
    """Signed now with a session that ended."""
    ended = rig.service.sessions.mint(session_request(rig), rig.wall - 3600)
    rig.secrets |= {ended.secret_access_key, ended.session_token}
    who = signer.credentials(ended.access_key_id, ended.secret_access_key, ended.session_token)
    return rig.call(who=who) if wire.method == "POST" else rig.open(who=who)


def session_request(rig: Rig) -> SessionRequest:
    return SessionRequest("tester", ACCOUNT, ("*",), ("*",), 600, key_id=rig.key.id)


def old_token(rig: Rig, wire: Wire) -> Wire:
    text = token.mint(
        rig.service.key,
        rig.service.settings,
        subject="tester",
        actions=["*"],
        channels=["*"],
        now_wall=rig.wall - 3600,
        lifetime_s=60,
    )
    rig.note(text)
    return rig.bearer(text) if wire.method == "POST" else rig.handshake(rig.url(token=text))


def used_ticket(rig: Rig, wire: Wire) -> Wire:
    ticket = issued(rig)
    rig.service.tickets.redeem(ticket, time.monotonic())
    return rig.handshake(f"ws://{rig.address}/master?ticket={ticket}")


def old_ticket(rig: Rig, wire: Wire) -> Wire:
    return rig.handshake(f"ws://{rig.address}/master?ticket={issued(rig, -31.0)}")


REPLAYED = {
    **{f"rest, after {age} s": (call, later(age), INVALID) for age in (302, 360, 600, 900, 3600, 86_400, 604_800)},
    **{f"rest, {-age} s early": (call, later(age), INVALID) for age in (-302, -3600)},
    "rest, a session that ended": (of_session, old_session, EXPIRED),
    "rest, a token that ended": (call, old_token, EXPIRED),
    **{f"socket, after {age} s": (open_, later(age), INVALID) for age in (302, 600, 3600, 86_400, 604_800)},
    **{
        f"socket, after {age} s though it asked for a week": (open_, later(age, expires_s=604_800), INVALID)
        for age in (302, 600, 86_400)
    },
    "socket, after the second that it asked for": (open_, later(3, expires_s=1), INVALID),
    "socket, early": (open_, later(-302), INVALID),
    "socket, by header": (open_with_header, header_later(302), INVALID),
    "socket, a session that ended": (open_of_session, old_session, EXPIRED),
    "socket, a token that ended": (open_, old_token, EXPIRED),
    "socket, a used ticket": (by_ticket, used_ticket, UNRECOGNIZED),
    "socket, a ticket that ended": (by_ticket, old_ticket, UNRECOGNIZED),
}
