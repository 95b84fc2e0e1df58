from channels.embedded.presence import EmbeddedPresence
from channels.names import Role
from channels.presence import Lease


async def test_nothing_is_kept_for_channels_that_everybody_left() -> None:
    presence = EmbeddedPresence("a")
    there = presence.join("b")
    admissions = [
        await view.admit(f"arn-{number}", role, "v", "c", 10)
        for view in (presence, there)
        for number in range(3)
        for role in Role
    ]
    assert len(presence) == 6

    for number, admission in enumerate(admissions):
        assert admission is not None
        await presence.leave([Lease(f"arn-{number // 2 % 3}", admission.holder)])

    assert len(presence) == len(there) == 0
    assert presence._slots.channels == {}


async def test_a_viewer_refused_from_an_unknown_channel_leaves_no_trace() -> None:
    presence = EmbeddedPresence("a")

    assert await presence.admit("arn", Role.VIEWER, "v", "c", 0) is None

    assert presence._slots.channels == {}
